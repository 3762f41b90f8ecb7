// lr × momentum: how many steps each pair takes to arrive, the limit, and where one is. Coarse first, then finer, a slice
// at a time between frames.

import { BOLD, FONT, element, fitCanvas, setText, tickText, writeText } from './dom.js';
import { number, soMany, steps as stepsText } from './format.js';
import { OPTIMIZERS, findRefusal, nameOf, settingsOf } from './optimizers.js';
import { makeRun } from './sgd.js';

const SIZE = 40, SLICE = 7, TOP = 0.99;
const RAMPS = {
  light: ['#123f66', '#1d5f8a', '#3d86a8', '#6aa9bd', '#9cc8d0', '#cfe3e6'],
  dark: ['#f6d978', '#c9cf72', '#8fbd7a', '#55a286', '#347f86', '#24566a'],
};
const UNKNOWN = -2, REFUSED = -3, DIVERGED = -1, LATE = 0;

export class Phase {
  constructor(app) {
    this.app = app;
    this.note = element('small', {});
    this.dot = element('span', { className: 'dot' });
    this.name = element('span', {});
    this.title = element('h2', {}, this.dot, this.name, this.note);
    this.base = element('canvas', { 'aria-hidden': 'true' });
    this.top = element('canvas', { className: 'over', role: 'img' });
    this.ring = element('button', { type: 'button', className: 'handle' });
    this.stage = element('div', { className: 'stage phase' }, this.base, this.top, this.ring);
    this.words = element('p', {});
    this.more = element('p', { className: 'reason' });
    this.box = element('section', { className: 'panel pace' }, this.title, this.stage, element('div', { className: 'verdict' }, this.words, this.more));
    this.followHand();
  }

  followHand() {
    const { app, ring, stage } = this;
    const place = (event) => {
      const box = stage.getBoundingClientRect(), { left, right, top, bottom } = this.area;
      const u = clamp((event.clientX - box.left - left) / (right - left)), v = clamp((bottom - (event.clientY - box.top)) / (bottom - top));
      return { lr: Number(this.lrAt(u).toPrecision(3)), [this.second]: Number((v * TOP).toFixed(2)) };
    };
    const start = (event) => {
      stage.setPointerCapture(event.pointerId);
      event.preventDefault();
      ring.focus({ preventScroll: true });
      const move = (at) => app.change(place(at), { moving: true });
      move(event);
      stage.addEventListener('pointermove', move);
      stage.addEventListener('lostpointercapture', () => {
        stage.removeEventListener('pointermove', move);
        app.settle();
      }, { once: true });
    };
    stage.addEventListener('pointerdown', start);
    ring.addEventListener('keydown', (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      const many = event.shiftKey ? 10 : 1, { lr } = app.state;
      app.change({
        lr: Number(Math.max(0, lr * 1.05 ** (way[0] * many)).toPrecision(3)),
        [this.second]: Number(Math.min(TOP, Math.max(0, app.state[this.second] + 0.01 * way[1] * many)).toFixed(2)),
      });
    });
  }

  lrAt(share) {
    const { low, high } = this.app.knobs.lr;
    return low * 10 * (high / (low * 10)) ** share;
  }

  render() {
    const { app } = this, width = this.stage.clientWidth;
    if (!width) return;
    const height = Math.round(width * 0.86), { changed } = fitCanvas(this.base, width, height);
    this.area = { left: 40, right: width - 8, top: 8, bottom: height - 26 };
    const { panel: index } = app.state, { panel, facts, color } = app.shown[index], { settings } = facts;
    const { second } = OPTIMIZERS[nameOf(settings)];
    this.box.hidden = !panel.evaluate || facts.climbs || facts.minimum === null || !second;
    if (this.box.hidden) return;
    this.second = second;
    setText(this.name, `lr × ${second}`);
    this.box.setAttribute('aria-label', this.name.textContent);
    const key = JSON.stringify([app.version, index, { ...settings, lr: 0, [second]: 0 }, app.knobs.lr, facts.taken, app.state.start]);
    if (key !== this.key) {
      this.key = key;
      clearTimeout(this.job);
      this.job = setTimeout(() => this.fill(panel, facts, key), 60);
    } else if (changed || this.dark !== app.colors.dark) this.draw();
    this.dot.className = `dot c${color}`;
    setText(this.note, `${app.colors.dark ? 'brighter' : 'darker'}: sooner`);
    this.overlay(width, height, facts);
  }

  fill(panel, facts, key) {
    const { app } = this, cells = new Float64Array(SIZE * SIZE).fill(UNKNOWN), order = [], { start } = app.state;
    for (const wide of [4, 2, 1]) {
      for (let j = 0; j < SIZE; j += wide) for (let i = 0; i < SIZE; i += wide) if (wide === 4 || i % (2 * wide) || j % (2 * wide)) order.push([i, j, wide]);
    }
    const scratch = makeRun(panel.kind, facts.taken), base = settingsOf(facts.settings);
    let next = 0;
    const slice = () => {
      if (key !== this.key) return;
      for (const begin = performance.now(); next < order.length && performance.now() - begin < SLICE; next++) {
        const [i, j, wide] = order[next], settings = { ...base, lr: this.lrAt(i / (SIZE - 1)), [this.second]: (TOP * j) / (SIZE - 1) };
        const value = this.measure(panel, start, settings, facts.taken, scratch);
        for (let b = j; b < Math.min(SIZE, j + wide); b++) for (let a = i; a < Math.min(SIZE, i + wide); a++) cells[b * SIZE + a] = value;
      }
      this.cells = cells;
      this.taken = facts.taken;
      this.whole = next === order.length;
      this.draw();
      if (!this.whole) this.job = setTimeout(slice, 0);
    };
    slice();
  }

