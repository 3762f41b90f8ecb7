// How a run moves on its way, and what momentum, dampening and nesterov do to that.

import { EDGE, FAINT, finding, localPrefix, scopeOf } from './facts.js';
import { atMost, number, percent, span, steps, toldApart } from './format.js';
import { ALIKE, along } from './quadratic.js';
import { bestMomentum, effectiveLr, rate } from './theory.js';
import { arrivesAt } from './words_ending.js';
import { periodOf, turnsOf } from './measure.js';

const NARROWEST = 1e6, ROUND = 10, NO_MATTER = 1.1, THROUGHOUT = 0.8, BENT = 0.995, SEEN = 0.05;
const PLAIN = { momentum: 0, dampening: 0, nesterov: false };

const farthest = (position) => position.reduce((most, each) => Math.max(most, Math.abs(each)), 0);

const lower = (facts, sentence) => (facts.everywhere ? sentence : `${localPrefix(facts)}${sentence[0].toLowerCase()}${sentence.slice(1)}`);

export function momentum(facts) {
  const { modes, rule, settings } = facts, { lr, momentum: mu, dampening: tau, nesterov: ahead } = settings;
  if (!modes || !rule || !mu || !(lr > 0)) return null;
  if (facts.rests || facts.diverged || (facts.exact && !modes.awake.every(Boolean))) return null;
  const withIt = Math.max(...facts.rates()), without = Math.max(...facts.rates({ momentum: 0 }));
  if (!(Math.max(withIt, without) < 1 - EDGE) || tau >= 1) return null;
  const best = bestMomentum(modes.curvatures, { lr, dampening: tau, weight_decay: 0, nesterov: ahead });
  const mine = percent(1 - withIt), other = percent(1 - without);
  const shrinks = `in the long run the error shrinks ${mine} a step instead of ${other}`;
  const named = `momentum ${number(mu, 6)}${ahead ? ' (nesterov)' : ''}`, condition = number(modes.condition, 2);
  const alike = mine === other || muchAlike(withIt, without), level = modes.curvatures.length < 2, aside = ', level directions aside';
  let sentence;
  if (alike) {
    const both = mine === other ? 'with it and without' : `with it and ${other} without`;
    sentence = `In the long run, ${named} makes little difference here: the error shrinks ${mine} a step ${both}.`;
  } else if (withIt > without) {
    const bowl = level ? 'In a trough, level along its bottom,' : `On a bowl this round (condition number ${condition})`;
    const shape = modes.condition < ROUND ? bowl : `At condition number ${condition}${level ? `${aside},` : ''}`;
    sentence = `${shape} and at this lr, ${named} is slower than none: ${shrinks}.`;
  } else sentence = `Momentum helps here: with ${named}, ${shrinks} (condition number ${condition}${level ? aside : ''}).`;
  if (!alike && facts.everywhere) {
    const there = arrivesAt(facts), instead = arrivesAt(facts, PLAIN);
    // what counts in the long run is not what this run shows
    if (there !== null && instead !== null && there < instead !== withIt < without && there !== instead) return null;
  }
  if (Number.isFinite(best.momentum) && best.rate < withIt && !muchAlike(best.rate, withIt)) {
    const texts = toldApart(best.momentum, 1, 2), pace = percent(1 - best.rate);
    const held = facts.settings.dampening ? 'at this lr and dampening' : 'at this lr';
    if (best.momentum === 0) sentence += ` At this lr none at all is best (${pace} a step).`;
    else if (texts) sentence += ` The best momentum ${held} is ${texts[0]} (${pace} a step).`;
  }
  const narrow = withIt > without && !alike ? paysFrom(facts) : null;
  if (narrow !== null) sentence += ` In a valley as steep, with a condition number over ${atMost(narrow, 2)}, it would pay.`;
  return finding('momentum', lower(facts, sentence), scopeOf(facts));
}

// whether two rates take about the same time to halve an error
function muchAlike(one, other) {
  const slow = Math.max(one, other), fast = Math.min(one, other);
  return fast > 0 && Math.log(fast) / Math.log(slow) < NO_MATTER;
}

// the condition number, the steep side being as it is, from which this momentum beats none
function paysFrom({ modes, settings }) {
  const steep = modes.curvatures.at(-1), ours = { ...settings, weight_decay: 0 }, plain = { ...ours, ...PLAIN };
  const steepOurs = rate(steep, ours), steepPlain = rate(steep, plain);
  let low = modes.condition, high = NARROWEST;
  for (let round = 0; round < 2; round++) {
    const top = Math.max(low, high), ratio = Math.log(top / low);
    const at = (k) => (k === 0 ? low : k === 1999 ? top : low * Math.exp((ratio * k) / 1999));
    let last = -1;
    for (let k = 1999; k >= 0; k--) {
      const flat = steep / at(k);
      if (Math.max(rate(flat, ours), steepOurs) >= Math.max(rate(flat, plain), steepPlain)) {
        last = k;
        break;
      }
    }
    if (last < 0 || last === 1999) return null;
    [low, high] = [at(last), at(last + 1)];
  }
  return high;
}

