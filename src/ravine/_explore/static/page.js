// The page: holds what was chosen, has the runs made, and lets every view follow.

import { Curves } from './curves.js';
import { Actions } from './actions.js';
import { element, setAttribute, setText } from './dom.js';
import { Fit } from './fit.js';
import { frameOf, widen } from './frame.js';
import { Header } from './header.js';
import { Knobs } from './knobs.js';
import { Panel } from './panels.js';
import { Phase } from './phase.js';
import { NUMBERS, SWITCHES, USUAL, findRefusal, settingsOf } from './optimizers.js';
import { OwnRuns, PythonRuns } from './runs.js';
import { initialState, rangesOf, readLink, writeLink } from './state.js';
import { StepBar } from './stepbar.js';
import { headlineOf } from './verdict.js';
import { Words } from './words_list.js';

const RUN_KEYS = ['optimizer', ...NUMBERS, ...SWITCHES, 'start', 'steps'];
const SHAPE_KEYS = ['delta', 'beta', 'condition', 'points'];
const REST = 180;

export class App extends Actions {
  // `given` {cards, own, proofs, settings}; `host` {address: whether the address holds the state, ask}
  constructor(root, given, host) {
    super();
    Object.assign(this, { root, host, cards: given.cards, own: given.own, proofs: given.proofs, begun: given.settings ?? {}, link: given.link ?? '' });
    this.id = `ravine-${Math.random().toString(36).slice(2, 8)}`;
    Object.assign(this, { version: 0, moving: false, editing: false, refused: '', strayed: '', headline: '', past: [], shown: [], wanted: true });
    this.header = new Header(this);
    this.knobs_ = new Knobs(this);
    this.curves = new Curves(this);
    this.fit = new Fit(this);
    this.phase = new Phase(this);
    this.words = new Words(this);
    this.bar = new StepBar(this);
    this.message = element('p', { className: 'message', role: 'status' });
    this.tabs = element('nav', { className: 'tabs', 'aria-label': 'panels' });
    this.maps = element('main', { className: 'maps' });
    this.proof = element('p', { className: 'proof' });
    const side = element('aside', { className: 'settings' }, this.knobs_.box, this.proof);
    const right = element('div', { className: 'charts' }, this.curves.box, this.fit.box, this.words.box);
    root.classList.add('ravine');
    root.replaceChildren(element('div', { className: 'page' }, this.header.box, this.header.headline, this.message, this.tabs, side, this.maps, right, this.bar.box, this.header.live));
    this.restore(this.address());
    this.followKeys();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.dress());
    if (host.address) addEventListener('popstate', () => this.restore(this.address()));
    this.prove();
  }

  // from where the runs that are seen begin, or will once they come
  get start() {
    return this.strayed ? this.lastStart : this.state.start;
  }

  // ---- what is shown -----------------------------------------------------------------------------------------------------

  // where the page is told to begin: in its address, else in what it was given
  address() {
    return this.host.address && location.hash.length > 1 ? location.hash : this.link;
  }

  restore(fragment) {
    const { state, card, left } = readLink(fragment, this.cards, this.own);
    this.take(card, fragment.length > 1 ? state : { ...state, ...this.begun });
    if (left.length) this.say(`The link held what does not fit here, and it was left out: ${left.join(', ')}`);
    this.marked = writeLink(this.state, this.card);
  }

  take(card, state) {
    this.card = card;
    this.state = state;
    this.knobs = rangesOf(card, state);
    this.swap = card.axes[0] === card.labels[1];
    this.ranges = null;
    this.makeRuns();
    this.panelViews = this.runs.panels.map((panel, k) => new Panel(this, k, panel.label));
    this.maps.replaceChildren(...this.panelViews.map((view) => view.box), this.phase.box);
    this.tabs.replaceChildren(...this.runs.panels.map((panel, k) => element('button', { type: 'button', onclick: () => this.change({ panel: k }) }, element('span', { className: `dot c${k}` }), shortOf(panel.label))));
    this.tabs.hidden = this.runs.panels.length < 2;
    this.maps.dataset.panels = String(this.runs.panels.length);
    this.shown = [];
    this.header.build();
    if (this.proven) this.sayProven();
    this.dress();
    this.dirty = true;
    this.paint();
    this.settle();
  }

  makeRuns() {
    this.version++;
    this.runs = this.card.family === 'python' ? new PythonRuns(this.card, this.host, () => this.repaintGround()) : new OwnRuns(this.card, this.state);
  }

  repaintGround() {
    this.version++;
    this.paint();
  }

  open(name) {
    const card = this.cards[name];
    if (card) this.take(card, { ...initialState(card), theme: this.state.theme });
  }

  change(patch, { moving = false, quiet = false } = {}) {
    const before = this.state;
    this.state = { ...before, ...patch };
    if (this.state.step !== null && this.state.step >= this.state.steps) this.state.step = null;
    const changed = (name) => name in patch && this.state[name] !== before[name];
    this.editing = SHAPE_KEYS.some(changed);
    if (this.editing) this.makeRuns();
    if (this.editing || RUN_KEYS.some(changed)) this.dirty = true;
    if (changed('optimizer')) {
      this.knobs = rangesOf(this.card, this.state);
      this.sayProven();
    }
    if ('theme' in patch) this.dress();
    setText(this.message, '');
    this.moving = moving;
    this.paint();
    clearTimeout(this.calm);
    if (moving) this.calm = setTimeout(() => this.settle(), REST);
    else if (!quiet) this.settle();
  }

  // The hand rests: sharpen, fold, announce, and write the address.
  settle() {
    clearTimeout(this.calm);
    this.moving = this.editing = this.stale = false;
    this.resting = true;
    this.paint();
  }

  paint() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.frame();
    });
  }

  frame() {
    if (this.dirty) this.compute();
    if (!this.shown.length) return;
    if (this.resting) this.fold();
    if (!this.moving && !this.card.ranges[this.card.axes[0]]) this.ranges = widen(this.ranges, this.shown, this.start, this.swap);
    this.renderAll();
    if (this.resting) {
      this.resting = false;
      for (const view of [...this.visible().map((one) => one.panelView), this.header, this.curves, this.fit, this.phase]) view.say();
      this.mark();
    }
  }

  compute() {
    this.dirty = false;
    this.refused = findRefusal(settingsOf(this.state));
    this.strayed = this.runs.strayed(this.state.start);
    if ((this.refused || this.strayed) && this.shown.length) return;
    const { lr, start } = initialState(this.card);
    const state = { ...this.state, ...(this.refused && { ...USUAL, lr }), ...(this.strayed && { start }) };
    this.runs.compute(state, (all, settings) => this.accept(all, settings, state.start), (gone, refused) => {
      this.refused = refused;
      if (gone) this.say(gone);
      this.paint();
    });
  }

  accept(all, settings, start) {
    Object.assign(this, { lastSettings: settings, lastStart: start });
    this.stale ||= this.moving;
    this.ranges ??= this.card.ranges[this.card.axes[0]] ? { x: this.card.ranges[this.card.axes[0]], y: this.card.ranges[this.card.axes[1]] } : frameOf(all, this.start, this.swap);
    const before = this.shown;
    this.shown = all.map(({ facts, error }, index) => ({
      index, facts, error, color: index, panel: this.runs.panels[index], label: this.runs.panels[index].label, short: shortOf(this.runs.panels[index].label),
      panelView: this.panelViews[index], folded: before[index]?.folded ?? false, into: before[index]?.into, note: before[index]?.note ?? '', pinned: null,
    }));
    // nothing is folded or parted under a hand, but no longer said to be equal
    for (const { folded, into, facts } of this.shown) if (folded && !sameBits(this.shown[into].facts.run, facts.run)) this.shown[into].note = '';
    if (this.runs instanceof PythonRuns) this.paint();
  }

  // Panels that are equal in every bit become one.
  fold() {
    for (const one of this.shown) Object.assign(one, { folded: false, note: '' });
    for (const one of this.shown) for (const other of this.shown.slice(one.index + 1)) {
      if (one.folded || other.folded || !sameBits(one.facts.run, other.facts.run)) continue;
      Object.assign(other, { folded: true, into: one.index });
      one.note = `${one.note ? `${one.note}, ` : '= '}${other.label}, bit for bit`;
      if (this.state.panel === other.index) this.state = { ...this.state, panel: one.index };
    }
  }

  renderAll() {
    const { pin, steps, panel } = this.state, key = JSON.stringify([this.version, pin, steps]);
    if (key !== this.pinKey) {
      this.pinKey = key;
      this.pins = pin && !findRefusal(pin) ? this.runs.pinned(pin, steps) : [];
    }
    for (const one of this.shown) {
      one.pinned = this.pins[one.index] ?? null;
      one.panelView.box.hidden = this.tabs.children[one.index].hidden = one.folded;
      setAttribute(this.tabs.children[one.index], 'aria-pressed', String(one.index === panel));
    }
    this.headline = headlineOf(this.visible().filter((one) => !one.error), this.lastSettings);
    this.root.classList.toggle('refused', Boolean(this.refused || this.strayed));
    // first all that is drawn, then all that is written: a font set on a canvas has the browser bring its styles up to date
    const maps = this.visible().map((one) => one.panelView);
    for (const view of [...maps, this.curves, this.fit, this.phase]) view.render();
    for (const map of maps) map.tell();
    for (const view of [this.header, this.knobs_, this.words, this.bar]) view.render();
  }

  visible() {
    return this.shown.filter((one) => !one.folded);
  }

  points() {
    return this.card.family === 'neuron' ? this.state.points ?? this.card : null;
  }

  gridOf(index, view, draft) {
    return this.runs.gridOf(index, view, this.swap, draft);
  }

  slopeOf(index) {
    return this.runs.slopeOf(index);
  }

  viewOf() {
    const { x, y } = this.ranges;
    return this.swap ? { x0: x[0], x1: x[1], y0: y[0], y1: y[1] } : { x0: y[0], x1: y[1], y0: x[0], y1: x[1] };
  }
}

const shortOf = (label) => label.replace(/Loss$/, '');

function sameBits(one, other) {
  return one.loss.length === other.loss.length && one.loss.every((each, k) => Object.is(each, other.loss[k])) && one.position.every((each, k) => Object.is(each, other.position[k]));
}