  measure(panel, start, settings, count, scratch) {
    if (findRefusal(settings)) return REFUSED;
    const facts = panel.descend(start, settings, count, scratch), { outcome, step } = facts.arrival;
    return outcome === 'arrived' ? step + 1 : outcome === 'diverged' ? DIVERGED : LATE;
  }

  draw() {
    const { app, cells } = this, { colors } = app, { left, right, top, bottom } = this.area, pen = this.base.getContext('2d');
    if (!cells) return;
    this.dark = colors.dark;
    const ramp = RAMPS[colors.dark ? 'dark' : 'light'], w = (right - left) / SIZE, h = (bottom - top) / SIZE;
    pen.clearRect(0, 0, this.base.width, this.base.height);
    const most = Math.log(this.taken + 1) || 1;
    for (let j = 0; j < SIZE; j++) for (let i = 0; i < SIZE; i++) {
      const value = cells[j * SIZE + i];
      if (value === UNKNOWN || value === REFUSED) continue;
      pen.fillStyle = value === DIVERGED ? colors.over : value === LATE ? colors.hair : ramp[Math.min(5, Math.floor((Math.log(value) / most) * 6))];
      pen.fillRect(left + i * w, bottom - (j + 1) * h, w + 0.6, h + 0.6);
    }
    this.axes(pen, colors);
    this.tell();
  }

  axes(pen, colors) {
    const { left, right, top, bottom } = this.area;
    pen.font = FONT;
    pen.fillStyle = colors.quiet;
    pen.textBaseline = 'middle';
    pen.textAlign = 'center';
    const low = this.lrAt(0), high = this.lrAt(1);
    for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high); power++) {
      const x = left + (Math.log(10 ** power / low) / Math.log(high / low)) * (right - left);
      if (x < right - 40) pen.fillText(tickText(10 ** power), Math.max(x, left + 12), bottom + 13);
    }
    pen.textAlign = 'right';
    pen.fillText('lr →', right, bottom + 13);
    for (const value of [0, 0.5, 0.9]) pen.fillText(String(value), left - 6, bottom - (value / TOP) * (bottom - top));
  }

  overlay(width, height, facts) {
    const { app } = this, { colors, state } = app, { left, right, top, bottom } = this.area;
    const { pen } = fitCanvas(this.top, width, height), low = this.lrAt(0), high = this.lrAt(1);
    pen.clearRect(0, 0, width, height);
    const X = (lr) => left + (Math.log(lr / low) / Math.log(high / low)) * (right - left), Y = (m) => bottom - (m / TOP) * (bottom - top);
    if (facts.modes) {
      pen.save();
      pen.beginPath();
      pen.rect(left, top, right - left, bottom - top);
      pen.clip();
      pen.beginPath();
      for (let k = 0; k <= 99; k++) pen.lineTo(X(Math.max(1e-12, facts.limit({ momentum: k / 100 }))), Y(k / 100));
      Object.assign(pen, { strokeStyle: colors.accent, lineWidth: 2 });
      pen.setLineDash(facts.everywhere ? [] : [5, 4]);
      pen.stroke();
      pen.setLineDash([]);
      pen.restore();
    }
    const x = clamp((X(Math.max(state.lr, 1e-300)) - left) / (right - left)) * (right - left) + left, y = Y(clamp(state[this.second] / TOP) * TOP);
    for (const [color, wide] of [[colors.ground, 5.5], [colors.accent, 2.8]]) {
      pen.beginPath();
      pen.arc(x, y, 8, 0, 7);
      Object.assign(pen, { strokeStyle: color, lineWidth: wide });
      pen.stroke();
    }
    const leftwards = x > (left + right) / 2;
    writeText(pen, 'you are here', x + (leftwards ? -15 : 15), Math.max(top + 10, Math.min(bottom - 10, y)), { color: colors.ink, ground: colors.ground, align: leftwards ? 'right' : 'left', font: BOLD });
    this.ring.style.left = `${x}px`;
    this.ring.style.top = `${y}px`;
    this.ring.setAttribute('aria-label', `lr ${state.lr}, ${this.second} ${state[this.second]}. Arrow keys turn both`);
    this.yours = facts;
    this.tell();
  }

  tell() {
    if (!this.cells || !this.yours) return;
    const arrived = this.cells.filter((value) => value > 0), lost = this.cells.filter((value) => value === DIVERGED).length, valid = this.cells.filter((value) => value > REFUSED).length;
    const { arrival } = this.yours, mine = arrival.outcome === 'arrived' ? `${stepsText(arrival.step)}` : arrival.outcome;
    const fastest = arrived.length ? `fastest: ${soMany(Math.min(...arrived) - 1)}; yours: ${mine}` : `none arrives; yours: ${mine}`;
    setText(this.words, fastest);
    const share = (count) => `${number((100 * count) / valid, 2)} %`;
    const line = this.yours.modes ? ` The line is the stability limit${this.yours.everywhere ? '' : ', local'}.` : '';
    setText(this.more, this.whole ? `Of ${valid.toLocaleString('en')} pairs ${share(arrived.length)} arrive within ${stepsText(this.taken)} steps, ${share(lost)} diverge.${line}` : 'being computed …');
    this.top.setAttribute('aria-label', `steps to arrive over lr and ${this.second}. ${fastest}. ${this.more.textContent}`);
  }
}

const clamp = (value) => Math.max(0, Math.min(1, value));
