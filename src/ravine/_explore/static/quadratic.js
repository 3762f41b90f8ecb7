// The modes of a quadratic with what a run's start has along each, and whether a run's loss is one: as
// ravine._findings.quadratic has them, for two parameters.

import { number } from './format.js';

const LOSS_ROUNDING = 64, STEP_ROUNDING = 1000, SUBNORMAL = 1.1754943508222875e-38, TELLING = 100;
const FLAT = 1e-10, NOISY = 8, CARRIES = 0.01, MOSTLY = 0.75;
export const ALIKE = 1e-6;
export const CLOSED = 1e-13;  // in place of FLAT where a Hessian is a sum of products of the data

// Eigenvalues of [[a, b], [b, c]], the lowest first, and the unit vectors along them.
export function eigen([a, b, c]) {
  const middle = (a + c) / 2, half = Math.hypot((a - c) / 2, b);
  const high = middle >= 0 ? middle + half : middle - half;  // of the larger size: nothing cancels
  const low = high === 0 ? 0 : (a * c - b * b) / high;
  const values = [Math.min(low, high), Math.max(low, high)];
  if (b === 0) return a <= c ? { values: [a, c], vectors: [[1, 0], [0, 1]] } : { values: [c, a], vectors: [[0, 1], [1, 0]] };
  const angle = Math.atan2(2 * b, a - c) / 2, steep = [Math.cos(angle), Math.sin(angle)];
  return { values, vectors: [[-steep[1], steep[0]], steep] };
}

// Directions of curvature; null where it is not that of a minimum, or there is none. `flat` is the share of the largest
// below which a curvature is rounding.
export function findModes(hessian, begin, place, labels, eps, flat = FLAT) {
  const { values, vectors } = eigen(hessian), largest = Math.max(...values.map(Math.abs));
  const bent = [0, 1].filter((k) => Math.abs(values[k]) > flat * largest);
  if (!(largest > 0) || bent.some((k) => values[k] < 0)) return null;
  const curvatures = bent.map((k) => values[k]), directions = bent.map((k) => vectors[k]);
  const error = [begin[0] - place[0], begin[1] - place[1]], noise = NOISY * eps * (Math.hypot(...begin) + Math.hypot(...place));
  const start = directions.map((d) => d[0] * error[0] + d[1] * error[1]), awake = start.map((e) => Math.abs(e) > noise);
  const gaps = start.map((e, k) => curvatures[k] * e * e), total = gaps.reduce((s, g) => s + g, 0);
  const carrying = gaps.map((g, k) => g > CARRIES * total && awake[k]);
  const last = curvatures.length - 1;
  const round = curvatures[last] <= curvatures[0] * (1 + ALIKE);
  return { curvatures, directions, start, awake, carrying, labels, round, condition: curvatures[last] / curvatures[0] };
}

// "the steep direction (mostly bias)"; nothing where no direction differs from the others
export function along(modes, k) {
  if (modes.round) return '';
  const alike = modes.curvatures.map((c) => Math.abs(c / modes.curvatures[k] - 1) <= ALIKE);
  const name = alike.filter(Boolean).length === 1 ? nameOf(modes, k) : '', few = modes.curvatures.length === 2;
  const of = name ? ` (${name})` : '';
  if (alike[alike.length - 1]) return `the ${few ? 'steep' : 'steepest'} direction${of}`;
  if (alike[0]) return `the ${few ? 'flat' : 'flattest'} direction${of}`;
  return `the direction of curvature ${number(modes.curvatures[k])}${of}`;
}

export function nameOf(modes, k) {
  const shares = modes.directions[k].map((d) => d * d), most = shares[1] > shares[0] ? 1 : 0;
  if (shares[most] < MOSTLY) return '';
  return shares[most] > 0.999 ? modes.labels[most] : `mostly ${modes.labels[most]}`;
}

// ½ eᵀHe: how far the quadratic of a minimum lies above it.
export function gapAbove({ hessian: [a, b, c], place }, p, q) {
  const e = p - place[0], f = q - place[1];
  return (a * e * e + 2 * b * e * f + c * f * f) / 2;
}

// Whether what is minimised equals minimum + ½ eᵀHe at every place of a run, within rounding.
export function isQuadratic(landmark, position, minimised, eps) {
  const { hessian: [a, b, c], place, minimum } = landmark;
  const steep = Math.max(Math.abs(a) + Math.abs(b), Math.abs(b) + Math.abs(c)) / 2;
  const own = place[0] ** 2 + place[1] ** 2;
  let telling = false;
  for (let k = 0; k < minimised.length; k++) {
    const p = position[2 * k], q = position[2 * k + 1], gap = gapAbove(landmark, p, q);
    const noise = LOSS_ROUNDING * eps * (Math.abs(minimised[k]) + gap + Math.abs(minimum) + steep * (p * p + q * q + own)) + SUBNORMAL;
    if (!Number.isFinite(minimised[k]) || !Number.isFinite(noise)) continue;
    if (!(Math.abs(minimised[k] - minimum - gap) <= noise)) return false;
    telling ||= gap > TELLING * noise;
  }
  return telling;
}

// Whether each step is the one that torch.optim.SGD takes after the one before.
export function isWalked({ hessian: [a, b, c], place }, position, settings, eps) {
  const { lr, momentum, dampening, nesterov } = settings, kept = 1 - dampening, ahead = momentum * (nesterov ? 1 : 0);
  const own = Math.max(Math.abs(place[0]), Math.abs(place[1])), count = position.length / 2 - 1;
  let movedBefore = [0, 0], slopeBefore = [0, 0], reachBefore = 0;
  for (let k = 0; k < count; k++) {
    const e = position[2 * k] - place[0], f = position[2 * k + 1] - place[1];
    const slope = [(a * e + b * f) * lr, (b * e + c * f) * lr];
    const moved = [position[2 * k] - position[2 * k + 2], position[2 * k + 1] - position[2 * k + 3]];
    const size = Math.max(Math.abs(position[2 * k]), Math.abs(position[2 * k + 1])) + own;
    const next = Math.max(Math.abs(position[2 * k + 2]), Math.abs(position[2 * k + 3])) + own;
    // the step before it, too, was rounded at its own place and slope
    const bare = Math.max(next, size) + Math.max(Math.abs(slope[0]), Math.abs(slope[1])) * (1 + momentum);
    const reach = k > 0 ? Math.max(bare, reachBefore) : bare, limit = STEP_ROUNDING * eps * reach + SUBNORMAL;
    let off = 0, whole = Number.isFinite(limit);
    for (let j = 0; j < 2; j++) {
      let velocity = slope[j];
      if (momentum !== 0 && k > 0) {
        const before = ahead ? (movedBefore[j] - slopeBefore[j]) / momentum : movedBefore[j];
        velocity = momentum * before + kept * slope[j];
      }
      const expected = ahead ? slope[j] + momentum * velocity : velocity;
      whole &&= Number.isFinite(expected) && Number.isFinite(moved[j]);
      off = Math.max(off, Math.abs(expected - moved[j]));
    }
    if (whole && !(off <= limit)) return false;
    movedBefore = moved;
    slopeBefore = slope;
    reachBefore = bare;
  }
  return true;
}
