// torch.optim.Adam, AdamW, RMSprop and Adagrad for two parameters (torch/optim/*.py, the single-tensor form), each in the
// order of torch's operations. What is left of a difference is a last bit where a library's pow rounds otherwise.

import { power } from './arithmetic.js';
import { OPTIMIZERS, coupledDecay } from './optimizers.js';

// Returns {step(place, gradient), seen()}: step gives the next place of two parameters and keeps what the optimizer keeps.
export function makeRule(kind, settings) {
  const { round } = kind, { lr, weight_decay, maximize, optimizer } = settings;
  const coupled = round(coupledDecay(settings)), shrink = round(1 - lr * weight_decay), update = RULES[optimizer](kind, settings);
  let count = 0;
  const step = (place, gradient) => {
    const next = [0, 0];
    count++;
    update.begin?.(count);
    for (let j = 0; j < 2; j++) {
      let g = maximize ? -gradient[j] : gradient[j], p = place[j];
      if (coupled !== 0) g = kind.fma(coupled, p, g);
      if (optimizer === 'AdamW' && weight_decay !== 0) p = round(p * shrink);
      next[j] = update.move(p, g, j);
    }
    return next;
  };
  return { step, seen: update.seen, along: update.along };
}

const PLAIN = { round: (x) => x, fma: (a, b, c) => a * b + c };

// One update of a run opened, in float64: the gradient, what the rule makes of it, where it leads.
export function openStep(slopeAt, run, settings, step) {
  const rule = makeRule(PLAIN, settings), { maximize } = settings, decay = coupledDecay(settings);
  let parts = null;
  for (let k = 0; k <= step; k++) {
    const here = [run.position[2 * k], run.position[2 * k + 1]], slope = slopeAt(k, here);
    rule.step(here, slope);
    parts = { here, gradient: slope.map((g, j) => (maximize ? -g : g) + decay * here[j]) };
  }
  return { ...parts, seen: rule.seen(), along: rule.along, next: [run.position[2 * step + 2], run.position[2 * step + 3]] };
}

const RULES = { Adam: makeAdam, AdamW: makeAdam, RMSprop: makeRmsprop, Adagrad: makeAdagrad };

const epsOf = ({ eps, optimizer }) => eps ?? OPTIMIZERS[optimizer].eps;

// torch.lerp goes from the nearer end
function makeLerp({ round, fma }, weight) {
  const other = round(1 - weight);
  return weight < 0.5 ? (from, to) => fma(weight, round(to - from), from) : (from, to) => fma(-round(to - from), other, to);
}

function makeAdam(kind, settings) {
  const { lr, beta1, beta2, amsgrad } = settings, { round, fma } = kind;
  const mean = [0, 0], square = [0, 0], largest = [0, 0], rest = round(beta2), share = round(1 - beta2), eps = round(epsOf(settings));
  const lerp = makeLerp(kind, round(1 - beta1)), under = amsgrad ? largest : square;
  let size = 0, root = 0;
  let first = 1, second = 1;
  return {
    along: 'm̂/√v̂',
    seen: () => ({ 'm̂': mean.map((each) => each / first), '√v̂': under.map((each) => Math.sqrt(each / second)) }),
    begin(count) {
      first = 1 - power(beta1, count);
      second = 1 - power(beta2, count);
      size = round(-(lr / first));
      root = round(Math.sqrt(second));
    },
    move(p, g, j) {
      mean[j] = lerp(mean[j], g);
      square[j] = fma(round(share * g), g, round(square[j] * rest));
      if (amsgrad) largest[j] = Math.max(largest[j], square[j]);  // NaN stays, as in torch
      const divisor = round(round(round(Math.sqrt(under[j])) / root) + eps);
      return round(p + round(round(size * mean[j]) / divisor));
    },
  };
}

function makeRmsprop(kind, settings) {
  const { lr, alpha, momentum, centered } = settings, { round, fma } = kind;
  const square = [0, 0], mean = [0, 0], buffer = [0, 0], kept = round(alpha), share = round(1 - alpha), minus = round(-lr), mu = round(momentum), eps = round(epsOf(settings));
  const lerp = makeLerp(kind, share), spread = (j) => (centered ? fma(-mean[j], mean[j], square[j]) : square[j]);
  return {
    along: momentum > 0 ? 'b' : 'g/√s',
    seen: () => ({ '√s': [0, 1].map((j) => Math.sqrt(spread(j))), ...(momentum > 0 ? { b: [...buffer] } : {}) }),
    move(p, g, j) {
      square[j] = fma(round(share * g), g, round(square[j] * kept));
      if (centered) mean[j] = lerp(mean[j], g);
      const under = round(round(Math.sqrt(spread(j))) + eps);
      if (!(momentum > 0)) return round(p + round(round(minus * g) / under));
      buffer[j] = round(round(buffer[j] * mu) + round(g / under));
      return fma(minus, buffer[j], p);
    },
  };
}

function makeAdagrad(kind, settings) {
  const { lr, lr_decay = 0, initial_accumulator_value: begun = 0 } = settings, { round, fma } = kind, sum = [round(begun), round(begun)], eps = round(epsOf(settings));
  let minus = round(-lr);
  return {
    along: 'g/√Σg²',
    seen: () => ({ '√Σg²': sum.map(Math.sqrt) }),
    begin(count) {
      minus = round(-(lr / (1 + (count - 1) * lr_decay)));
    },
    move(p, g, j) {
      sum[j] = fma(g, g, sum[j]);
      const under = round(round(Math.sqrt(sum[j])) + eps);
      return round(p + round(round(minus * g) / under));
    },
  };
}
