// What a sentence may look at: one run, its settings, and what is computed of it once and only when asked for.

import { arrivalOf, hasDiverged, minimisedOf } from './measure.js';
import { coupledDecay, isSgd } from './optimizers.js';
import { findModes, isQuadratic, isWalked } from './quadratic.js';
import { halfLife, period, rate, stabilityLimit } from './theory.js';

export const LOCALLY = 'Locally, from the curvature at the minimum, ';
export const EDGE = 1e-9;  // nearer than this, relatively, an lr is at the limit itself

export const finding = (kind, sentence, scope) => ({ kind, sentence, scope });
// how far what is said from the curvature goes, of where a run would go with these settings or others
export const scopeOf = (facts) => (facts.everywhere ? 'exact' : 'local');
export const localPrefix = (facts) => (facts.everywhere ? '' : LOCALLY);
export const distanceToNext = (value, eps) => (value === 0 ? 0 : eps * 2 ** exponentOf(Math.abs(value)));

function exponentOf(size) {
  const near = Math.floor(Math.log2(size));
  return 2 ** near > size ? near - 1 : 2 ** (near + 1) <= size ? near + 1 : near;
}

export const FAINT = 1000; // updates within this many roundings of the position are none to speak of
const PIECEWISE = ['L1Loss', 'HuberLoss', 'SmoothL1Loss'], FEWEST = 16, MEMORIES = 2, AS_MUCH = 0.97;

function lazily(target, name, make) {
  Object.defineProperty(target, name, {
    configurable: true,
    get() {
      const value = make();
      Object.defineProperty(target, name, { value });
      return value;
    },
  });
}

// run {position, loss}, kind, settings, labels, criterion ('' where there is none) and where it turns, landmark and own (without decay) as
// minimum.js finds them, data {inputs, targets} or null.
export function makeFacts({ run, kind, settings, labels, criterion, turn, landmark, own, data, kinked = false, slopeAt }) {
  const climbs = settings.maximize, decay = climbs ? 0 : coupledDecay(settings), sgd = isSgd(settings);
  const known = climbs ? null : landmark, taken = run.loss.length - 1, { eps } = kind;
  const facts = { run, kind, settings, labels, criterion, turn, data, climbs, decay, taken, eps, landmark: known, own: climbs ? null : own };
  const minimum = known ? known.minimum : null, rule = climbs || !sgd ? null : settings;
  facts.sgd = sgd;
  facts.minimum = minimum;
  facts.rule = rule;
  facts.kinked = kinked || criterion === 'L1Loss';
  const at = (changed) => ({ ...settings, ...changed });
  lazily(facts, 'minimised', () => minimisedOf(run, coupledDecay(settings)));
  lazily(facts, 'gap', () => facts.minimised.map((each) => each - minimum));
  const arrives = () => minimum !== null && arrivalOf(facts.gap, minimum, eps) >= 0;
  lazily(facts, 'diverged', () => hasDiverged(run.loss, facts.minimised, climbs, eps) && !arrives());
  lazily(facts, 'arrival', () => {
    const step = arrivalOf(facts.gap, minimum, eps);
    return { step, outcome: !Number.isNaN(step) ? 'arrived' : facts.diverged ? 'diverged' : 'not arrived' };
  });
  lazily(facts, 'updates', () => {
    const p = run.position;
    return Float64Array.from({ length: taken }, (_, k) => Math.hypot(p[2 * k + 2] - p[2 * k], p[2 * k + 3] - p[2 * k + 1]));
  });
  lazily(facts, 'modes', () => {
    if (!known || facts.kinked || !rule) return null;
    return findModes(known.hessian, [run.position[0], run.position[1]], known.place, labels, eps, known.flat);
  });
  lazily(facts, 'exact', () => {
    if (!facts.modes || PIECEWISE.includes(criterion)) return false;
    return isQuadratic(known, run.position, facts.minimised, eps) && isWalked(known, run.position, settings, eps);
  });
  // whether it is that quadratic also where the run did not go: only then is it known where it would go
  lazily(facts, 'everywhere', () => facts.exact && known.quadratic);
  lazily(facts, 'zeroGradient', () => findZeroGradient(facts, slopeAt));
  const curvatures = () => facts.modes.curvatures.map((c) => c - decay);
  facts.limit = (changed) => stabilityLimit(curvatures(), at(changed));
  facts.limitOfStart = () => stabilityLimit(curvatures().filter((_, k) => facts.modes.awake[k]), settings);
  facts.rates = (changed) => curvatures().map((c) => rate(c, at(changed)));
  facts.periods = (changed) => curvatures().map((c) => period(c, at(changed)));
  facts.halfLives = (changed) => curvatures().map((c) => halfLife(c, at(changed)));
  lazily(facts, 'lost', () => {
    if (facts.diverged || !facts.everywhere || !(settings.lr > 0)) return facts.diverged;
    return Math.max(0, ...facts.rates().filter((_, k) => facts.modes.awake[k])) > 1 + EDGE;
  });
  lazily(facts, 'rests', () => minimum !== null && taken > 0 && facts.arrival.step === 0 && staysAtMinimizer(facts));
  lazily(facts, 'hops', () => hops(facts));
  lazily(facts, 'slopes', () => readGradients(facts));
  return facts;
}

