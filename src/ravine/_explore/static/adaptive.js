// torch.optim.Adam, AdamW, RMSprop and Adagrad for two parameters (torch/optim/*.py, the single-tensor form), each in the
// order of torch's operations. What is left of a difference is a last bit where a library's pow rounds otherwise.

import { power } from './arithmetic.js';
import { coupledDecay } from './optimizers.js';

const EPS = { Adam: 1e-8, AdamW: 1e-8, RMSprop: 1e-8, Adagrad: 1e-10 };  // torch's defaults

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

function makeAdam(kind, { lr, beta1, beta2, optimizer }) {
  const { round, fma } = kind, mean = [0, 0], square = [0, 0], weight = round(1 - beta1), rest = round(beta2), share = round(1 - beta2), eps = round(EPS[optimizer]);
  const other = round(1 - weight);
  // torch.lerp goes from the nearer end
  const lerp = weight < 0.5 ? (from, to) => fma(weight, round(to - from), from) : (from, to) => fma(-round(to - from), other, to);
  let size = 0, root = 0;
  let first = 1, second = 1;
  return {
    along: 'm̂/√v̂',
    seen: () => ({ 'm̂': mean.map((each) => each / first), '√v̂': square.map((each) => Math.sqrt(each / second)) }),
    begin(count) {
      first = 1 - power(beta1, count);
      second = 1 - power(beta2, count);
      size = round(-(lr / first));
      root = round(Math.sqrt(second));
    },
    move(p, g, j) {
      mean[j] = lerp(mean[j], g);
      square[j] = fma(round(share * g), g, round(square[j] * rest));
      const under = round(round(round(Math.sqrt(square[j])) / root) + eps);
      return round(p + round(round(size * mean[j]) / under));
    },
  };
}

function makeRmsprop(kind, { lr, alpha, momentum, optimizer }) {
  const { round, fma } = kind, square = [0, 0], buffer = [0, 0], kept = round(alpha), share = round(1 - alpha), minus = round(-lr), mu = round(momentum), eps = round(EPS[optimizer]);
  return {
    along: momentum > 0 ? 'b' : 'g/√s',
    seen: () => ({ '√s': square.map(Math.sqrt), ...(momentum > 0 ? { b: [...buffer] } : {}) }),
    move(p, g, j) {
      square[j] = fma(round(share * g), g, round(square[j] * kept));
      const under = round(round(Math.sqrt(square[j])) + eps);
      if (!(momentum > 0)) return round(p + round(round(minus * g) / under));
      buffer[j] = round(round(buffer[j] * mu) + round(g / under));
      return fma(minus, buffer[j], p);
    },
  };
}

function makeAdagrad(kind, { lr, optimizer }) {
  const { round, fma } = kind, sum = [0, 0], minus = round(-lr), eps = round(EPS[optimizer]);
  return {
    along: 'g/√Σg²',
    seen: () => ({ '√Σg²': sum.map(Math.sqrt) }),
    move(p, g, j) {
      sum[j] = fma(g, g, sum[j]);
      const under = round(round(Math.sqrt(sum[j])) + eps);
      return round(p + round(round(minus * g) / under));
    },
  };
}
