// Sentences about a run: what ravine.explain says of it, word for word, and the one that explains a path's shape.

import * as motion from './words_motion.js';
import * as ending from './words_ending.js';
import { EDGE } from './facts.js';
import { between, number, percent, soMany, steps, times } from './format.js';
import { along } from './quadratic.js';
import { firstBroken } from './measure.js';

export const finding = (kind, sentence, scope) => ({ kind, sentence, scope });
export const localPrefix = (facts) => (facts.exact ? '' : 'Locally, from the curvature at the minimum, ');

// The sentence with its scope, which a local one names itself.
export const told = ({ sentence, scope }) => (sentence.includes('ocally') ? sentence : `${sentence} (${scope})`);

function diverged(facts) {
  const { run, climbs, taken } = facts, start = run.loss[0];
  if (climbs || taken < 1 || !facts.diverged) return null;
  const broken = firstBroken(run.loss);
  if (broken >= 0) {
    const loss = Number.isNaN(run.loss[broken]) ? 'nan' : run.loss[broken] > 0 ? 'inf' : '-inf';
    return finding('diverged', `It diverged: the loss is ${loss} at step ${steps(broken)}, after ${number(start)} at the start.`, 'measured');
  }
  const said = `It diverged: the loss went from ${number(start)} to ${number(run.loss[taken])} in ${soMany(taken)}.`;
  return finding('diverged', said, 'measured');
}

function margin(facts) {
  const { modes, rule, settings } = facts, { lr } = settings;
  if (!modes || !rule || !(lr > 0)) return null;
  const limit = facts.limit();
  if (!(lr > 0 && lr < limit * (1 - EDGE))) return null;
  const share = lr / limit, scope = facts.exact ? 'exact' : 'local';
  if (!facts.exact) {
    const said = `the limit of the learning rate is ${number(limit)}: lr ${number(lr)} is at ${percent(share)} of it`;
    return finding('margin', `${localPrefix(facts)}${said}. Beyond it a run does not settle there.`, scope);
  }
  if (share < 0.9) {
    const raised = `You could raise the learning rate about ${number(1 / share, share < 0.5 ? 2 : 3)} times before this diverges`;
    return finding('margin', `${raised} (limit ${number(limit)}).`, scope);
  }
  const said = `lr ${number(lr, 4)} is at ${percent(share)} of its limit, ${number(limit, 4)}: beyond it this diverges.`;
  return finding('margin', said, scope);
}

function beyond(facts) {
  const { modes, rule, settings } = facts, { lr } = settings;
  if (!modes || !rule || !(lr > 0)) return null;
  const limit = facts.limit(), rates = facts.rates();
  if (lr < limit * (1 - EDGE)) return null;
  const felt = facts.exact ? rates.map((each, k) => (modes.awake[k] ? each : 0)) : rates;
  const worst = felt.indexOf(Math.max(...felt)), scope = facts.exact ? 'exact' : 'local';
  let over = sayOver(settings, limit);
  if (rates[worst] < 1 - EDGE) return facts.exact && limit > 0 ? spared(facts, over, rates) : null;
  if (facts.rests) {
    return finding('beyond the limit', `${localPrefix(facts)}${over}: it stays at the minimum only as long as nothing pushes it.`, scope);
  }
  if (facts.exact) {
    if (over.startsWith('with')) over = over.replace('with', 'With');
    return finding('beyond the limit', `${over}: the error ${grows(facts, worst, rates)}.${cause(facts)}`, scope);
  }
  const said = `${localPrefix(facts)}${over}: it cannot settle at that minimum.${cycle(facts)}${cause(facts)}`;
  return finding('beyond the limit', said, scope);
}

// over a limit that it does not feel, because of where it started
function spared({ modes }, over, rates) {
  const worst = rates.indexOf(Math.max(...rates));
  if (modes.awake[worst] || rates[worst] < 1 - EDGE) return null;
  const fate = rates[worst] > 1 + EDGE ? 'grow' : 'not die';
  const said = `${over}, yet it comes near: it starts without an error along ${along(modes, worst)}, the one that would ${fate}.`;
  return finding('beyond the limit', said, 'exact');
}

function sayOver({ lr, momentum, dampening }, limit) {
  if (!(limit > 0)) {
    const damped = dampening ? ` and dampening ${number(dampening)}` : '';
    return `with momentum ${number(momentum)}${damped} no small learning rate converges`;
  }
  if (lr <= limit * (1 + EDGE)) return `lr ${number(lr, 5)} is at its limit`;
  if (lr < 1.1 * limit) return `lr ${number(lr, 5)} is over its limit, ${number(limit, 5)}`;
  return `lr ${number(lr)} is ${times(lr / limit)} its limit, ${number(limit)}`;
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
  if (facts.exact && weight_decay && facts.modes.curvatures.every((c) => c - facts.decay > 0)) {
    tried.push(['Without weight decay', facts.limit({ weight_decay: 0 })]);
  }
  const found = tried.find(([, limit]) => lr < limit * (1 - EDGE));
  return found ? ` ${found[0]} the limit would be ${number(found[1])}, and this lr below it.` : '';
}

const FINDINGS = [
  diverged, beyond, ending.climb, ending.arrival, ending.jitter, margin, motion.momentum, motion.swing, ending.goal,
  motion.nesterov, motion.dampening, ending.bounded, ending.pull, ending.betterBefore, motion.bend, motion.firstStep,
  motion.effective, ending.floor,
];
const SHAPES = [
  beyond, diverged, ending.climb, ending.goal, motion.dampening, motion.nesterov, motion.swing, ending.jitter,
  ending.bounded, motion.bend, margin,
];

// Every sentence about a run, the most important first.
export function explain(facts) {
  return facts.taken > 0 ? FINDINGS.map((find) => find(facts)).filter(Boolean) : [];
}

// The one that best explains why a path looks as it does, or null.
export function findShape(facts) {
  if (facts.taken < 1) return null;
  for (const find of SHAPES) {
    const found = find(facts);
    if (found) return found;
  }
  return null;
}

// What `explain` says of settings that torch refuses.
export const refused = (message) => finding('refused', `Torch refuses these settings: ${message}.`, 'measured');
