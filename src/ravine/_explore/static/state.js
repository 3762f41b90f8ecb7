// What a person has chosen: settings, start, step, panel, pin, points; all of it as a link's fragment and back.

import { NUMBERS, OPTIMIZERS, SWITCHES, USUAL, isSgd, nameOf, settingsOf, usualOf } from './optimizers.js';
import { findStray, makePanels } from './problem.js';
import { eigen } from './quadratic.js';
import { stabilityLimit } from './theory.js';

export const MOST_STEPS = 10000, MOST_POINTS = 10000;
const THEMES = ['light', 'dark'];

export function initialState(card, settings = {}) {
  return {
    problem: card.name,
    points: null,
    ...USUAL, lr: card.lr ?? 0.1,
    delta: turnOf(card, 'HuberLoss'), beta: turnOf(card, 'SmoothL1Loss'), condition: card.condition ?? null,
    start: [...card.start], steps: 100, step: null, panel: 0, pin: null, theme: null,
    ...settings,
  };
}

const turnOf = (card, criterion) => card.criteria?.find((each) => each.criterion === criterion)?.turn ?? null;

export const stepOf = (state) => Math.min(state.step ?? state.steps, state.steps);

// How each numeric setting can be turned: the slider's ends, whether its ratios are equal, and its grain.
export function rangesOf(card, state) {
  const lr = isSgd(state) && card.lr > 0 ? card.lr : 0.1;  // the others' steps are as long as lr, however steep the loss is
  return {
    lr: { low: lr / 100, high: lr * 50, log: true },
    beta1: { low: 0, high: 0.99, step: 0.01 },
    beta2: { low: 0, high: 0.999, step: 0.001 },
    alpha: { low: 0, high: 0.999, step: 0.001 },
    lr_decay: { low: 0, high: 1, step: 0.01 },
    initial_accumulator_value: { low: 0, high: 10, step: 0.1 },
    eps: { low: 1e-12, high: 10, log: true },
    momentum: { low: 0, high: 0.99, step: 0.01 },
    dampening: { low: 0, high: 1, step: 0.01 },
    weight_decay: { low: 0, high: 4, step: 0.05 },
    delta: { low: 0.05, high: 10, log: true },
    beta: { low: 0.05, high: 10, log: true },
    condition: { low: 1, high: 1000, log: true },
    steps: { low: 1, high: MOST_STEPS, log: true, whole: true },
  };
}

// ---- the link ----------------------------------------------------------------------------------------------------------

// What differs from the problem's beginning, as the fragment of an address.
export function writeLink(state, card) {
  const begin = initialState(card), parts = new URLSearchParams();
  if (state.points) parts.set('points', state.points.inputs.map((x, k) => `${x},${state.points.targets[k]}`).join(';'));
  else parts.set('problem', state.problem);
  if (!isSgd(state)) parts.set('optimizer', state.optimizer);
  for (const name of [...NUMBERS, 'delta', 'beta', 'condition']) if (state[name] !== null && state[name] !== begin[name]) parts.set(name, state[name]);
  for (const name of SWITCHES) if (state[name]) parts.set(name, 1);
  if (state.start.some((each, k) => each !== begin.start[k])) parts.set('start', state.start.join(','));
  if (state.steps !== begin.steps) parts.set('steps', state.steps);
  if (state.step !== null && state.step < state.steps) parts.set('step', state.step);
  if (state.panel) parts.set('panel', state.panel);
  if (state.pin) parts.set('pin', pinText(state.pin));
  if (state.theme) parts.set('theme', state.theme);
  return parts.toString().replaceAll('%2C', ',').replaceAll('%3B', ';').replaceAll('%3A', ':');
}

const pinText = (pin) => [...(isSgd(pin) ? [] : [`optimizer:${pin.optimizer}`]), ...[...NUMBERS, ...SWITCHES].filter((name) => name in pin && pin[name] !== usualOf(nameOf(pin))[name]).map((name) => `${name}:${Number(pin[name])}`)].concat(`start:${pin.start.join(':')}`).join(',');

