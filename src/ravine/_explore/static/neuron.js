// A linear neuron on one input under four criteria: its mean loss and gradient, in the order of torch's operations.

import { breakTie, fma64 } from './arithmetic.js';

const fround = Math.fround;

// Returns evaluate(weight, bias, wanted), which fills and returns {loss, gradient: [by weight, by bias]}.
export function makeNeuron(kind, inputs, targets, criterion, turn = 1) {
  const n = inputs.length;
  const data = { n, x: kind.Numbers.from(inputs), y: kind.Numbers.from(targets), losses: new kind.Numbers(n), slopes: new kind.Numbers(n) };
  const shape = kind.single ? shape32(n, turn) : shape64(n, turn);
  const fill = (kind.single ? FILL32 : FILL64)[criterion];
  if (!fill) throw new Error(`no rule for ${criterion}`);
  const chain = !kind.fusedChain ? makeChain(kind) : kind.single ? chain32 : chain64;
  const { round, sum } = kind, out = { loss: 0, gradient: [0, 0] };
  return (weight, bias, wanted = true) => {
    fill(data, weight, bias, shape);
    out.loss = round(sum(data.losses, n) / n);
    if (wanted) {
      out.gradient[0] = chain(data.slopes, data.x, n);
      out.gradient[1] = sum(data.slopes, n);
    }
    return out;
  };
}

// torch works on whole vectors first; what is left over it does one by one, with the setting unrounded
function shape32(n, turn) {
  const share = fround(1 / n), bend = fround(turn);
  return { share, twice: fround(2 / n), turn, bend, half: fround(0.5 * bend), whole: n - (n % 16), far: fround(share * bend), farther: fround(share * turn) };
}

function shape64(n, turn) {
  const share = 1 / n;
  return { share, twice: 2 / n, turn, bend: turn, half: 0.5 * turn, whole: n - (n % 8), far: share * turn, farther: share * turn };
}

// ---- written out for each dtype and criterion: one function for all would run five times slower --------------------

const FILL32 = {
  MSELoss({ n, x, y, losses, slopes }, w, b, { twice }) {
    for (let i = 0; i < n; i++) {
      const d = fround(fround(fround(x[i] * w) + b) - y[i]);
      losses[i] = d * d;
      slopes[i] = twice * d;
    }
  },
  L1Loss({ n, x, y, losses, slopes }, w, b, { share }) {
    for (let i = 0; i < n; i++) {
      const d = fround(fround(fround(x[i] * w) + b) - y[i]);
      losses[i] = Math.abs(d);
      slopes[i] = d > 0 ? share : d < 0 ? -share : 0;  // torch's sign of NaN is 0
    }
  },
  HuberLoss({ n, x, y, losses, slopes }, w, b, { share, turn, bend, half, whole, far, farther }) {
    for (let i = 0; i < n; i++) {
      const d = fround(fround(fround(x[i] * w) + b) - y[i]), size = Math.abs(d), steep = i < whole ? far : farther;
      losses[i] = size < bend ? fround(fround(0.5 * size) * size) : bend * fround(size - half);
      slopes[i] = d <= -turn ? -steep : d >= turn ? steep : share * d;
    }
  },
  SmoothL1Loss({ n, x, y, losses, slopes }, w, b, { share, turn, bend, half, whole }) {
    for (let i = 0; i < n; i++) {
      const d = fround(fround(fround(x[i] * w) + b) - y[i]), size = Math.abs(d);
      losses[i] = size < bend ? fround(fround(fround(0.5 * size) * size) / bend) : size - half;
      slopes[i] = d <= -turn ? -share : d >= turn ? share : i < whole ? share * fround(d / bend) : fround(share * d) / turn;
    }
  },
};

const FILL64 = {
  MSELoss({ n, x, y, losses, slopes }, w, b, { twice }) {
    for (let i = 0; i < n; i++) {
      const d = x[i] * w + b - y[i];
      losses[i] = d * d;
      slopes[i] = twice * d;
    }
  },
  L1Loss({ n, x, y, losses, slopes }, w, b, { share }) {
    for (let i = 0; i < n; i++) {
      const d = x[i] * w + b - y[i];
      losses[i] = Math.abs(d);
      slopes[i] = d > 0 ? share : d < 0 ? -share : 0;
    }
  },
  HuberLoss({ n, x, y, losses, slopes }, w, b, { share, turn, half, far }) {
    for (let i = 0; i < n; i++) {
      const d = x[i] * w + b - y[i], size = Math.abs(d);
      losses[i] = size < turn ? 0.5 * size * size : turn * (size - half);
      slopes[i] = d <= -turn ? -far : d >= turn ? far : share * d;
    }
  },
  SmoothL1Loss({ n, x, y, losses, slopes }, w, b, { share, turn, half, whole }) {
    for (let i = 0; i < n; i++) {
      const d = x[i] * w + b - y[i], size = Math.abs(d);
      losses[i] = size < turn ? (0.5 * size * size) / turn : size - half;
      slopes[i] = d <= -turn ? -share : d >= turn ? share : i < whole ? share * (d / turn) : (share * d) / turn;
    }
  },
};

// ---- the gradient by the weight: one chain from the first sample to the last --------------------------------------

function chain32(slopes, x, n) {
  let g = 0;
  for (let i = 0; i < n; i++) {
    const product = slopes[i] * x[i], sum = product + g, near = fround(sum), other = near + 2 * (sum - near);
    g = other !== near && fround(other) === other ? breakTie(sum, product, g, near, other) : near;
  }
  return g;
}

function chain64(slopes, x, n) {
  let g = 0;
  for (let i = 0; i < n; i++) g = fma64(slopes[i], x[i], g);
  return g;
}

function makeChain({ chain }) {
  return (slopes, x, n) => {
    let g = 0;
    for (let i = 0; i < n; i++) g = chain(slopes[i], x[i], g);
    return g;
  };
}
