// The top of the page: problem, presets, and what one does with the whole.

import { element, setAttribute, setProperty, setText } from './dom.js';
import { soMany } from './format.js';
import { presetsOf, surprise } from './state.js';
import { callOf } from './verdict.js';

const YOURS = 'your points …';

export class Header {
  constructor(app) {
    this.app = app;
    this.pick = element('select', { 'aria-label': 'problem', onchange: () => this.choose() });
    this.chips = element('div', { className: 'chips', role: 'group', 'aria-label': 'presets' });
    const tool = (text, name, act) => element('button', { type: 'button', 'aria-label': name, title: name, onclick: act }, text);
    this.undo = tool('undo', 'undo', () => app.undo());
    this.reset = tool('reset', 'back to the beginning', () => app.reset());
    this.pin = tool('pin', 'keep this run as a dotted ghost', () => app.togglePin());
    this.link = tool('link', 'copy a link that holds everything', () => app.copyLink());
    this.script = tool('script', 'a plain torch program of this run', () => app.showScript());
    this.save = tool('save', 'save what is seen, or the page', () => app.save());
    this.theme = tool('◐', 'light or dark', () => app.toggleTheme());
    this.help = tool('?', 'keys', () => app.showKeys());
    this.tools = element('div', { className: 'tools' }, this.undo, this.reset, this.pin, this.link, this.script, this.save, this.theme, this.help);
    const brand = element('span', { className: 'brand' }, 'ravine');
    this.box = element('header', {}, brand, this.pick, this.chips, this.tools);
    this.title = element('h1', {});
    this.call = element('code', {});
    this.pinned = element('code', { className: 'pinned' });
    this.headline = element('div', { className: 'headline' }, this.title, element('p', { className: 'call' }, this.call, this.pinned));
    this.live = element('p', { className: 'unseen', 'aria-live': 'polite' });
  }

  choose() {
    const { app } = this;
    if (this.pick.value === YOURS) {
      this.pick.value = app.card.name;
      app.editPoints();
    } else app.open(this.pick.value);
  }

  build() {
    const { app } = this, names = [...Object.keys(app.cards), ...(app.state.points ? ['your points'] : [])];
    const options = [...names, ...(app.cards.article ? [YOURS] : [])];
    this.pick.replaceChildren(...options.map((name) => element('option', { value: name }, name)));
    const chip = (text, act, settings) => {
      const made = element('button', { type: 'button', className: 'chip', onclick: act }, text);
      made.settings = settings;
      return made;
    };
    const presets = Object.entries(presetsOf(app.card)).map(([name, settings]) => chip(name, () => app.change({ ...settings, step: null }), settings));
    this.chips.replaceChildren(...presets, chip('surprise me', () => app.change({ ...surprise(app.card, app.viewOf()), step: null }), null));
  }

  render() {
    const { app } = this, { state } = app;
    setProperty(this.pick, 'value', app.card.name);
    for (const chip of this.chips.children) {
      if (chip.settings) setAttribute(chip, 'aria-pressed', String(Object.entries(chip.settings).every(([name, value]) => state[name] === value)));
    }
    setProperty(this.undo, 'disabled', !app.canUndo());
    setAttribute(this.pin, 'aria-pressed', String(Boolean(state.pin)));
    setText(this.title, app.headline);
    setText(this.call, `${callOf(app.lastSettings)}, ${soMany(app.shown[0].facts.taken)}`);
    setText(this.pinned, state.pin ? `pinned: ${callOf(state.pin)}` : '');
  }

  say() {
    setText(this.live, `${this.app.headline}. ${this.app.shown.filter((one) => !one.folded).map((one) => `${one.label}: ${one.panelView.outcome.textContent}`).join('. ')}`);
  }
}
