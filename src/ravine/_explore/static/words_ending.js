// Whether a run arrived, what keeps it from settling, what weight decay does to its goal, and bounded slopes.

import { between, number, percent, place, soMany, steps, times } from './format.js';
import { SHARE } from './measure.js';
import { makeMode } from './theory.js';

const HORIZON = 20000, FEWEST = 16, HARDLY = 0.01, STRAIGHT = 1.5;

const finding = (kind, sentence, scope) => ({ kind, sentence, scope });

export function arrival(facts) {
  const { climbs, minimum, taken } = facts;
  if (climbs || minimum === null || taken < 1) return null;
  const { outcome, step } = facts.arrival, { gap } = facts, share = gap[0] > 0 ? gap[taken] / gap[0] : NaN;
  if (outcome === 'arrived' && step === 0) {
    return finding('arrival', 'It starts at the minimum, within rounding, and stays there.', 'measured');
  }
  if (outcome === 'diverged' || !Number.isFinite(share)) return null;
  const later = arrivesAt(facts), slow = later !== null && later > taken;
  if (outcome === 'arrived' && !slow) {
    return finding('arrival', `It arrives at step ${steps(step)}: from there on the gap stays within 1 % of its start.`, 'measured');
  }
  if (slow) {
    const slowest = Math.max(...facts.rates().filter((_, k) => facts.modes.awake[k])), far = later > HORIZON;
    const said = `Slow, not diverging: the error shrinks ${percent(1 - slowest)} a step in the long run, and it would arrive at ${far ? 'about ' : ''}step ${far ? number(later, 2) : steps(later)}.`;
    return finding('arrival', said, 'exact');
  }
  let left = percent(share);
  if (share > SHARE && left === percent(SHARE)) left = `just over ${left}`;
  const how = share >= 1.05 ? `the gap is ${times(share)} that at the start` : `the gap is at ${left} of its start`;
  return finding('arrival', `After ${soMany(taken)} it has not arrived: ${how}.`, 'measured');
}

// When a run on a quadratic arrives if it goes on; null where that is not known, or never.
export function arrivesAt(facts, changed = {}) {
  const { settings, modes, taken, eps, run } = facts;
  if (!facts.exact || !(settings.lr > 0)) return null;
  const slowest = Math.max(...facts.rates(changed).filter((_, k) => modes.awake[k]));
  if (!(slowest < 1)) return null;
  let left = slowest > 0 ? Math.min(HORIZON, Math.trunc((3 * Math.log(0.05)) / Math.log(slowest)) + 200) : 8;
  left = Math.max(left, taken);
  const bare = { ...settings, ...changed, weight_decay: 0 };  // the modes' curvatures hold it
  const gaps = new Float64Array(left + 1);
  modes.curvatures.forEach((curvature, m) => {
    const mode = makeMode(curvature, bare);
    let before = modes.start[m], error = (1 - mode.a * (1 + mode.d)) * before;
    gaps[0] += curvature * before ** 2;
    for (let k = 1; k <= left; k++) {
      gaps[k] += curvature * error ** 2;
      [before, error] = [error, mode.trace * error - mode.determinant * before];
    }
  });
  const limit = SHARE * gaps[0];
  let step = left + 1;
  while (step > 0 && !(gaps[step - 1] > limit)) step--;
  if (step > 0.8 * left) {  // the end is not in sight: from here on by the rate alone
    const last = gaps.subarray(gaps.length - Math.floor(left / 10)).reduce((most, each) => Math.max(most, each), -Infinity);
    step = left + Math.max(Math.log(limit / last) / (2 * Math.log(slowest)), 0);
  }
  const reach = Math.sqrt(limit / modes.curvatures[0]) * (1 - slowest);
  // else rounding ends it before
  return reach > 8 * eps * Math.max(Math.abs(run.position[0]), Math.abs(run.position[1])) ? step : null;
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
  const losses = run.loss.slice(-quarter).filter((each) => !Number.isNaN(each));
  const said = `It comes no nearer: at the end it goes to and fro, ${number(hop, 2)} a step, with a loss ${between(Math.min(...losses), Math.max(...losses))}.`;
  return finding('jitter', said, 'measured');
}

export function floor(facts) {
  const { minimum, taken, climbs, run, kind } = facts;
  if (minimum === null || taken < FEWEST || climbs || !run.loss.every(Number.isFinite) || facts.rests) return null;
  let since = 0;
  for (let k = taken; k > 0; k--) {
    if (Math.abs(run.loss[k] - run.loss[k - 1]) > 2 * spacing(run.loss[k], kind)) {
      since = k;
      break;
    }
  }
  const ulp = spacing(run.loss[taken], kind);
  const off = facts.minimised.subarray(since).reduce((most, each) => Math.max(most, Math.abs(each - minimum)), 0);
  if (taken - since < Math.max(3, Math.floor(taken / 20)) || off > 16 * ulp) return null;
  return finding('floor', `Nothing more to gain in ${kind.dtype}: from step ${steps(since)} on the loss changes by 2 ulp at most.`, 'measured');
}

// the distance to the next number of the dtype
function spacing(value, { single }) {
  const size = Math.abs(value), [digits, lowest] = single ? [23, -149] : [52, -1074];
  if (size === 0) return 2 ** lowest;
  let exponent = Math.floor(Math.log2(size));
  if (2 ** exponent > size) exponent--;
  else if (2 ** (exponent + 1) <= size) exponent++;
  return 2 ** Math.max(exponent - digits, lowest);
}