export function swing(facts) {
  if (facts.exact && facts.settings.lr > 0) return exactSwing(facts);
  if (facts.taken < 8 || facts.climbs || !facts.run.position.every(Number.isFinite)) return null;
  const period = periodOf(facts.run.position, facts.kind);
  if (!Number.isFinite(period) || facts.diverged || (facts.rule && facts.hops)) return null;
  const turns = turnsOf(facts.run.position, facts.kind), rounding = FAINT * facts.eps * farthest(facts.run.position);
  if (turns.filter((at) => facts.updates[Math.floor(at)] > rounding).length < 3) return null; // what turns is rounding
  const first = turns[0], last = turns[turns.length - 1], between = facts.taken - 1;
  const begins = last - first > THROUGHOUT * between ? '' : ` from step ${steps(first)} to ${steps(Math.ceil(last))}`;
  if (period < 2.05) {
    const said = `It zigzags${begins}: its updates turn round at ${steps(turns.length)} of ${steps(between)} steps.`;
    return finding('swing', said, 'measured');
  }
  const said = `It swings on its way${begins}: there and back takes about ${number(period, 2)} steps (${steps(turns.length)} turns).`;
  return finding('swing', said, 'measured');
}

function exactSwing(facts) {
  const { modes } = facts;
  if (facts.lost) return null;
  const rates = facts.rates(), periods = facts.periods(), halves = facts.halfLives();
  // one full swing must lie within the steps that were taken
  const swinging = rates.map((r, k) => modes.carrying[k] && periods[k] <= facts.taken && r < 1 - EDGE && r ** (periods[k] / 2) >= SEEN);
  if (!swinging.some(Boolean)) return null;
  const only = (values) => values.filter((_, k) => swinging[k]);
  const longest = Math.max(...only(periods)), low = Math.min(...only(periods)), zigzag = longest <= 2;
  const felt = rates.map((r, k) => (swinging[k] ? r : 0)), slowest = felt.indexOf(Math.max(...felt));
  const life = zigzag ? [halves[slowest]] : only(halves), goal = facts.decay ? 'its goal' : 'the minimum';
  let halved = `the swing halves every ${span(life)} steps`;
  if (Math.max(...life) < 1) halved = `each step leaves ${atMost(100 * Math.max(...only(rates)), 2)} % of the swing at most`;
  if (zigzag) {
    const direction = along(modes, slowest), where = direction ? ` along ${direction}` : '';
    return finding('swing', `It zigzags${where}: the error flips its sign at every step, and ${halved}.`, 'exact');
  }
  const verb = low > 2 && longest > low * (1 + ALIKE) ? 'orbits' : 'swings about';
  return finding('swing', `The path ${verb} ${goal} every ${span(only(periods))} steps; ${halved}.`, 'exact');
}

export function bend(facts) {
  const { modes, settings } = facts;
  if (!facts.exact || !(settings.lr > 0) || modes.carrying.filter(Boolean).length < 2) return null;
  const halves = facts.halfLives(), periods = facts.periods();
  const there = [0, 1].filter((k) => modes.carrying[k] && Number.isFinite(halves[k]));
  if (there.length < 2 || there.some((k) => Number.isFinite(periods[k]))) return null;
  const fast = halves[1] < halves[0] ? 1 : 0, slow = halves[1] > halves[0] ? 1 : 0;
  if (halves[slow] < 1.3 * halves[fast] || !isBent(facts, halves[fast])) return null;
  const said = `The path bends because ${along(modes, fast)} settles first: its error ${paceOf(halves[fast])}, that along ${along(modes, slow)} ${paceOf(halves[slow], halves[fast] >= 1 ? 'every' : 'halves every')}.`;
  return finding('bend', said, 'exact');
}

// how soon an error is gone: in steps, or as a share of itself where half of it goes in less than one
function paceOf(halfLife, words = 'halves every') {
  if (halfLife < 1) return halfLife > 0 ? `shrinks ${percent(1 - 0.5 ** (1 / halfLife))} a step` : 'is gone in one step';
  return `${words} ${number(halfLife, 2)}${words === 'every' ? '' : ' steps'}`;
}

// whether the path was seen to turn while the error of its fast direction halved twice
function isBent({ taken, run: { position: p } }, halfLife) {
  const last = Math.min(taken - 1, Math.ceil(2 * halfLife) + 1);
  if (last < 1) return false;
  const move = (k) => [p[2 * k + 2] - p[2 * k], p[2 * k + 3] - p[2 * k + 1]], one = move(0), other = move(last);
  const lengths = Math.hypot(...one) * Math.hypot(...other);
  return lengths > 0 && one[0] * other[0] + one[1] * other[1] < BENT * lengths;
}

