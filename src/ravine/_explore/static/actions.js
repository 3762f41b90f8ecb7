// What one does to a page besides turning its knobs: points, pin, undo, link, script, picture, keys; and its own proof.

import { copyText, editPoints, showChoices, showKeys, showText } from './dialogs.js';
import { readColors, setText } from './dom.js';
import { isSgd, settingsOf } from './optimizers.js';
import { download, drawPicture, saveCanvas } from './picture.js';
import { checkRun, sayProof, speaksOf } from './proof.js';
import { initialState, makePointsCard, rangesOf, writeLink } from './state.js';
import { scriptOf } from './verdict.js';

export class Actions {
  changePoints(edit, options) {
    const { inputs, targets } = this.points(), [xs, ys] = edit([...inputs], [...targets]);
    if (new Set(xs).size < 2) {
      this.say('A line needs points at two different places at least.');
      return;
    }
    const points = { inputs: xs, targets: ys };
    this.card = { ...makePointsCard(this.card, points), ranges: this.card.ranges };
    this.state = { ...this.state, problem: this.card.name };
    this.knobs = rangesOf(this.card, this.state);
    this.change({ points }, options);
    this.header.build();
  }

  usePoints(points) {
    const card = makePointsCard(this.cards.article ?? this.card, points), { lr } = isSgd(this.state) ? card : this.state;
    this.take(card, { ...initialState(card), ...settingsOf(this.state), lr, steps: this.state.steps, theme: this.state.theme, points });
  }

  editPoints() {
    editPoints(this);
  }

  togglePin() {
    this.change({ pin: this.state.pin ? null : { ...settingsOf(this.state), start: this.state.start } });
  }

  reset() {
    this.take(this.cards[this.own], { ...initialState(this.cards[this.own]), ...this.begun, theme: this.state.theme });
  }

  canUndo() {
    return this.host.address ? (history.state?.index ?? 0) > 0 : this.past.length > 0;
  }

  undo() {
    if (!this.canUndo()) return;
    if (this.host.address) history.back();
    else this.restore(this.past.pop());
  }

  // Writes the address once the hand rests; back and forward undo.
  mark() {
    const link = writeLink(this.state, this.card);
    if (link === this.marked) return;
    if (this.host.address) history.pushState({ index: (history.state?.index ?? 0) + 1 }, '', `#${link}`);
    else this.past.push(this.marked);
    this.marked = link;
    this.header.render();
  }

  async copyLink() {
    const link = `#${writeLink(this.state, this.card)}`, address = this.host.address ? location.href.replace(/#.*$/, '') + link : link;
    if (await copyText(address)) this.say('The link is copied: it holds problem, settings, start, step and pin.');
    else showText(this, 'link', address, 'It holds problem, settings, start, step and pin.');
  }

  showScript() {
    const { panel } = this.shown[this.state.panel];
    if (!panel.evaluate) this.say('The script of this problem is what ravine.code(ravine.descend(problem, …)) writes.');
    else showText(this, 'script', scriptOf(panel, this.card, { ...this.state, ...this.lastSettings }), `A plain torch program that makes the run of ${panel.label}.`);
  }

  save() {
    if (!this.host.page || this.card.family === 'python') this.savePicture();
    else showChoices(this, 'save', 'What is seen, as a picture; or this page as one file that needs nothing and begins where it is now.', [['picture (PNG)', () => this.savePicture()], ['page (HTML)', () => this.saveFile()]]);
  }

  async savePicture() {
    await saveCanvas(drawPicture(this), 'ravine.png');
  }

  // This page with its problems, but for those that Python computes; the link tells where it begins.
  saveFile() {
    const cards = Object.fromEntries(Object.entries(this.cards).filter(([, card]) => card.family !== 'python')), own = cards[this.own] ? this.own : this.card.name;
    const proofs = this.proofs.filter(({ of }) => !of || cards[of]);
    download(new Blob([this.host.page({ cards, own, proofs, settings: this.begun, link: writeLink(this.state, this.card) })], { type: 'text/html' }), 'ravine.html');
  }

  toggleTheme() {
    this.change({ theme: this.colors.dark ? 'light' : 'dark' });
  }

  showKeys() {
    showKeys(this);
  }

  dress() {
    if (this.state.theme) this.root.dataset.theme = this.state.theme;
    else delete this.root.dataset.theme;
    this.colors = readColors(this.root);
    this.paint();
  }

  say(text) {
    setText(this.message, text);
  }

  followKeys() {
    const target = this.host.address ? document : this.root;
    target.addEventListener('keydown', (event) => {
      const at = event.composedPath()[0];
      if (event.ctrlKey || event.metaKey || event.altKey || at.closest?.('dialog, textarea, select, input:not([type=range]):not([type=checkbox])')) return;
      if (event.key === ' ' && at.closest?.('button, input')) return;
      const panel = '1234'.indexOf(event.key);
      if (panel >= 0 && this.shown[panel] && !this.shown[panel].folded) this.change({ panel });
      else if (event.key === ' ') this.bar.toggle();
      else if (event.key === ',') this.bar.move(-1);
      else if (event.key === '.') this.bar.move(1);
      else if (event.key === 'n') this.change({ nesterov: !this.state.nesterov });
      else if (event.key === 'p') this.togglePin();
      else if (event.key === '?') this.showKeys();
      else return;
      event.preventDefault();
    });
  }

  // In idle time: the runs that torch made when this page was written.
  prove() {
    const { proofs } = this;
    this.proven = [];
    const next = () => {
      this.proven.push(checkRun(proofs[this.proven.length], this.cards));
      this.sayProven();
      if (this.proven.length < proofs.length) this.idle(next);
    };
    if (proofs.length) this.idle(next);
  }

  sayProven() {
    const { card, proofs, proven, state } = this, about = [...proofs.keys()].filter((k) => speaksOf(proofs[k], card, state));
    const done = about.every((k) => k < proven.length);
    setText(this.proof, done ? sayProof(about.map((k) => proven[k]), this.cards[this.own].torch) : 'comparing with torch …');
  }

  // In idle time, of which there is none while a hand moves: what takes long then would delay the next picture.
  idle(work) {
    const begin = () => (this.moving ? setTimeout(begin, 100) : work());
    (globalThis.requestIdleCallback ?? ((each) => setTimeout(each, 30)))(begin);
  }
}
