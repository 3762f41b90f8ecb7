// The gallery's functions: loss and gradient in autograd's order of operations; curvature for the words, in float64.

import { power } from './arithmetic.js';

const TURN = 6.283185307179586;

// Returns evaluate(x, y), as a neuron's does; `flattening` is the condition number of the quadratic.
export function makeFunction(kind, name, flattening = 10) {
  const make = FUNCTIONS[name];
  if (!make) throw new Error(`no rule for ${name}`);
  const out = { loss: 0, gradient: [0, 0] };
  const put = (loss, gx, gy) => {
    out.loss = loss;
    out.gradient[0] = gx;
    out.gradient[1] = gy;
    return out;
  };
  return make(kind.round, put, flattening, kind);
}

// Twice a number is rounded too: beyond the largest of a dtype it is infinite.
const FUNCTIONS = {
  quadratic(r, put, flattening) {
    const flat = r(flattening), share = r(1 / flat);
    return (x, y) => put(r(r(r(x * x) / flat) + r(y * y)), r(share * r(2 * x)), r(2 * y));
  },
  saddle: (r, put) => (x, y) => put(r(r(x * x) - r(y * y)), r(2 * x), -r(2 * y)),
  rosenbrock: (r, put) => (x, y) => {
    const a = r(1 - x), b = r(y - r(x * x)), gb = r(100 * r(2 * b));
    return put(r(r(a * a) + r(100 * r(b * b))), r(r(-gb * r(2 * x)) - r(2 * a)), gb);
  },
  himmelblau: (r, put) => (x, y) => {
    const a = r(r(r(x * x) + y) - 11), b = r(r(x + r(y * y)) - 7), ga = r(2 * a), gb = r(2 * b);
    return put(r(r(a * a) + r(b * b)), r(gb + r(ga * r(2 * x))), r(r(gb * r(2 * y)) + ga));
  },
  beale: (r, put) => (x, y) => {
    const y2 = r(y * y), y3 = r(y2 * y);
    const a = r(r(1.5 - x) + r(x * y)), b = r(r(2.25 - x) + r(x * y2)), c = r(r(2.625 - x) + r(x * y3));
    const ga = r(2 * a), gb = r(2 * b), gc = r(2 * c);
    const gx = r(r(r(r(r(r(gc * y3) - gc) + r(gb * y2)) - gb) + r(ga * y)) - ga);
    const gy = r(r(r(r(gc * x) * r(3 * y2)) + r(r(gb * x) * r(2 * y))) + r(ga * x));
    return put(r(r(r(a * a) + r(b * b)) + r(c * c)), gx, gy);
  },
  styblinski_tang(r, put, _, kind) {
    const exact = (a) => Number.isFinite(a) && Math.abs(a) < 1e70;  // beyond it double-double would overflow
    const fourth = (a) => (!kind.single && exact(a) ? power(a, 4) : r(a ** 4));
    const slope = (a) => r(r(2.5 + r(-8 * r(2 * a))) + r(0.5 * r(4 * r(r(a * a) * a))));
    const side = (a, before) => r(r(r(before + fourth(a)) - r(16 * r(a * a))) + r(5 * a));
    return (x, y) => put(r(side(y, r(r(fourth(x) - r(16 * r(x * x))) + r(5 * x))) / 2), slope(x), slope(y));
  },
  rastrigin(r, put) {  // its cosine is the browser's, not torch's: within rounding
    const k = r(TURN), wave = (a) => r(Math.cos(r(k * a)));
    const slope = (a) => r(r(r(-10 * -r(Math.sin(r(k * a)))) * k) + r(2 * a));
    return (x, y) => put(r(r(r(20 + r(x * x)) + r(y * y)) - r(10 * r(wave(x) + wave(y)))), slope(x), slope(y));
  },
};

// Second derivatives [by xx, by xy, by yy].
export const CURVATURE = {
  quadratic: (x, y, flattening) => [2 / flattening, 0, 2],
  saddle: () => [2, 0, -2],
  rosenbrock: (x, y) => [2 - 400 * (y - x * x) + 800 * x * x, -400 * x, 200],
  himmelblau: (x, y) => [12 * x * x + 4 * y - 42, 4 * (x + y), 12 * y * y + 4 * x - 26],
  beale(x, y) {
    const out = [0, 0, 0];
    for (const [c, p] of [[1.5, 1], [2.25, 2], [2.625, 3]]) {
      const rest = c - x + x * y ** p, byX = y ** p - 1, byY = p * x * y ** (p - 1);
      out[0] += 2 * byX * byX;
      out[1] += 2 * (byX * byY + rest * p * y ** (p - 1));
      out[2] += 2 * (byY * byY + (p > 1 ? rest * p * (p - 1) * x * y ** (p - 2) : 0));
    }
    return out;
  },
  styblinski_tang: (x, y) => [6 * x * x - 16, 0, 6 * y * y - 16],
  rastrigin: (x, y) => [2 + 10 * TURN * TURN * Math.cos(TURN * x), 0, 2 + 10 * TURN * TURN * Math.cos(TURN * y)],
};
