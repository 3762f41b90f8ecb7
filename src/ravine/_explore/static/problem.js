// A card describes a problem; here it becomes panels, each with what is evaluated, where it is lowest, and its runs.

import { makeKind } from './arithmetic.js';
import { makeFacts } from './facts.js';
import { makeFunction } from './gallery.js';
import { findNeuronMinimum, findStatedMinimum } from './minimum.js';
import { makeNeuron } from './neuron.js';
import { coupledDecay, pythonFloat } from './optimizers.js';
import { descend } from './sgd.js';

const REMEMBERED = 200;
export const TURN_NAMES = { HuberLoss: 'delta', SmoothL1Loss: 'beta' };

// `turned` may hold delta, beta and condition in place of the card's own; `points` {inputs, targets} its data.
export function makePanels(card, turned = {}, points = null) {
  const kind = makeKind(card.dtype, card.order), single = makeKind('float32', card.order);
  if (card.family === 'gallery') return [makeGalleryPanel(card, kind, turned.condition ?? card.condition)];
  if (card.family !== 'neuron') return [];
  const data = points ?? { inputs: card.inputs, targets: card.targets };
  const rounded = { inputs: [...kind.Numbers.from(data.inputs)], targets: [...kind.Numbers.from(data.targets)] };
  return card.criteria.map(({ label, criterion, turn }) => {
    const name = TURN_NAMES[criterion], at = turned[name] ?? turn;
    return makeNeuronPanel(card, kind, single, rounded, label, criterion, at);
  });
}

// The loss at a start from which no run begins, as Python spells it; '' where it is finite.
export function findStray(panels, start) {
  const lost = panels.map(({ kind, evaluate }) => evaluate(kind.round(start[0]), kind.round(start[1]), false).loss).find((loss) => !Number.isFinite(loss));
  return lost === undefined ? '' : pythonFloat(lost);
}

function makeNeuronPanel(card, kind, single, data, label, criterion, turn) {
  const { inputs, targets } = data;
  return makePanel({
    card, kind, label, criterion, turn, data,
    evaluate: makeNeuron(kind, inputs, targets, criterion, turn),
    draw: makeNeuron(single, inputs, targets, criterion, turn),  // maps need no more digits than that
    find: (decay) => findNeuronMinimum(inputs, targets, criterion, turn, decay),
    byEnd: false,
  });
}

function makeGalleryPanel(card, kind, condition) {
  const name = card.function, evaluate = makeFunction(kind, name, condition);
  return makePanel({
    card, kind, label: card.name, criterion: '', turn: condition, data: null, evaluate, draw: evaluate,
    find: (decay, end) => findStatedMinimum(name, condition, card.minimizers, end, decay),
    byEnd: card.minimizers.length > 1,
  });
}

function makePanel({ card, kind, label, criterion, turn, data, evaluate, draw, find, byEnd }) {
  const found = new Map();
  const landmark = (decay, end) => {
    const key = byEnd ? `${decay} ${end}` : `${decay}`;
    if (!found.has(key)) {
      if (found.size > REMEMBERED) found.clear();
      found.set(key, find(decay, end));
    }
    return found.get(key);
  };
  const read = (run, settings) => {
    const end = lastFinite(run.position), decay = settings.maximize ? 0 : coupledDecay(settings);
    return makeFacts({
      run, kind, settings, labels: card.labels, criterion, turn, data,
      landmark: landmark(decay, end),
      own: decay ? landmark(0, end) : null,
      slopeAt: (_, [p, q]) => [...evaluate(p, q, true).gradient],
    });
  };
  return {
    label, criterion, turn, kind, data, evaluate, draw, landmark, read,
    descend: (start, settings, steps, out) => read(descend(kind, evaluate, start, settings, steps, out), settings),
  };
}

function lastFinite(position) {
  for (let k = position.length - 2; k >= 0; k -= 2) {
    if (Number.isFinite(position[k]) && Number.isFinite(position[k + 1])) return [position[k], position[k + 1]];
  }
  return [0, 0];
}