// Whether a run is at its minimizer and stays there, within rounding: a small gap alone does not tell.
function staysAtMinimizer({ run: { position: p }, landmark: { place }, modes, eps }) {
  const start = [p[0], p[1]], noise = FAINT * eps * (Math.hypot(...start) + Math.hypot(...place));
  const off = modes ? modes.start : start.map((each, j) => each - place[j]);  // along a flat direction all are minimizers
  return off.every((each) => Math.abs(each) <= noise) && p.every((each, k) => Math.abs(each - start[k % 2]) <= noise);
}

// Which parameters never moved for want of a gradient, at the first step and at the last; null where there is none such.
function findZeroGradient({ run, taken }, slopeAt) {
  const p = run.position, still = [0, 1].map((j) => p.every((each, k) => k % 2 !== j || each === p[j]));
  if (taken < 1 || !still.some(Boolean)) return null;
  const ends = [0, taken - 1].map((k) => slopeAt(k, [p[2 * k], p[2 * k + 1]]));
  const zero = still.map((each, j) => each && ends.every((slope) => slope[j] === 0));
  return zero.some(Boolean) ? zero : null;
}

// Whether the mean falls from each eighth of a run to the next of its second half, beyond rounding.
export function shrinks(values, quarter, eps) {
  const end = values.length, half = Math.floor(quarter / 2);
  const cuts = [2 * quarter, 2 * quarter - half, quarter, quarter - half, 0].map((each) => end - each);
  const means = [0, 1, 2, 3].map((k) => values.subarray(cuts[k], cuts[k + 1]).reduce((s, each) => s + each, 0) / (cuts[k + 1] - cuts[k]));
  return [1, 2, 3].every((k) => means[k] < means[k - 1] - 8 * eps * Math.abs(means[k - 1]));
}

// Whether the end of a run goes to and fro, as much at last as before, and gets nowhere.
function hops({ updates, settings, rule, run, eps }) {
  const count = updates.length, quarter = Math.floor(count / 4), p = run.position;
  if (count < FEWEST || !updates.every(Number.isFinite)) return false;
  if (rule && quarter * (1 - settings.momentum) < MEMORIES) return false;
  const sum = (from, to) => updates.subarray(from, to).reduce((s, each) => s + each, 0);
  const last = sum(count - quarter, count) / quarter, before = sum(count - 2 * quarter, count - quarter) / quarter;
  const end = 2 * count, then = end - 2 * quarter;
  const went = Math.hypot(p[end] - p[then], p[end + 1] - p[then + 1]);
  const rounding = FAINT * eps * Math.max(Math.abs(p[end]), Math.abs(p[end + 1]));
  if (!(AS_MUCH * before < last && last < 1.5 * before) || shrinks(updates, quarter, eps)) return false;
  return last > rounding && went < 0.25 * last * quarter;
}

// The loss's gradient at each place but the last, read off SGD's steps backwards; null where rounding hides it.
function readGradients({ rule, taken, settings, run, eps }) {
  const { lr, momentum, dampening, weight_decay, nesterov } = settings, kept = 1 - dampening;
  if (!rule || taken < 1 || !(lr > 0) || (momentum && kept <= 0)) return null;
  const p = run.position, found = new Float64Array(2 * taken);
  let largest = 0, size = 0;
  for (let j = 0; j < 2; j++) {
    let velocity = 0;
    for (let k = 0; k < taken; k++) {
      const moved = -(p[2 * k + 2 + j] - p[2 * k + j]) / lr, share = k ? kept : 1;
      const slope = nesterov && momentum ? (moved - momentum ** 2 * velocity) / (1 + momentum * share) : (moved - momentum * velocity) / (momentum ? share : 1);
      velocity = momentum * velocity + share * slope;
      found[2 * k + j] = slope - weight_decay * p[2 * k + j];
      size = maximum(size, Math.abs(p[2 * k + j]));
    }
  }
  for (let k = 0; k < taken; k++) largest = maximum(largest, Math.hypot(found[2 * k], found[2 * k + 1]));
  const noise = (8 * eps * size) / (lr * (momentum ? kept : 1));
  return noise < 0.003 * largest ? found : null;
}

const maximum = (one, other) => (Number.isNaN(one) || Number.isNaN(other) ? NaN : Math.max(one, other));
