// Whether a run arrived, when it would, and what keeps it from settling.

import { EDGE, distanceToNext, finding, shrinks } from './facts.js';
import { atMost, between, number, percent, soMany, steps, times, toldApart } from './format.js';
import { NOISE, SHARE } from './measure.js';
import { along } from './quadratic.js';
import { makeMode } from './theory.js';
import { unmoved } from './words_flat.js';

const HORIZON = 20000, FEWEST = 16;

export function arrival(facts) {
  const { climbs, minimum, taken } = facts;
  if (climbs || minimum === null || taken < 1) return null;
  const { outcome, step } = facts.arrival, { gap } = facts, share = gap[0] > 0 ? gap[taken] / gap[0] : NaN;
  if (outcome === 'arrived' && step === 0) {
    const hidden = 'The gap is within the rounding of the loss from the start: how near it comes, the loss does not tell.';
    return finding('arrival', facts.rests ? 'It starts at the minimum, within rounding, and stays there.' : hidden, 'measured');
  }
  const below = farBelow(facts);
  if (outcome === 'not arrived' && below !== null) {
    const begins = gap[0] === -below ? 'It starts' : 'At the end it is';
    return finding('arrival', `${begins} ${number(below)} below the minimum that the study holds: that is not the lowest.`, 'measured');
  }
  if (outcome === 'diverged' || !Number.isFinite(share)) return null;
  const later = arrivesAt(facts), slow = later !== null && later > taken;
  if (outcome === 'arrived' && facts.modes && facts.everywhere && facts.lost) {  // it came near, and does not stay
    return finding('arrival', `At step ${steps(taken)}, the last that was taken, the gap is at ${percent(share)} of its start.`, 'measured');
  }
  if (outcome === 'arrived' && !slow) {
    // where the first gap was so large that this says little
    if (unmoved(facts)) return finding('arrival', `By the gap alone it is near at step ${steps(step)}: from there on it is within 1 % of its start.`, 'measured');
    const rounding = 2 * facts.eps * Math.abs(minimum), within = rounding > SHARE * gap[0] ? `the rounding of the loss, ${atMost(rounding)}` : '1 % of its start';
    return finding('arrival', `It arrives at step ${steps(step)}: from there on the gap stays within ${within}.`, 'measured');
  }
  if (slow) {
    const far = later > HORIZON, then = `it would arrive at ${far ? 'about ' : ''}step ${far ? number(later, 2) : steps(later)}`;
    return finding('arrival', `Slow, not diverging: ${sayRate(facts, then)}`, 'exact');
  }
  let left = percent(share);
  if (share > SHARE && left === percent(SHARE)) left = `just over ${left}`;
  let how = `the gap is at ${left} of its start`;
  if (share > 1 && share < 1.05) how = `the gap is ${left === '100 %' ? 'just over' : 'at'} ${left} of its start`;
  if (share >= 1.05) how = `the gap is ${times(share)} that at the start`;
  return finding('arrival', `After ${soMany(taken)} it has not arrived: ${how}.`, 'measured');
}

// How far below the known minimum a run starts or ends, beyond all rounding; null where it does not.
function farBelow({ gap, minimum, eps, taken }) {
  const depth = Math.max(SHARE * gap[0], NOISE * eps * Math.abs(minimum)), lowest = -gap[0] > depth ? gap[0] : gap[taken];
  return -lowest > depth ? -lowest : null;
}

// When a run on a quadratic arrives if it goes on; null where that is not known, or never.
export function arrivesAt(facts, changed = {}) {
  const found = forecast(facts, changed);
  return found === null ? null : found.step;
}

// When it would arrive, and at which rate; where the gap leaves a slower direction out, that it does.
function sayRate(facts, then) {
  const { step, mode } = forecast(facts, {}), { modes } = facts, rates = facts.rates();
  const awake = rates.map((each, k) => (modes.awake[k] ? each : -1)), slow = awake.indexOf(Math.max(...awake));
  const shrinks = percent(1 - rates[mode]), slower = percent(1 - rates[slow]);
  if (shrinks === slower) return `the error shrinks ${shrinks} a step in the long run, and ${then}.`;
  const [first, other] = [mode, slow].map((each) => along(modes, each) || 'a direction');
  return `by the gap alone ${then}, for along ${first} the error shrinks ${shrinks} a step; along ${other} it shrinks ${slower} a step, and ${percent(rates[slow] ** step)} of it will be left then.`;
}