// Reads a fragment; what is unknown or impossible is left out, and told.
export function readLink(fragment, cards, own) {
  const parts = new URLSearchParams(fragment.replace(/^#/, '')), left = [];
  const drop = (name) => left.push(`${name}=${shorten(parts.get(name))}`);
  let card = cards[own], points = null;
  if (parts.has('problem')) {
    if (Object.hasOwn(cards, parts.get('problem'))) card = cards[parts.get('problem')];
    else drop('problem');
  }
  if (parts.has('points')) {
    points = readPoints(parts.get('points').replaceAll(';', '\n'), cards.article).points;
    if (points) card = makePointsCard(cards.article, points);
    else drop('points');
  }
  const state = { ...initialState(card), points, problem: card.name };
  for (const name of parts.keys()) {
    if (name === 'problem' || name === 'points' || name === 'token') continue;
    const value = readOne(name, parts.get(name), state, card);
    if (value === undefined) drop(name);
    else state[name] = value;
  }
  if (state.step !== null && state.step >= state.steps) state.step = null;
  return { state, card, left };
}

const shorten = (text) => (text.length > 24 ? `${text.slice(0, 24)}…` : text);
export const finite = (text) => (text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined);
const whole = (text, low, high) => (/^\d+$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined);

function readOne(name, text, state, card) {
  if (NUMBERS.includes(name)) return finite(text);
  if (name === 'optimizer') return Object.hasOwn(OPTIMIZERS, text) ? text : undefined;
  if (['delta', 'beta', 'condition'].includes(name)) {
    const value = state[name] === null ? undefined : finite(text);
    return value >= (name === 'condition' ? 1 : Number.MIN_VALUE) ? value : undefined;
  }
  if (SWITCHES.includes(name)) return ['0', '1'].includes(text) ? text === '1' : undefined;
  if (name === 'start') return readPair(text.split(','));
  if (name === 'steps') return whole(text, 1, MOST_STEPS);
  if (name === 'step') return whole(text, 0, MOST_STEPS);
  if (name === 'panel') return whole(text, 0, (card.criteria ?? card.panels ?? [0]).length - 1);
  if (name === 'theme') return THEMES.includes(text) ? text : undefined;
  return name === 'pin' ? readPin(text) : undefined;
}

function readPair(texts) {
  const pair = texts.map(finite);
  return pair.length === 2 && !pair.includes(undefined) ? pair : undefined;
}

function readPin(text) {
  const pin = { ...USUAL, lr: 0, start: null };
  for (const part of text.split(',')) {
    const [name, ...values] = part.split(':');
    if (name === 'start') pin.start = readPair(values);
    else if (name === 'optimizer' && Object.hasOwn(OPTIMIZERS, values[0] ?? '')) pin.optimizer = values[0];
    else if (NUMBERS.includes(name) && finite(values[0] ?? '') !== undefined) pin[name] = Number(values[0]);
    else if (SWITCHES.includes(name) && values[0] === '1') pin[name] = true;
    else return undefined;
  }
  return pin.start ? { ...settingsOf(pin), start: pin.start } : undefined;
}

// ---- one's own points --------------------------------------------------------------------------------------------------

// Two numbers a line, with a comma, a semicolon, a tab or blanks between; a first line of words is taken as a heading.
export function readPoints(text, article) {
  const inputs = [], targets = [], lines = unpointed(text).split(/\r?\n/);
  for (const [k, line] of lines.entries()) {
    if (!line.trim()) continue;
    const words = line.trim().split(/\s*[,;\t]\s*|\s+/), where = `line ${k + 1}`;
    if (!inputs.length && k === 0 && words.every((word) => finite(word) === undefined)) continue;
    if (words.length !== 2) return { fault: `${where} has ${words.length} value${words.length === 1 ? '' : 's'}, expected two: “${shorten(line)}”` };
    const bad = words.find((word) => finite(word) === undefined);
    if (bad !== undefined) return { fault: `${where}: “${shorten(bad)}” is no finite number` };
    if (inputs.length === MOST_POINTS) return { fault: `more than ${MOST_POINTS.toLocaleString('en')} points: the page computes up to that many` };
    inputs.push(Number(words[0]));
    targets.push(Number(words[1]));
  }
  if (new Set(inputs).size < 2) return { fault: 'a line needs points at two different places at least' };
  const points = { inputs, targets }, lost = findStray(makePanels(article, {}, points), [0, 0]);
  return lost ? { fault: `the loss at weight 0, bias 0 is ${lost}: take smaller numbers` } : { points };
}

// Points for commas within numbers, where each line has two of them with a semicolon, a tab or blanks between.
function unpointed(text) {
  const number = String.raw`\s*[-+]?\d+(?:,\d+)?(?:[eE][-+]?\d+)?\s*`, pair = new RegExp(`^${number}(?:[;\t]|\\s)${number}$`);
  const lines = text.split(/\r?\n/).filter((line, k) => line.trim() && (k || /\d,\d/.test(line)));  // the first may be a heading
  const sure = /\d,(?!\d{3}(?!\d))\d/.test(text);  // 1,234 may be a thousand and some
  return sure && lines.every((line) => pair.test(line)) ? text.replaceAll(/(\d),(\d)/g, '$1.$2') : text;
}

// The problem of the article on other points, from (0, 0), with an lr that they bear.
export function makePointsCard(article, { inputs }) {
  return { ...article, name: 'your points', ranges: {}, start: [0, 0], inputs: [], targets: [], names: ['x', 'y'], lr: goodLr(inputs) };
}

// 0.1, or where mean squares diverge by it a fifth of their limit: as Python chooses it for a table.
function goodLr(inputs) {
  const mean = (of) => inputs.reduce((sum, x) => sum + of(x), 0) / inputs.length, [low, high] = eigen([2 * mean((x) => x * x), 2 * mean((x) => x), 2]).values;
  const limit = stabilityLimit([low, high], { ...USUAL, lr: 0 });
  return limit > 0.15 ? 0.1 : Number((limit / 5).toPrecision(1));
}

// ---- what people try ---------------------------------------------------------------------------------------------------

const OFF = { optimizer: 'SGD', momentum: 0, dampening: 0, weight_decay: 0, nesterov: false, maximize: false };

// Named by their effect where that is so: on the article's points. Elsewhere by what is set.
export function presetsOf(card) {
  const lr = card.lr ?? 0.1, effects = card.name === 'article';
  const name = (effect, setting) => (effects ? effect : setting);
  const presets = {
    plain: { ...OFF, lr },
    [name('momentum orbits', 'momentum 0.9')]: { ...OFF, lr, momentum: 0.9 },
    [name('Nesterov brakes', 'Nesterov 0.9')]: { ...OFF, lr, momentum: 0.9, nesterov: true },
    [name('decay moves the goal', 'decay 2')]: { ...OFF, lr, momentum: 0.9, nesterov: true, weight_decay: 2 },
    [name('dampening slows', 'dampening 0.8')]: { ...OFF, lr, momentum: 0.9, dampening: 0.8 },
  };
  if (effects) presets['Nesterov breaks it'] = { ...OFF, lr: 0.8, momentum: 0.9, nesterov: true };
  return presets;
}

// Random settings that torch takes, and a start within the map.
export function surprise(card, view, random = Math.random) {
  const digits = (value, count) => Number(value.toPrecision(count)), nesterov = random() < 0.4, lr = card.lr ?? 0.1;
  return {
    ...OFF,
    lr: digits(lr * 10 ** (random() * 1.4 - 0.7), 2),
    momentum: digits(0.3 + random() * 0.68, 2),
    nesterov,
    dampening: !nesterov && random() < 0.3 ? digits(random() * 0.9, 1) : 0,
    weight_decay: random() < 0.3 ? digits(random() * 2, 1) : 0,
    start: [digits(view.y0 + random() * (view.y1 - view.y0), 3), digits(view.x0 + random() * (view.x1 - view.x0), 3)],
  };
}