export function climb({ climbs, taken, run, settings }) {
  if (!climbs || taken < 1) return null;
  const seen = run.loss.filter((each) => !Number.isNaN(each)), first = seen[0], last = seen[seen.length - 1];
  const said = `maximize=True: it climbs, ${last > first ? 'and' : 'yet'} the loss goes from ${number(first)} to ${number(last)}`;
  const why = settings.weight_decay && last < first ? ': weight decay still shrinks the parameters.' : '.';
  return finding('climb', said + why, 'measured');
}

export function goal(facts) {
  const { landmark, own, decay, labels, minimum } = facts;
  if (!decay || !landmark || facts.lost) return null;
  const spot = landmark.place, loss = minimum - (decay / 2) * (spot[0] ** 2 + spot[1] ** 2);
  let hardly = '', there = `it is ${place(labels, spot)}, where the data loss is ${number(loss)}`;
  if (own) {
    const moved = Math.hypot(own.place[0] - spot[0], own.place[1] - spot[1]), size = Math.hypot(...own.place);
    if (moved <= 1e-6 * (1 + size)) return null;
    if (moved < HARDLY * size) hardly = 'hardly ';
    there += `, not the data's own minimum ${place(labels, own.place)} with ${number(own.minimum)}`;
  }
  let said = `Weight decay ${hardly}moves the goal: ${there}`;
  if (labels.includes('bias')) said += '; the bias is decayed too';
  const certain = facts.exact || landmark.certain;
  if (!certain) said = `Locally, as far as a search from nearby shows: ${said[0].toLowerCase()}${said.slice(1)}`;
  return finding('goal', `${said}.`, certain ? 'exact' : 'local');
}

export function pull(facts) {
  const { decay, run } = facts, slopes = decay && !facts.lost ? facts.slopes : null;
  if (!slopes || !slopes.length) return null;
  const mine = decay * Math.hypot(run.position[0], run.position[1]), data = Math.hypot(slopes[0], slopes[1]);
  if (!(Number.isFinite(data) && data > 0 && mine > 0)) return null;
  const ratio = mine / data;
  let harder = ratio < 1 ? `the data pull ${times(1 / ratio)} as hard as decay` : `decay pulls ${times(ratio)} as hard as the data`;
  if (ratio > 0.8 && ratio < 1.25) harder = 'decay and the data pull about equally hard';
  const share = percent(mine / (mine + data)), off = ratio >= 0.8 ? offThePoints(facts) : '';
  return finding('pull', `At the start ${harder} (${share} of the pull is decay)${off}.`, 'measured');
}

function offThePoints({ data, run, kind }) {
  if (!data) return '';
  const { round } = kind, last = run.position.length - 2, w = run.position[last], b = run.position[last + 1];
  let below = true, above = true;
  for (let i = 0; i < data.inputs.length; i++) {
    const fitted = round(round(round(data.inputs[i]) * w) + b), target = round(data.targets[i]);
    below &&= fitted < target;
    above &&= fitted > target;
  }
  return below || above ? `; what is fitted ends ${below ? 'below' : 'above'} all ${data.inputs.length} points` : '';
}

export function betterBefore(facts) {
  const { decay, taken, run, minimum, landmark, minimised } = facts, now = run.loss[taken];
  if (!decay || taken < 2 || !Number.isFinite(now) || facts.diverged) return null;
  if (minimum !== null && facts.arrival.outcome !== 'arrived') return null;  // on its way, or on a swing
  let best = 0;
  for (let k = 1; k <= taken; k++) if (run.loss[k] < run.loss[best]) best = k;
  const lowest = run.loss[best], risen = now - lowest > 0.01 * Math.abs(run.loss[0] - lowest) + 1e-3 * Math.abs(lowest);
  if (best === taken || !risen || !(minimised[taken] < minimised[best])) return null;
  if (landmark) {
    const pulledTo = minimum - (decay / 2) * (landmark.place[0] ** 2 + landmark.place[1] ** 2);
    if (!(lowest < pulledTo) || now - pulledTo > 0.5 * (pulledTo - lowest)) return null;  // a swing beyond the goal
  }
  const then = `${number(lowest)} at step ${steps(best)}, now ${number(now)}`;
  return finding('better before', `The data loss was better on the way (${then}): decay pulled it back.`, 'measured');
}

export function bounded(facts) {
  const { rule, taken, minimum, decay, settings, gap } = facts;
  if (!rule || facts.exact || taken < 4 || minimum === null || decay || !(settings.lr > 0)) return null;
  const slopes = facts.slopes;
  if (!slopes || !slopes.every(Number.isFinite) || facts.diverged) return null;
  const far = gap.findIndex((each) => each < gap[0] / 4);
  if (far < 4) return null;
  const lengths = Float64Array.from({ length: taken }, (_, k) => Math.hypot(slopes[2 * k], slopes[2 * k + 1]));
  const way = lengths.subarray(0, far), most = (values) => values.reduce((top, each) => Math.max(top, each), -Infinity);
  // a bowl's slope halves while its gap falls to a quarter
  if (!(most(way) < STRAIGHT * way.reduce((least, each) => Math.min(least, each), Infinity))) return null;
  const steepest = most(lengths);
  let said = `On its way the slope never exceeds ${number(steepest, 2)}`;
  if (settings.momentum) said += `, and its longest step was ${number(most(facts.updates), 2)}`;
  else said += `, so it walks at most ${number(settings.lr * steepest, 2)} a step`;
  if (facts.arrival.outcome === 'not arrived' && !facts.hops) said += `: ${soMany(taken)} ${taken === 1 ? 'is' : 'are'} not enough`;
  return finding('bounded slope', `${said}.`, 'measured');
}
