// The step bar: play, scrub, one step at a time; and the update from there in numbers.

import { element, setAttribute, setProperty, setStyle, setText } from './dom.js';
import { followArrows } from './hands.js';
import { openUpdate } from './sgd.js';
import { stepOf } from './state.js';
import { updateOf } from './verdict.js';

const SECONDS = 5;

export class StepBar {
  constructor(app) {
    this.app = app;
    this.icon = element('span', { 'aria-hidden': 'true' }, '▶');
    this.button = element('button', { type: 'button', className: 'play', onclick: () => this.toggle() }, this.icon);
    this.slider = element('input', { type: 'range', min: 0, step: 1, 'aria-label': 'step' });
    this.slider.addEventListener('input', () => app.change({ step: Number(this.slider.value) }, { moving: true }));
    this.slider.addEventListener('change', () => app.settle());
    followArrows(this.slider, ([across, up], many) => this.move((across + up) * many));
    this.fill = element('i', {});
    const move = (by, text, name) => element('button', { type: 'button', className: 'one', 'aria-label': name, onclick: () => this.move(by) }, text);
    this.number = element('output', { className: 'stepno' });
    this.lines = element('p', { className: 'update' });
    this.box = element('footer', {}, this.button,
      element('div', { className: 'track' }, element('div', { className: 'rail' }, this.fill), this.slider),
      element('div', { className: 'by' }, move(-1, '‹', 'one step back'), this.number, move(1, '›', 'one step on')), this.lines);
    this.playing = false;
  }

  move(by) {
    const { state } = this.app;
    this.stop();
    this.app.change({ step: Math.max(0, Math.min(state.steps, stepOf(state) + by)) });
  }

  toggle() {
    if (this.playing) {
      this.stop();
      this.app.settle();
    } else this.play();
  }

  play() {
    const { app } = this, { state } = app, from = stepOf(state) >= state.steps ? 0 : stepOf(state), pace = Math.max(4, state.steps / SECONDS) / 1000;
    const begin = performance.now();
    this.playing = true;
    app.change({ step: from }, { moving: true });
    const frame = (now) => {
      if (!this.playing) return;
      const step = Math.min(app.state.steps, from + Math.floor(Math.max(0, now - begin) * pace));
      if (step !== stepOf(app.state)) app.change({ step }, { moving: true });
      if (step < app.state.steps) requestAnimationFrame(frame);
      else {
        this.stop();
        app.settle();
      }
    };
    requestAnimationFrame(frame);
  }

  stop() {
    this.playing = false;
    this.app.paint();
  }

  render() {
    const { app } = this, { state } = app, step = stepOf(state), { facts } = app.shown[state.panel];
    setProperty(this.slider, 'max', String(state.steps));
    setProperty(this.slider, 'value', String(step));
    setAttribute(this.slider, 'aria-valuetext', `step ${step} of ${state.steps}`);
    setStyle(this.fill, 'transform', `scaleX(${step / state.steps})`);
    setText(this.number, `step ${step.toLocaleString('en')}`);
    setText(this.icon, this.playing ? '❚❚' : '▶');
    setAttribute(this.button, 'aria-label', this.playing ? 'pause' : 'play');
    if (step >= facts.taken) {
      setText(this.lines, 'The last position. Scrub back to open an update in numbers and arrows.');
      return;
    }
    const parts = openUpdate(app.slopeOf(state.panel), facts.run, facts.settings, step);
    this.lines.replaceChildren(...updateOf(parts, facts.settings, app.card.axes, app.swap).map(([what, text]) => element('span', { className: `of-${what}` }, text)));
  }
}