// That step, and the mode that holds most of the gap until then.
function forecast(facts, changed) {
  const { settings, modes, taken, eps, run } = facts;
  if (!facts.everywhere || !(settings.lr > 0) || !modes.awake.some(Boolean)) return null;
  const slowest = Math.max(...facts.rates(changed).filter((_, k) => modes.awake[k]));
  if (!(slowest < 1 - EDGE)) return null;
  let left = slowest > 0 ? Math.min(HORIZON, Math.trunc((3 * Math.log(0.05)) / Math.log(slowest)) + 200) : 8;
  left = Math.max(left, taken);
  const bare = { ...settings, ...changed, weight_decay: 0 };  // the modes' curvatures hold it
  const gaps = new Float64Array(left + 1), each = modes.curvatures.map(() => new Float64Array(left + 1));
  modes.curvatures.forEach((curvature, m) => {
    const mode = makeMode(curvature, bare);
    let before = modes.awake[m] ? modes.start[m] : 0, error = (1 - mode.a * (1 + mode.d)) * before;
    each[m][0] = curvature * before ** 2;
    for (let k = 1; k <= left; k++) {
      each[m][k] = curvature * error ** 2;
      [before, error] = [error, mode.trace * error - mode.determinant * before];
    }
    for (let k = 0; k <= left; k++) gaps[k] += each[m][k];
  });
  const limit = SHARE * gaps[0];
  let step = left + 1;
  while (step > 0 && !(gaps[step - 1] > limit)) step--;
  let held = each.map((gap) => gap[Math.max(step - 1, 0)]);
  if (step > 0.8 * left) {  // the end is not in sight: from here on each mode by its own rate
    const periods = facts.periods(changed), late = left + 1 - Math.max(Math.floor(left / 10), 1);
    // what swings is as high as its last swing was, what does not as it is now
    const heights = each.map((gap, m) => (Number.isFinite(periods[m]) && periods[m] > 2 ? largest(gap.subarray(late)) : gap[left]));
    const rates = facts.rates(changed), later = findCrossing(heights, rates, limit);
    step = left + later;
    held = heights.map((each, m) => each * rates[m] ** (2 * later));
  }
  // updates that are lost in the rounding of the places on the way, up to the goal, leave an error where it is
  const size = [...run.position, ...facts.landmark.place].reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  const stuck = facts.rates(changed).map((rate, m) => (modes.awake[m] ? Math.min(Math.abs(modes.start[m]), (8 * eps * size) / (1 - rate)) : 0));
  if (modes.curvatures.reduce((sum, curvature, m) => sum + curvature * stuck[m] ** 2, 0) > limit) return null;
  return { step, mode: held.indexOf(Math.max(...held)) };
}

const largest = (values) => values.reduce((most, each) => Math.max(most, each), -Infinity);

// After how many steps the sum of modes that each shrink at their rate is at the limit, by bisection.
function findCrossing(heights, rates, limit) {
  const speeds = rates.map((each) => 2 * Math.log(each));
  const left = (count) => heights.reduce((sum, height, m) => sum + height * Math.exp(speeds[m] * count), 0);
  if (left(0) <= limit) return 0;
  let below = 0, above = 1;
  while (left(above) > limit) [below, above] = [above, 2 * above];
  for (let k = 0; k < 60; k++) {
    const middle = (below + above) / 2;
    if (left(middle) > limit) below = middle;
    else above = middle;
  }
  return above;
}

export function jitter(facts) {
  const { rule, minimum, settings, run } = facts;
  if (!rule || facts.exact || !facts.hops || minimum === null || facts.diverged) return null;
  const quarter = Math.floor(facts.updates.length / 4), hop = facts.updates.slice(-quarter).reduce((s, each) => s + each, 0) / quarter;
  if (facts.kinked && facts.arrival.outcome === 'arrived') {
    const said = `It does not settle at this learning rate: it hops around the kink, ${number(hop, 2)} a step, because the slope does not fade there.`;
    return finding('jitter', said, 'measured');
  }
  if (facts.modes && settings.lr >= facts.limit()) return null;  // told there
  if (facts.arrival.outcome === 'arrived') {  // within the share that counts as arrived it may go to and fro
    const said = `It goes on hopping within the 1 % that count as arrived: ${number(hop, 2)} a step at the end, about as much as before.`;
    return finding('jitter', said, 'measured');
  }
  if (shrinks(facts.minimised, quarter, facts.eps)) return null;  // to and fro along one direction, nearer along another
  const losses = run.loss.slice(-quarter).filter((each) => !Number.isNaN(each));
  const said = `It comes no nearer: at the end it goes to and fro, ${number(hop, 2)} a step, with a loss ${between(Math.min(...losses), Math.max(...losses))}.`;
  return finding('jitter', said, 'measured');
}

export function floor(facts) {
  const { minimum, taken, climbs, run, kind, eps } = facts;
  if (minimum === null || taken < FEWEST || climbs || !run.loss.every(Number.isFinite) || facts.rests) return null;
  let since = 0;
  for (let k = taken; k > 0; k--) {
    if (Math.abs(run.loss[k] - run.loss[k - 1]) > 2 * distanceToNext(run.loss[k], eps)) {
      since = k;
      break;
    }
  }
  const ulp = distanceToNext(run.loss[taken], eps);
  const off = facts.minimised.subarray(since).reduce((most, each) => Math.max(most, Math.abs(each - minimum)), 0);
  if (taken - since < Math.max(3, Math.floor(taken / 20)) || off > 16 * ulp || farBelow(facts) !== null) return null;
  return finding('floor', `Nothing more to gain in ${kind.dtype}: from step ${steps(since)} on the loss changes by 2 ulp at most.`, 'measured');
}

export function climb({ climbs, taken, run, settings }) {
  if (!climbs || taken < 1) return null;
  const seen = run.loss.filter((each) => !Number.isNaN(each)), first = seen[0], last = seen[seen.length - 1];
  const texts = toldApart(first, last);
  if (texts === null) {
    const stays = seen.every((each) => each === first) ? 'stays' : 'ends as it began,';
    return finding('climb', `maximize=True, yet the loss ${stays} at ${number(first)}.`, 'measured');
  }
  const does = last > first ? 'maximize=True: it climbs, and' : 'maximize=True, yet';
  const why = settings.weight_decay && last < first ? ': weight decay still shrinks the parameters' : '';
  return finding('climb', `${does} the loss goes from ${texts[0]} to ${texts[1]}${why}.`, 'measured');
}
