// How far the learning rate is from where a run diverges, and what became of one beyond it.

import { EDGE, finding, localPrefix, scopeOf } from './facts.js';
import { atLeast, between, number, percent, soMany, steps, times, toldApart } from './format.js';
import { FEWEST, firstBroken } from './measure.js';
import { along } from './quadratic.js';

const GREW = 1;

export function diverged(facts) {
  const { run, climbs, taken } = facts, start = run.loss[0];
  if (climbs || taken < 1) return null;
  if (!facts.diverged) return grew(facts);
  const broken = firstBroken(run.loss);
  if (broken >= 0) {
    const loss = Number.isNaN(run.loss[broken]) ? 'nan' : run.loss[broken] > 0 ? 'inf' : '-inf';
    return finding('diverged', `It diverged: the loss is ${loss} at step ${steps(broken)}, after ${number(start)} at the start.`, 'measured');
  }
  const last = run.loss[taken], whole = facts.minimised;
  const forever = facts.everywhere && Math.max(0, ...facts.rates().filter((_, k) => facts.modes.awake[k])) > 1 + EDGE;
  const head = forever ? 'It diverged' : `It diverged, as far as ${soMany(taken)} tell`;  // a loss may level off further out
  const tail = forever ? ` in ${soMany(taken)}` : '', said = `${head}: the loss went from ${number(start)} to ${number(last)}${tail}.`;
  if (hasRisen(start, last)) return finding('diverged', said, 'measured');
  // weight decay's part of what is minimised grew, or all of it swings
  const what = facts.decay ? 'what is minimised, weight decay included,' : 'the loss';
  let came = `to ${number(whole[taken])}${tail}`;
  if (!hasRisen(whole[0], whole[taken])) {
    const peak = whole.indexOf(Math.max(...whole));
    came = `to ${number(whole[peak])} at step ${steps(peak)}, and to ${number(whole[taken])} at the end`;
  }
  const alone = facts.decay ? `; the loss alone from ${number(start)} to ${number(last)}` : '';
  return finding('diverged', `${head}: ${what} went from ${number(whole[0])} ${came}${alone}.`, 'measured');
}

// that the loss was not finite on the way, as a logarithm is where a step overshoots, and is again
export function cameBack({ taken, run: { loss } }) {
  const broken = [...loss.keys()].filter((k) => !Number.isFinite(loss[k]));
  if (taken < 1 || !broken.length || firstBroken(loss) >= 0) return null;
  const [first] = broken, last = broken.at(-1), kind = Number.isNaN(loss[first]) ? 'nan' : loss[first] > 0 ? 'inf' : '-inf';
  const where = broken.length > 1 ? `not finite at ${steps(broken.length)} steps, first at step ${steps(first)} (${kind})` : `${kind} at step ${steps(first)}`;
  return finding('not finite', `The loss is ${where}, and finite again from step ${steps(last + 1)} on.`, 'measured');
}

function hasRisen(first, last) {
  return last > first && number(last) !== number(first);
}

// of a run too short to be told diverged, that its loss only grew
export function grew({ run, taken, minimised, decay }) {
  if (taken >= FEWEST || !run.loss.every(Number.isFinite)) return null;
  for (let k = 1; k <= taken; k++) if (!(minimised[k] > minimised[k - 1])) return null;
  const first = minimised[0], last = minimised[taken];
  if (!(last - first > GREW * Math.abs(first))) return null;
  const what = decay ? 'loss with its weight decay' : 'loss';
  return finding('grew', `The ${what} only grew: from ${number(first)} to ${number(last)} in ${soMany(taken)}.`, 'measured');
}

export function margin(facts) {
  const { modes, rule, settings } = facts, { lr } = settings;
  if (!modes || !rule || !(lr > 0)) return null;
  const limit = facts.limit(), { everywhere } = facts;
  if (!(lr > 0 && lr < limit * (1 - EDGE))) return null;
  const share = lr / limit, texts = toldApart(lr, limit), others = sayOtherLimit(facts), locally = localPrefix(facts);
  let said;
  if (texts === null || share > 1 - 1e-5) {
    said = `lr ${number(lr, 6)} is just below its limit${others || ': beyond it this diverges'}.`;
    if (!everywhere) said = `${locally}lr ${number(lr, 6)} is just below its limit${others}.`;
  } else if (!everywhere) {
    said = `${locally}the limit of the learning rate is ${texts[1]}: lr ${texts[0]} is at ${percent(share)} of it`;
    said += others ? `${others}.` : '. Beyond it a run does not settle there.';
  } else if (others) said = `The limit of the learning rate is ${texts[1]}, and lr ${texts[0]} at ${percent(share)} of it${others}.`;
  else if (share < 0.9) {
    const higher = `The learning rate could be ${atLeast(1 / share)} times as high before this diverges`;
    said = `${higher} (limit ${number(limit)}).`;
  } else {
    const near = toldApart(lr, limit, 4) ?? texts;
    said = `lr ${near[0]} is at ${percent(share)} of its limit, ${near[1]}: beyond it this diverges.`;
  }
  return finding('margin', said, scopeOf(facts));
}