export function nesterov(facts) {
  const { modes, rule, settings } = facts;
  if (!modes || !rule || !(settings.nesterov && settings.momentum) || facts.lost) return null;
  const limit = facts.limit(), plain = facts.limit({ nesterov: false });
  const gains = settings.lr > 0 && settings.lr < limit ? findGains(facts) : null;
  const below = limit > 0 && limit < plain && plain < Infinity ? toldApart(limit, plain) : null;
  let said = below ? `Nesterov lowers the limit of the learning rate: ${below[0]} against ${below[1]}.` : '';
  if (gains) {
    said = `Nesterov looks ahead: the swings die ${sayFaster(Math.min(...gains), Math.max(...gains))} with plain momentum.`;
    if (below) said += ` Its limit is lower: ${below[0]} against ${below[1]}.`;
  }
  return said ? finding('nesterov', lower(facts, said), scopeOf(facts)) : null;
}

function sayFaster(low, high) {
  const least = number(low, 2), most = number(high, 2);
  if (low > 1 && least !== '1' && least !== most) return `${least} to ${most}× faster than`;
  if (low > 1 && least === most) return `${most}× faster than`;
  if (low > 1) return `up to ${atMost(high, 2)}× faster than`;
  if (high > 1) return `${most}× faster in one direction and at ${least} of the speed in another than`;
  return `more slowly, at ${least === most ? least : `${least} to ${most}`} of the speed, than`;
}

// how many times faster swings die with nesterov, of all directions that swing without or with it
function findGains(facts) {
  const ours = facts.halfLives(), theirs = facts.halfLives({ nesterov: false });
  const without = facts.periods({ nesterov: false }), withIt = facts.periods();
  const swings = [...ours.keys()].filter((k) => (Number.isFinite(without[k]) || Number.isFinite(withIt[k])) && Number.isFinite(theirs[k]) && Number.isFinite(ours[k]) && (!facts.exact || facts.modes.carrying[k]));
  if (!swings.some((k) => Number.isFinite(without[k])) || !swings.every((k) => ours[k] > 0)) return null;
  const gains = swings.map((k) => theirs[k] / ours[k]);
  return gains.some((each) => Math.abs(each - 1) > ALIKE) ? gains : null;
}

export function dampening(facts) {
  const { settings, modes } = facts, tau = settings.dampening, kept = 1 - tau;
  if (!(tau && settings.momentum) || settings.nesterov) return null;
  if (kept > 0 && facts.lost) return null;
  let does = `scales each new push by ${number(kept)} after the first`;
  if (kept <= 0) does = kept < 0 ? 'turns each new push after the first uphill' : 'takes away every push but the first';
  let said = `Dampening ${number(tau, 6)} ${does}; the velocity still keeps ${number(settings.momentum, 6)} of itself.`;
  if (facts.exact) {
    const here = (values) => values.filter((_, k) => modes.carrying[k]);
    const slow = here(facts.periods()), quick = here(facts.periods({ dampening: 0 }));
    const lives = here(facts.halfLives()), others = here(facts.halfLives({ dampening: 0 }));
    const room = others.map((each) => (Number.isFinite(each) ? 1e-8 + 1e-9 * each : 0));  // none is as near to infinity
    const alike = lives.every((each, k) => each === others[k] || Math.abs(each - others[k]) <= room[k]);
    if ([...slow, ...quick].every(Number.isFinite) && alike && slow.every((each, k) => each > quick[k])) {
      said = `Dampening ${number(tau, 6)} ${does}; the swings are slower (${span(slow)} steps instead of ${span(quick)}) but die no faster.`;
    }
  }
  return finding('dampening', said, 'exact');
}

export function firstStep(facts) {
  const { momentum: mu, dampening: tau, lr, nesterov: ahead } = facts.settings;
  if (!mu || !(lr > 0) || !(ahead || tau) || facts.lost || facts.rests) return null;
  const said = ahead ? `Nesterov's first step is ${number(1 + mu)} times plain SGD's.` : "Dampening does not touch the first step: it is plain SGD's.";
  return finding('first step', said, 'exact');
}

export function effective(facts) {
  const { momentum: mu, dampening: tau, lr } = facts.settings;
  if (!facts.sgd || !(mu > 0 && mu < 1) || !(lr > 0) || facts.lost || facts.rests || !(tau < 1)) return null;
  const value = effectiveLr(facts.settings);
  const said = `Down a steady slope, momentum ${number(mu, 6)} comes to take the steps of a plain lr ${number(value)} (effective lr; lr is ${number(lr, 6)}).`;
  return finding('effective lr', said, 'exact');
}
