// In words: what is known of the chosen panel's run, three sentences and the rest to open.

import { element, setText } from './dom.js';
import { finding } from './facts.js';
import { explain, refused } from './words.js';

const FIRST = 3;

export class Words {
  constructor(app) {
    this.app = app;
    this.dot = element('span', { className: 'dot' });
    this.title = element('h2', {});
    this.list = element('ul', {});
    this.more = element('button', { type: 'button', className: 'text', onclick: () => this.toggle() });
    this.box = element('section', { className: 'chart words' }, element('div', { className: 'row' }, this.title, this.more), this.list);
    this.open = false;
    this.said = '';
  }

  toggle() {
    this.open = !this.open;
    this.said = '';
    this.write();
  }

  // Under a moving hand the sentences are of other runs than the pictures, and are not seen.
  render() {
    this.list.classList.toggle('stale', Boolean(this.app.stale));
    if (!this.app.stale) this.write();
  }

  write() {
    const { app } = this, { facts, label, color, error } = app.shown[app.state.panel], fault = error || app.strayed;
    const found = app.refused ? [refused(app.refused)] : fault ? [finding('fault', `${fault[0].toUpperCase()}${fault.slice(1)}.`, 'measured')] : explain(facts), key = JSON.stringify([found, this.open, label]);
    if (key === this.said) return;
    this.said = key;
    this.dot.className = `dot c${color}`;
    this.title.replaceChildren(this.dot, `${label}, in words`);
    const shown = this.open ? found : found.slice(0, FIRST);
    this.list.replaceChildren(...shown.map(({ sentence, scope }) => element('li', {}, `${sentence} `, element('span', { className: `scope ${scope}` }, scope))));
    this.more.hidden = found.length <= FIRST;
    setText(this.more, this.open ? 'fewer' : `${found.length - FIRST} more`);
    this.more.setAttribute('aria-expanded', String(this.open));
  }
}
