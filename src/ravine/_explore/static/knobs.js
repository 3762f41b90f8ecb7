// The settings: each a slider and a number, with its limit and its best value on the track.

import { element, setAttribute, setProperty, setStyle, setText } from './dom.js';
import { number, place as placeText } from './format.js';
import { followArrows } from './hands.js';
import { NUMBERS as SETTINGS, OPTIMIZERS, SWITCHES, has, nameOf, usualOf } from './optimizers.js';
import { finite } from './state.js';
import { bestLr, bestMomentum, rate } from './theory.js';
import { callOf, typed } from './verdict.js';

const GRAIN = 1000;
const NUMBERS = [...SETTINGS, 'delta', 'beta', 'condition', 'steps'];

export class Knobs {
  constructor(app) {
    this.app = app;
    this.rows = Object.fromEntries(NUMBERS.map((name) => [name, this.makeRow(name)]));
    this.switches = Object.fromEntries(SWITCHES.map((name) => [name, element('input', { type: 'checkbox', role: 'switch', onchange: (event) => app.change({ [name]: event.target.checked }) })]));
    this.boxes = SWITCHES.map((name) => element('label', { className: 'switch' }, this.switches[name], name));
    this.optimizer = element('select', { 'aria-label': 'optimizer', onchange: () => app.change({ optimizer: this.optimizer.value }) }, ...Object.keys(OPTIMIZERS).map((name) => element('option', { value: name }, `torch.optim.${name}`)));
    this.refusal = element('p', { className: 'refusal', role: 'alert', hidden: true });
    const rows = (names) => names.map((name) => this.rows[name].box);
    this.box = element('section', { className: 'knobs', 'aria-label': 'settings' },
      this.optimizer, ...rows(SETTINGS), element('div', { className: 'switches' }, ...this.boxes), this.refusal,
      ...rows(NUMBERS.slice(SETTINGS.length)), this.makeStart());
  }

