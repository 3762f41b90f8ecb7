// A gap that looks small beside a huge first one, while a flat direction of the loss has hardly moved.

import { finding } from './facts.js';
import { number, percent, steps } from './format.js';
import { CLOSED, along, findModes, nameOf } from './quadratic.js';

const NARROW = 1000, STAYED = 0.5, UNSEEN = 0.05, MATTERS = 0.01, AGREES = 0.05, TRUE = 1e-3;

export function unmoved(facts) {
  const shape = shapeOf(facts);
  if (!shape || facts.diverged) return null;
  const { modes, gap, whose } = shape, { directions, curvatures } = modes, { landmark: { place }, minimum, decay, data } = facts;
  const [begin, end] = endsOf(facts), [first, last] = gapsOf(facts);
  const lay = directions.map((d) => errorAlong(d, begin, place)), lie = directions.map((d) => errorAlong(d, end, place));
  const stayed = lie.map((left, k) => modes.awake[k] && Math.abs(left) > STAYED * Math.abs(lay[k]));
  if (!stayed.some(Boolean) || !(last > MATTERS * Math.abs(minimum))) return null;
  const without = (at, errors) => at.map((each, j) => directions.reduce((rest, d, k) => (stayed[k] ? rest - d[j] * errors[k] : rest), each));
  if (first - gap(without(begin, lay)) > UNSEEN * first || gap(without(end, lie)) > last / 2) return null;
  const heights = curvatures.map((c, k) => (stayed[k] ? c * lie[k] ** 2 : -1)), flat = heights.indexOf(Math.max(...heights));
  const [gone, way, what] = wayOf(modes, flat, begin, end, place), others = stayed.filter(Boolean).length - 1, over = last / minimum;
  const above = !(minimum > 0) ? 'above its minimum' : over < 10 ? `${percent(over)} above its minimum` : `${number(1 + over)} times its minimum`;
  const too = others ? `, and ${steps(others)} other direction is no better` : '';
  let said = `The loss${decay ? ' with its weight decay' : ''} is still ${above}: ${what} has gone ${number(gone)} of ${number(way, 6)}${too}, because the loss is too flat there (${whose} ${number(modes.condition)}).`;
  if (data && !decay) said += ' With standardized columns the condition number is 1.';
  return finding('unmoved', said, 'measured');
}

const errorAlong = (d, at, place) => d[0] * (at[0] - place[0]) + d[1] * (at[1] - place[1]);
const endsOf = ({ taken, run: { position: p } }) => [0, 2 * taken].map((k) => [p[k], p[k + 1]]);
const gapsOf = ({ minimised, minimum, taken }) => [minimised[0] - minimum, minimised[taken] - minimum];

// What is known of a narrow loss, by whatever optimizer the run went; it must be so at both of its ends.
function shapeOf(facts) {
  const { landmark, taken } = facts, ends = endsOf(facts), gaps = gapsOf(facts);
  if (!landmark || taken < 1 || ![...ends.flat(), ...gaps].every(Number.isFinite)) return null;
  const holds = ({ gap, within }) => ends.every((at, k) => Math.abs(gaps[k] - gap(at)) <= within * Math.abs(gaps[k]));
  return [bowlOf, overColumns].map((make) => make(facts, ends[0])).find((shape) => shape?.modes?.condition >= NARROW && holds(shape)) ?? null;
}

// the loss as its Hessian at the minimum says
function bowlOf({ landmark: { hessian, place, flat }, kinked, labels, eps }, begin) {
  const modes = kinked ? null : findModes(hessian, begin, place, labels, eps, flat);
  const gap = (at) => modes.directions.reduce((sum, d, k) => sum + modes.curvatures[k] * errorAlong(d, at, place) ** 2, 0) / 2;
  return { modes, gap, whose: 'condition number', within: AGREES };
}

const huber = (off, delta) => (Math.abs(off) < delta ? off ** 2 / 2 : delta * (Math.abs(off) - delta / 2));
const CRITERIA = { L1Loss: Math.abs, HuberLoss: huber, SmoothL1Loss: (off, beta) => huber(off, beta) / beta };

// the loss as one of these criteria of a line over the data
function overColumns({ criterion, data, turn, decay, landmark: { place, minimum }, labels, eps }, begin) {
  const lost = CRITERIA[criterion];
  if (!lost || !data || decay) return null;
  const { inputs, targets } = data, mean = (of) => inputs.reduce((sum, x, i) => sum + of(x, i), 0) / inputs.length;
  const modes = findModes([mean((x) => x * x), mean((x) => x), 1], begin, place, labels, eps, CLOSED);
  return { modes, gap: ([w, b]) => mean((x, i) => lost(x * w + b - targets[i], turn)) - minimum, whose: 'condition number of the columns', within: TRUE };
}

// how far it went along a direction, how far it had to, and the direction's name
function wayOf(modes, k, begin, end, place) {
  const name = modes.labels.indexOf(nameOf(modes, k)), d = name < 0 ? modes.directions[k] : [Number(name === 0), Number(name === 1)];
  return [Math.abs(errorAlong(d, end, begin)), Math.abs(errorAlong(d, place, begin)), name < 0 ? along(modes, k) || 'a flat direction' : modes.labels[name]];
}
