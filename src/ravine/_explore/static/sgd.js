// torch.optim.SGD for two parameters (torch/optim/sgd.py, _single_tensor_sgd), each multiply-add rounded once.

import { makeRule, openStep } from './adaptive.js';
import { isSgd } from './optimizers.js';

// Takes the steps and returns {position: [p0, q0, p1, q1, …], loss: [steps + 1]}; `out` is used again where it fits.
export function descend(kind, evaluate, start, settings, steps, out = makeRun(kind, steps)) {
  if (!isSgd(settings)) return walk(kind, evaluate, start, settings, steps, out);
  const { round, fma } = kind, { lr, momentum, dampening, weight_decay, nesterov, maximize } = settings;
  const minus = round(-lr), mu = round(momentum), kept = round(1 - dampening), decay = round(weight_decay);
  const { position, loss } = out;
  let p = round(start[0]), q = round(start[1]), vp = 0, vq = 0;
  for (let k = 0; ; k++) {
    position[2 * k] = p;
    position[2 * k + 1] = q;
    const here = evaluate(p, q, k < steps);
    loss[k] = here.loss;
    if (k === steps) return out;
    let gp = here.gradient[0], gq = here.gradient[1];
    if (maximize) {
      gp = -gp;
      gq = -gq;
    }
    if (weight_decay !== 0) {
      gp = fma(decay, p, gp);
      gq = fma(decay, q, gq);
    }
    if (momentum !== 0) {
      vp = k === 0 ? gp : fma(kept, gp, round(mu * vp));
      vq = k === 0 ? gq : fma(kept, gq, round(mu * vq));
      gp = nesterov ? fma(mu, vp, gp) : vp;
      gq = nesterov ? fma(mu, vq, gq) : vq;
    }
    p = fma(minus, gp, p);
    q = fma(minus, gq, q);
  }
}

// The same by another rule.
function walk(kind, evaluate, start, settings, steps, out) {
  const { step } = makeRule(kind, settings), { position, loss } = out;
  let place = [kind.round(start[0]), kind.round(start[1])];
  for (let k = 0; ; k++) {
    [position[2 * k], position[2 * k + 1]] = place;
    const here = evaluate(place[0], place[1], k < steps);
    loss[k] = here.loss;
    if (k === steps) return out;
    place = step(place, here.gradient);
  }
}

export function makeRun(kind, steps) {
  return { position: new kind.Numbers(2 * (steps + 1)), loss: new kind.Numbers(steps + 1) };
}

// One update of a run opened: gradient, velocity before, what it came to; in float64, for arrows and numbers.
// `slopeAt(k, here)` gives the loss's gradient at step k.
export function openUpdate(slopeAt, run, settings, step) {
  if (!isSgd(settings)) return openStep(slopeAt, run, settings, step);
  const { lr, momentum, dampening, weight_decay, nesterov, maximize } = settings, velocity = [0, 0];
  let parts = null;
  for (let k = 0; k <= step; k++) {
    const here = [run.position[2 * k], run.position[2 * k + 1]];
    const slope = slopeAt(k, here).map((g) => (maximize ? -g : g)), before = [...velocity];
    const gradient = slope.map((g, j) => g + weight_decay * here[j]);
    for (let j = 0; j < 2; j++) velocity[j] = k === 0 ? gradient[j] : momentum * velocity[j] + (1 - dampening) * gradient[j];
    const ahead = gradient.map((g, j) => (nesterov ? g + momentum * velocity[j] : velocity[j]));
    const direction = momentum === 0 ? gradient : ahead;
    parts = { here, slope, gradient, before, velocity: [...velocity], update: direction.map((d) => -lr * d), first: k === 0 };
  }
  return { ...parts, next: [run.position[2 * step + 2], run.position[2 * step + 3]] };
}