  makeRow(name) {
    const { app } = this, id = `${app.id}-${name}`;
    const slider = element('input', { type: 'range', id, min: 0, max: GRAIN, step: 1 });
    const field = element('input', { className: 'value', inputMode: 'decimal', autocomplete: 'off', spellcheck: false, 'aria-label': `${name}, as a number` });
    const fill = element('i', {}), over = element('em', {}), limit = element('span', { className: 'limit', hidden: true }), star = element('span', { className: 'star', hidden: true, 'aria-hidden': 'true' }, '★');
    const left = element('b', {}), right = element('span', {});
    const set = (value, options) => app.change({ [name]: value }, options);
    slider.addEventListener('input', () => set(this.fromSlider(name, Number(slider.value)), { moving: true }));
    slider.addEventListener('change', () => app.settle());
    followArrows(slider, ([across, up], many) => set(this.stepped(name, (across + up) * many)));
    field.addEventListener('change', () => this.take(name, field));
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.take(name, field);
    });
    const box = element('div', { className: 'knob' },
      element('div', { className: 'row' }, element('label', { htmlFor: id }, name), field),
      element('div', { className: 'track' }, element('div', { className: 'rail' }, fill, over), slider, limit, star),
      element('div', { className: 'hints' }, left, right));
    return { box, slider, field, fill, over, limit, star, left, right };
  }

  makeStart() {
    const { app } = this;
    this.start = [0, 1].map((k) => {
      const field = element('input', { className: 'value', inputMode: 'decimal', autocomplete: 'off' });
      field.addEventListener('change', () => {
        const value = finite(field.value.replace('−', '-'));
        if (value !== undefined) app.change({ start: app.state.start.with(k, value) });
        else {
          app.say(`the start must be a finite number, got ${quoted(field.value)}`);
          field.value = String(app.state.start[k]);
        }
      });
      return field;
    });
    this.names = [0, 1].map(() => element('span', {}));
    return element('div', { className: 'start' }, element('span', {}, 'start'), ...[0, 1].map((k) => element('label', {}, this.names[k], this.start[k])));
  }

  // a typed number; what is none is said, and the old one stays
  take(name, field) {
    const value = finite(field.value.replace('−', '-')), { whole } = this.app.knobs[name];
    const least = { delta: 0, beta: 0 }[name];
    let fault = '';
    if (value === undefined) fault = `${name} must be a finite number, got ${quoted(field.value)}`;
    else if (whole && !(Number.isInteger(value) && value >= 1 && value <= 10000)) fault = `steps must be a whole number from 1 to 10,000, got “${field.value}”`;
    else if (least !== undefined && !(value > 0)) fault = `${name} must be above 0, got “${field.value}”`;
    else if (name === 'condition' && value < 1) fault = `condition must be at least 1, got “${field.value}”`;
    if (fault) {
      this.app.say(fault);
      field.value = typed(this.valueOf(name));
    } else this.app.change({ [name]: value });
  }

  // as chosen, else the optimizer's own default
  valueOf(name) {
    return this.app.state[name] ?? usualOf(nameOf(this.app.state))[name] ?? null;
  }

  toSlider(name, value) {
    const { low, high, log } = this.app.knobs[name], share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return Math.max(0, Math.min(1, value > 0 || !log ? share : 0));
  }

  fromSlider(name, place) {
    const { low, high, log, step, whole } = this.app.knobs[name], share = place / GRAIN;
    if (log) {
      const value = low * (high / low) ** share;
      return whole ? Math.max(1, Number(value.toPrecision(value < 100 ? 2 : 3)) | 0) : Number(value.toPrecision(3));
    }
    return Number((Math.round((low + (high - low) * share) / step) * step).toPrecision(6));
  }

  stepped(name, count) {
    const { low, high, log, step, whole } = this.app.knobs[name], value = this.valueOf(name);
    if (whole) return Math.max(low, Math.min(high, value + count));
    const moved = log ? Number((value > 0 ? value * 1.02 ** count : low).toPrecision(3)) : Number((value + step * count).toPrecision(6));
    return log ? Math.max(moved, 1e-12) : Math.max(low, Math.min(Math.max(high, value), moved));
  }

  render() {
    const { app } = this, { state } = app;
    for (const [name, row] of Object.entries(this.rows)) {
      const value = this.valueOf(name);
      setProperty(row.box, 'hidden', value === null || (SETTINGS.includes(name) && !has(state, name)));
      if (row.box.hidden) continue;
      const share = this.toSlider(name, value), text = typed(value);
      setProperty(row.slider, 'value', String(Math.round(share * GRAIN)));
      setAttribute(row.slider, 'aria-valuetext', `${name} ${text}`);
      setStyle(row.fill, 'transform', `scaleX(${share})`);
      if (!isHeld(row.field)) setProperty(row.field, 'value', text);
    }
    setProperty(this.optimizer, 'value', state.optimizer);
    SWITCHES.forEach((name, k) => {
      setProperty(this.switches[name], 'checked', state[name]);
      setProperty(this.boxes[k], 'hidden', !has(state, name));
    });
    this.start.forEach((field, k) => {
      if (!isHeld(field)) setProperty(field, 'value', String(state.start[k]));
      setAttribute(field, 'aria-label', `start, ${app.card.labels[k]}`);
      setText(this.names[k], app.card.labels[k]);
    });
    const why = app.refused ? `torch refuses this: ${app.refused}` : app.strayed;
    setText(this.refusal, why && `${why}. The pictures show ${callOf(app.lastSettings)}${app.strayed && ` from ${placeText(app.card.labels, app.lastStart)}`}.`);
    setProperty(this.refusal, 'hidden', !why);
    this.renderLimits();
  }

  renderLimits() {
    const { app } = this, { facts } = app.shown[app.state.panel], { lr, momentum, steps } = this.rows, modes = facts.modes;
    const limit = modes && facts.rule ? facts.limit() : NaN, local = facts.everywhere ? '' : ', local';
    const settings = facts.settings, bare = { ...settings, weight_decay: 0 };
    const place = (node, name, value) => {
      const { low, high } = app.knobs[name];
      setProperty(node, 'hidden', !(value >= low && value <= high));  // at an end of the track it would be where it is not
      if (!node.hidden) setStyle(node, '--share', String(this.toSlider(name, value)));
    };
    const reached = Number.isFinite(limit) && limit > 0;
    place(lr.limit, 'lr', reached ? limit : NaN);
    setStyle(lr.over, '--share', String(reached ? this.toSlider('lr', limit) : limit === 0 ? 0 : 1));
    let said = reached ? `limit ${number(limit)}${local}` : limit === 0 ? 'no small lr converges' : '';
    if (facts.kinked && facts.rule) said = 'no limit: its slope does not grow';
    setText(lr.left, said);
    const best = modes && facts.rule ? findBetterLr(modes.curvatures, bare) : NaN;
    const apart = Number.isFinite(best) && number(best) !== number(limit);  // in a narrow valley they are hardly apart
    place(lr.star, 'lr', apart ? best : NaN);
    setText(lr.right, apart ? `best ${number(best)}${reached ? '' : local}` : '');  // else said beside it
    const pace = modes && facts.rule && settings.lr > 0 && settings.dampening < 1 ? bestMomentum(modes.curvatures, bare).momentum : NaN;
    place(momentum.star, 'momentum', pace);
    const { high } = app.knobs.momentum, named = pace > high ? `above ${high}` : number(pace, 2);
    setText(momentum.right, Number.isFinite(pace) ? `best at this lr ${named}${local}` : '');
    const arrived = facts.minimum !== null && facts.arrival.outcome === 'arrived' ? facts.arrival.step : NaN;
    setText(steps.right, Number.isFinite(arrived) ? `arrives at ${arrived.toLocaleString('en')}` : '');
  }
}

// The best lr, where it is better than this one: under momentum many may be equally good.
function findBetterLr(curvatures, settings) {
  const lr = bestLr(curvatures, settings), slowest = (at) => Math.max(...curvatures.map((c) => rate(c, { ...settings, lr: at })));
  return slowest(lr) < slowest(settings.lr) - 1e-6 ? lr : NaN;
}

// what was typed, with a word on what many type
const quoted = (text) => `“${text}”${/\d,\d/.test(text) ? ': the decimal sign is a point' : ''}`;

// whether somebody is typing into it
const isHeld = (field) => field.getRootNode().activeElement === field;
