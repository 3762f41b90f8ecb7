// Weight decay against the data, and slopes that stay bounded.

import { finding } from './facts.js';
import { atMost, number, percent, place, steps, times, toldApart } from './format.js';
import { nameOf } from './optimizers.js';

const HARDLY = 0.01, NOTHING = 1e-12, TELLING = 1000, STRAIGHT = 1.5;

export function goal(facts) {
  const { landmark, own, decay, labels, minimum, run } = facts;
  if (!decay || !landmark || facts.lost) return null;
  const size = Math.max(Math.abs(run.position[0]), Math.abs(run.position[1]), 1e-30);
  const spot = landmark.place.map((each) => (Math.abs(each) > NOTHING * size ? each : 0));
  if (!spot.some(Boolean)) return null;  // it does not pull there: the goal is where the loss itself has a minimum
  const loss = minimum - (decay / 2) * (spot[0] ** 2 + spot[1] ** 2);
  let hardly = '', there = `it is ${place(labels, spot)}, where the data loss is ${number(loss)}`;
  if (own) {
    const moved = Math.hypot(own.place[0] - spot[0], own.place[1] - spot[1]), far = Math.hypot(...own.place);
    if (moved <= 1e-6 * Math.max(far, NOTHING * size)) return null;
    if (moved < HARDLY * far) hardly = 'hardly ';
    there += `, not the data's own minimum ${place(labels, own.place)} with ${number(own.minimum)}`;
  }
  let said = `Weight decay ${hardly}moves the goal: ${there}`;
  if (labels.includes('bias')) said += '; the bias is decayed too';
  const certain = facts.exact || landmark.certain;
  if (!certain) said = `Locally, as far as a search from nearby shows: ${said[0].toLowerCase()}${said.slice(1)}`;
  return finding('goal', `${said}.`, certain ? 'exact' : 'local');
}

// weight decay that is no part of what is minimised
export function apart(facts) {
  const { settings, landmark, run } = facts, { weight_decay: decay } = settings;
  if (!decay || nameOf(settings) !== 'AdamW') return null;
  let said = 'AdamW shrinks the parameters apart from the gradient (decoupled weight decay): ';
  said += landmark ? 'the gap is that of the loss alone' : 'it is not counted with the loss';
  const size = Math.max(Math.abs(run.position[0]), Math.abs(run.position[1]));
  if (landmark && Math.hypot(...landmark.place) > NOTHING * size) said += ', and its minimum is no place of rest';
  return finding('decoupled', `${said}.`, 'exact');
}

export function pull(facts) {
  const { decay, run, landmark, eps } = facts, slopes = decay && !facts.lost ? facts.slopes : null;
  if (!slopes || !slopes.length) return null;
  const mine = decay * Math.hypot(run.position[0], run.position[1]), data = Math.hypot(slopes[0], slopes[1]);
  if (!(Number.isFinite(data) && mine > 0)) return null;
  const steep = landmark ? Math.max(...landmark.hessian.map(Math.abs)) * Math.hypot(run.position[0], run.position[1]) : 0;
  if (data <= TELLING * eps * (mine + steep)) {  // a ratio to rounding is none
    return finding('pull', "At the start decay alone pulls: the data's own pull is zero there, within rounding.", 'measured');
  }
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
  const texts = toldApart(lowest, now);
  if (texts === null) return null;
  const then = `${texts[0]} at step ${steps(best)}, now ${texts[1]}`;
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
  let said = `On its way the slope never exceeds ${atMost(steepest, 2)}`;
  if (settings.momentum) said += `, and its longest step was ${number(most(facts.updates), 2)}`;
  else said += `, so it walks at most ${atMost(settings.lr * steepest, 2)} a step`;
  return finding('bounded slope', `${said}.`, 'measured');
}