// what the limit is for a start that has no error along some directions; nothing where it is the same
function sayOtherLimit(facts) {
  const { awake } = facts.modes;
  if (awake.every(Boolean) || !awake.some(Boolean)) return '';
  const own = facts.limitOfStart();
  if (!(own > facts.limit() * (1 + EDGE))) return '';
  const asleep = along(facts.modes, awake.lastIndexOf(false)) || 'a direction';
  return `; it is that of ${asleep}, along which this start has no error: but for rounding this run would not diverge up to lr ${atLeast(own)}`;
}

export function beyond(facts) {
  const { modes, rule, settings, everywhere } = facts, { lr } = settings;
  if (!modes || !rule || !(lr > 0)) return null;
  const limit = facts.limit(), rates = facts.rates();
  if (lr < limit * (1 - EDGE)) return null;
  const met = rates.map((each, k) => (modes.awake[k] ? each : 0)), asleep = facts.exact && Math.max(...met) < 1 - EDGE;
  const felt = facts.exact && !asleep ? met : rates, worst = felt.indexOf(Math.max(...felt));
  const locally = localPrefix(facts), scope = scopeOf(facts);
  let over = sayOver(settings, limit), said;
  if (rates[worst] < 1 - EDGE) return null;  // a window of convergence above momentum 1
  if (facts.rests) {
    return finding('beyond the limit', `${locally}${over}: it stays at the minimum only as long as nothing pushes it.`, scope);
  }
  if (asleep && !facts.diverged) return limit > 0 ? spare(facts, over, worst, rates[worst]) : null;
  if (everywhere) {
    if (over.startsWith('with')) over = over.replace('with', 'With');
    said = `${over}: the error ${grows(facts, worst, rates)}.`;
  } else if (facts.minimum !== null && facts.arrival.outcome === 'arrived') {
    const direction = along(modes, worst), grow = direction ? `along ${direction} grows` : 'grows';
    said = `${locally}${over}: so far it stays near that minimum, where an error ${grow}.`;
  } else said = `${locally}${over}: it cannot settle at that minimum.${cycle(facts)}`;
  return finding('beyond the limit', said + cause(facts), scope);
}

// over a limit that it does not feel, because of where it started
function spare(facts, over, worst, rate) {
  const where = along(facts.modes, worst) || 'a direction', fate = rate > 1 + EDGE ? 'grow' : 'not die';
  const said = `${localPrefix(facts)}${over}, yet it comes near: it starts without an error along ${where}, the one that would ${fate}; but for rounding this run would not diverge up to lr ${atLeast(facts.limitOfStart())}.`;
  return finding('beyond the limit', said, scopeOf(facts));
}

function sayOver({ lr, momentum, dampening }, limit) {
  if (!(limit > 0)) {
    const damped = dampening ? ` and dampening ${number(dampening, 6)}` : '';
    return `with momentum ${number(momentum, 6)}${damped} no learning rate converges, however small`;
  }
  if (lr <= limit * (1 + EDGE)) return `lr ${number(lr, 5)} is at its limit`;
  const texts = toldApart(lr, limit, lr < 1.1 * limit ? 5 : 3);
  if (texts === null) return `lr ${number(lr, 5)} is just over its limit`;
  if (lr < 1.1 * limit) return `lr ${texts[0]} is over its limit, ${texts[1]}`;
  return `lr ${texts[0]} is ${times(lr / limit)} its limit, ${texts[1]}`;
}

function grows({ modes }, mode, rates) {
  const direction = along(modes, mode), where = direction ? `along ${direction} ` : '', rate = rates[mode];
  if (rate <= 1 + EDGE) {
    const all = rates.every((each, k) => !modes.awake[k] || each >= 1 - EDGE);
    return `${all ? '' : where}neither dies nor grows in the long run`;
  }
  return `${where}grows ${rate < 1.5 ? percent(rate - 1) : `${number(rate)}-fold`} a step, so it diverges`;
}

function cycle(facts) {
  if (facts.diverged || !facts.hops) return '';
  const { loss } = facts.run, quarter = [...loss.subarray(Math.floor((3 * loss.length) / 4))].filter((each) => !Number.isNaN(each));
  return ` It does not blow up either: at the end it cycles, with a loss ${between(Math.min(...quarter), Math.max(...quarter))}.`;
}

// the knob without which this lr would be below its limit
function cause(facts) {
  const { lr, momentum, dampening, weight_decay, nesterov } = facts.settings, tried = [];
  if (nesterov && momentum) tried.push(['Without nesterov', facts.limit({ nesterov: false })]);
  if (momentum && dampening) tried.push(['Without dampening', facts.limit({ dampening: 0 })]);
  if (momentum) tried.push(['Without momentum', facts.limit({ momentum: 0, dampening: 0, nesterov: false })]);
  if (facts.everywhere && weight_decay && facts.modes.curvatures.every((c) => c - facts.decay > 0)) {
    tried.push(['Without weight decay', facts.limit({ weight_decay: 0 })]);
  }
  const found = tried.find(([, limit]) => lr < limit * (1 - EDGE));
  return found ? ` ${found[0]} the limit would be ${number(found[1])}, and this lr below it.` : '';
}
