// Where what is minimised is lowest, weight decay included, and how it curves there: in float64, as ravine.landmarks
// finds it. A landmark is {place, minimum, hessian: [aa, ab, bb], certain}; null where there is none to be certain of.

import { CURVATURE, makeFunction } from './gallery.js';
import { makeKind } from './arithmetic.js';
import { CLOSED, eigen } from './quadratic.js';
import { findLowest } from './pieces.js';

const DOUBLE = makeKind('float64', { gradient: 'fused', update: 'fused' });

// ---- a linear neuron ------------------------------------------------------------------------------------------------

const TURNING = { MSELoss: () => Infinity, L1Loss: () => 0, HuberLoss: (turn) => turn, SmoothL1Loss: (turn) => turn };

export function findNeuronMinimum(inputs, targets, criterion, turn, decay) {
  const n = inputs.length, mean = sumOf(inputs, (x) => x) / n;
  const spread = Math.sqrt(sumOf(inputs, (x) => (x - mean) ** 2) / n);
  if (!(spread > 0) || !Number.isFinite(spread)) return null;  // all points above one another: no slope of its own
  // coordinates in which the data's part is round: weight = s·z₀, bias = z₁ − m·s·z₀
  const s = 1 / spread, u = Float64Array.from(inputs, (x) => (x - mean) * s);
  const drag = [decay * s * s * (1 + mean * mean), -decay * mean * s, decay];
  const back = (z) => [s * z[0], z[1] - mean * s * z[0]];
  const at = TURNING[criterion](turn), square = at === Infinity;
  const steep = (criterion === 'HuberLoss' ? turn : 1) / n;
  const found = square ? solveSquares(u, targets, steep, drag) : findLowest(u, targets, steep, at, drag, solveSquares(u, targets, steep, drag).z);
  if (!found) return null;
  const place = back(found.z), hessian = [decay, 0, decay];
  let minimum = 0;
  for (let i = 0; i < n; i++) {
    const x = inputs[i], r = Math.abs(place[0] * x + place[1] - targets[i]), near = r < at;
    const bend = square ? 2 * steep : at > 0 ? steep / at : 0;
    minimum += square ? steep * r * r : near ? (bend * r * r) / 2 : steep * (r - at / 2);
    if (!near) continue;
    hessian[0] += bend * x * x;
    hessian[1] += bend * x;
    hessian[2] += bend;
  }
  minimum += (decay / 2) * (place[0] ** 2 + place[1] ** 2);
  return Number.isFinite(minimum) ? { place, minimum, hessian, certain: true, quadratic: square, ...(square && { flat: CLOSED }) } : null;
}

// steep·Σ(u z₀ + z₁ − y)² + ½ zᵀ·drag·z, refined once
function solveSquares(u, targets, steep, drag) {
  const n = u.length, scale = 2 * steep;
  const matrix = [scale * sumOf(u, (x) => x * x) + drag[0], scale * sumOf(u, (x) => x) + drag[1], scale * n + drag[2]];
  const z = [0, 0];
  for (let round = 0; round < 3; round++) {
    const g = [drag[0] * z[0] + drag[1] * z[1], drag[1] * z[0] + drag[2] * z[1]];
    for (let i = 0; i < n; i++) {
      const r = scale * (u[i] * z[0] + z[1] - targets[i]);
      g[0] += r * u[i];
      g[1] += r;
    }
    const step = solve(matrix, g);
    z[0] -= step[0];
    z[1] -= step[1];
  }
  return { z };
}

export function solve([a, b, c], [p, q]) {
  const determinant = a * c - b * b;
  return [(c * p - b * q) / determinant, (a * q - b * p) / determinant];
}

function sumOf(values, of) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += of(values[i]);
  return sum;
}

// ---- the gallery -----------------------------------------------------------------------------------------------------

// `stated` are the problem's own minimizers; of several the one nearest to the run's end counts.
export function findStatedMinimum(name, flattening, stated, end, decay) {
  if (!stated.length) return null;
  const evaluate = makeFunction(DOUBLE, name, flattening), curve = CURVATURE[name];
  const away = ([x, y]) => Math.hypot(x - end[0], y - end[1]);
  const begin = stated.reduce((best, each) => (away(each) < away(best) ? each : best));
  const look = ([x, y]) => {
    const { loss, gradient } = evaluate(x, y), [a, b, c] = curve(x, y, flattening);
    return {
      place: [x, y],
      minimum: loss + (decay / 2) * (x * x + y * y),
      gradient: [gradient[0] + decay * x, gradient[1] + decay * y],
      hessian: [a + decay, b, c + decay],
    };
  };
  if (!decay) return { ...look(begin), certain: false, quadratic: name === 'quadratic' };
  const found = searchFrom(look, begin);
  return found && { ...found, quadratic: name === 'quadratic' };
}

// Newton's steps, damped until they go down, then undamped until they are lost in rounding.
function searchFrom(look, begin) {
  let here = look(begin), damping = 0;
  for (let k = 0; k < 200; k++) {
    const { values } = eigen(here.hessian), lift = Math.max(damping, values[0] > 0 ? 0 : -values[0] * 1.5 + 1e-12);
    const step = solve([here.hessian[0] + lift, here.hessian[1], here.hessian[2] + lift], here.gradient);
    const next = look([here.place[0] - step[0], here.place[1] - step[1]]);
    const length = Math.hypot(...step), size = Math.max(Math.hypot(...here.place), 1e-300);
    if (next.minimum < here.minimum) {
      here = next;
      damping /= 8;
    } else if (length <= 1e-9 * size) break;
    else damping = Math.max(8 * damping, 1e-3 * Math.max(Math.abs(values[0]), Math.abs(values[1])));
  }
  for (let k = 0; k < 4; k++) {
    const step = solve(here.hessian, here.gradient), next = look([here.place[0] - step[0], here.place[1] - step[1]]);
    if (Math.hypot(...next.gradient) < Math.hypot(...here.gradient)) here = next;
  }
  const found = eigen(here.hessian).values[0] > 0 && Number.isFinite(here.minimum);
  return found ? { ...here, certain: false } : null;
}
