// torch.optim.SGD for two parameters (torch/optim/sgd.py, _single_tensor_sgd), each multiply-add rounded once.

// What torch says of settings that it refuses, in torch's words; '' where it takes them.
export function findRefusal({ lr, momentum, dampening, weight_decay, nesterov }) {
  if (lr < 0) return `Invalid learning rate: ${pythonFloat(lr)}`;
  if (momentum < 0) return `Invalid momentum value: ${pythonFloat(momentum)}`;
  if (weight_decay < 0) return `Invalid weight_decay value: ${pythonFloat(weight_decay)}`;
  if (nesterov && (momentum <= 0 || dampening !== 0)) return 'Nesterov momentum requires a momentum and zero dampening';
  return '';
}

// A float as Python prints it.
export function pythonFloat(value) {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : String(value);
}

// Takes the steps and returns {position: [p0, q0, p1, q1, …], loss: [steps + 1]}; `out` is used again where it fits.
export function descend(kind, evaluate, start, settings, steps, out = makeRun(kind, steps)) {
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

export function makeRun(kind, steps) {
  return { position: new kind.Numbers(2 * (steps + 1)), loss: new kind.Numbers(steps + 1) };
}

// One update of a run opened: gradient, velocity before, what it came to; in float64, for arrows and numbers.
// `slopeAt(k, here)` gives the loss's gradient at step k.
export function openUpdate(slopeAt, run, settings, step) {
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
