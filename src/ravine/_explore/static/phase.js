// lr × momentum: how many steps each pair takes to arrive, the limit, and where one is.

import { BOLD, FONT, element, followWidth, setAttribute, setProperty, setStyle, setText, setWhole, tickText, wholesIn } from './dom.js';
import { number, soMany, steps as stepsText } from './format.js';
import { followArrows, followPointer } from './hands.js';
import { OPTIMIZERS, nameOf, settingsOf } from './optimizers.js';
import { DIVERGED, LATE, Pace, SIZE, TOP, UNKNOWN } from './pace.js';
import { Sheet, widthOf, writeText } from './sheet.js';

const PATIENCE = 60, PALE = 0.35, NARROW = 1000;
const LONG = 1500;  // before Python is asked: while it answers, no run is made
const RAMPS = {
  light: ['#123f66', '#1d5f8a', '#3d86a8', '#6aa9bd', '#9cc8d0', '#cfe3e6'],
  dark: ['#f6d978', '#c9cf72', '#8fbd7a', '#55a286', '#347f86', '#24566a'],
};

export class Phase {
  constructor(app) {
    this.app = app;
    this.note = element('small', {});
    this.dot = element('span', { className: 'dot' });
    this.name = element('span', {});
    this.title = element('h2', {}, this.dot, this.name, this.note);
    this.sheet = new Sheet();
    this.ring = element('button', { type: 'button', className: 'handle' });
    this.stage = element('div', { className: 'stage phase' }, this.sheet.canvas, this.ring);
    this.outcome = element('p', {});
    this.reason = element('p', { className: 'reason' });
    this.box = element('section', { className: 'panel pace' }, this.title, this.stage, element('div', { className: 'verdict' }, this.outcome, this.reason));
    this.pace = new Pace(() => !app.moving, () => {
      this.old = false;
      this.drawn = '';
      app.paint();
    });
    this.old = true;  // the map is of other settings
    followWidth(this, this.stage, () => app.paint());
    this.followHand();
  }

  followHand() {
    const { app, ring, stage } = this;
    const place = (event) => {
      const box = stage.getBoundingClientRect(), { left, right, top, bottom } = this.area;
      const u = clamp((event.clientX - box.left - left) / (right - left)), v = clamp((bottom - (event.clientY - box.top)) / (bottom - top));
      return { lr: Number(this.lrAt(u).toPrecision(3)), [this.second]: Number((v * TOP).toFixed(2)) };
    };
    followPointer(stage, (event) => {
      event.preventDefault();
      ring.focus({ preventScroll: true });
      const move = (at) => app.change(place(at), { moving: true });
      move(event);
      return move;
    }, () => app.settle());
    followArrows(ring, ([across, up], many) => app.change({
      lr: Number(Math.max(0, app.state.lr * 1.05 ** (across * many)).toPrecision(3)),
      [this.second]: Number(Math.min(TOP, Math.max(0, app.state[this.second] + 0.01 * up * many)).toFixed(2)),
    }));
  }

  lrAt(share) {
    const { low, high } = this.app.knobs.lr;  // all that the slider reaches
    return low * (high / low) ** share;
  }

  render() {
    const { app, width, sheet } = this, { start } = app, { panel: index } = app.state, { facts, color } = app.shown[index], { settings, taken } = facts;
    const { second } = OPTIMIZERS[nameOf(settings)];
    setProperty(this.box, 'hidden', facts.climbs || facts.minimum === null || !second);
    this.second = second;
    if (this.box.hidden) {
      this.forget();
      return;
    }
    const { colors } = app;
    setText(this.name, `lr × ${second}`);
    setProperty(this.dot, 'className', `dot c${color}`);
    setWhole(this.note, `${colors.dark ? 'brighter' : 'darker'}: sooner`);
    this.tell(facts);
    if (!width) return;
    const height = Math.round(width * this.shape), fresh = sheet.fit(width, height);
    this.area = { left: 40, right: width - 8, top: 8, bottom: height - 46 };
    const key = JSON.stringify([app.version, index, { ...settings, lr: 0, [second]: 0 }, app.knobs.lr, taken, start]);
    if (key !== this.key) {
      this.forget();
      this.key = key;
      this.tell(facts);
      const lrAt = (i) => this.lrAt(i / (SIZE - 1)), secondAt = (j) => (TOP * j) / (SIZE - 1);
      this.timer = setTimeout(() => this.pace.fill({ runs: app.runs, index, start, steps: taken, settings: settingsOf(settings), second, lrAt, secondAt }), app.runs.asks ? LONG : PATIENCE);
    }
    const drawn = `${key} ${colors.ground}`;
    if (fresh || this.drawn !== drawn) this.draw(taken);
    this.drawn = drawn;
    this.overlay(facts);
  }

  // what was being computed is waited for no longer
  forget() {
    clearTimeout(this.timer);
    this.pace.drop();
    this.key = '';
    this.old = true;
  }

  draw(taken) {
    const { colors } = this.app, { left, right, top, bottom } = this.area, { cells } = this.pace, { stillPen: pen, width, height } = this.sheet;
    const ramp = RAMPS[colors.dark ? 'dark' : 'light'], w = (right - left) / SIZE, h = (bottom - top) / SIZE, most = Math.log(taken + 1) || 1;
    pen.fillStyle = colors.ground;
    pen.fillRect(0, 0, width, height);
    pen.globalAlpha = this.old ? PALE : 1;
    for (let j = 0; j < SIZE; j++) for (let i = 0; i < SIZE; i++) {
      const value = cells[j * SIZE + i];
      if (value === UNKNOWN) continue;
      pen.fillStyle = value === DIVERGED ? colors.over : value === LATE ? colors.hair : ramp[Math.max(0, Math.min(5, Math.floor((Math.log(value) / most) * 6)))];
      pen.fillRect(left + i * w, bottom - (j + 1) * h, w + 0.6, h + 0.6);
    }
    pen.globalAlpha = 1;
    this.axes(pen, colors);
  }

  axes(pen, colors) {
    const { left, right, top, bottom } = this.area;
    pen.font = FONT;
    pen.fillStyle = colors.quiet;
    pen.textBaseline = 'middle';
    pen.textAlign = 'center';
    const low = this.lrAt(0), high = this.lrAt(1);
    for (const power of wholesIn(Math.log10(low) - 1e-9, Math.log10(high))) {
      const x = left + (Math.log(10 ** power / low) / Math.log(high / low)) * (right - left);
      if (x < right - 40) pen.fillText(tickText(10 ** power), Math.max(x, left + 12), bottom + 17);
    }
    pen.textAlign = 'right';
    pen.fillText('lr →', right, bottom + 17);
    let x = left;
    for (const [color, text] of [[colors.hair, 'not arrived'], [colors.over, 'diverges']]) {
      Object.assign(pen, { fillStyle: color, strokeStyle: colors.line, lineWidth: 1 });
      pen.fillRect(x, bottom + 30, 12, 12);
      pen.strokeRect(x, bottom + 30, 12, 12);
      Object.assign(pen, { fillStyle: colors.quiet, textAlign: 'left' });
      pen.fillText(text, x + 18, bottom + 36.5);
      x += widthOf(text) + 36;
    }
    pen.textAlign = 'right';
    for (const value of [0, 0.5, 0.9]) pen.fillText(String(value), left - 6, bottom - (value / TOP) * (bottom - top));
  }

  overlay(facts) {
    const { app } = this, { colors, state } = app, { left, right, top, bottom } = this.area, pen = this.sheet.lay(), low = this.lrAt(0), high = this.lrAt(1);
    const X = (lr) => left + (Math.log(lr / low) / Math.log(high / low)) * (right - left), Y = (m) => bottom - (m / TOP) * (bottom - top);
    if (facts.modes) {
      Object.assign(pen, { strokeStyle: colors.accent, lineWidth: 2 });
      pen.setLineDash(facts.everywhere ? [] : [5, 4]);
      pen.stroke(this.limitLine(facts, X, Y));
      pen.setLineDash([]);
    }
    const across = Math.log(state.lr / low) / Math.log(high / low), up = state[this.second] / TOP, x = left + clamp(across) * (right - left), y = Y(clamp(up) * TOP);
    const beyond = [across < -1e-9 && `← lr ${number(state.lr)}`, across > 1 + 1e-9 && `lr ${number(state.lr)} →`, up > 1 && `${this.second} ${number(state[this.second])} ↑`].filter(Boolean);
    if (!beyond.length) for (const [color, wide] of [[colors.ground, 5.5], [colors.accent, 2.8]]) {
      pen.beginPath();
      pen.arc(x, y, 8, 0, 7);
      Object.assign(pen, { strokeStyle: color, lineWidth: wide });
      pen.stroke();
    }
    const leftwards = x > (left + right) / 2;
    writeText(pen, beyond.length ? `you: ${beyond.join(', ')}` : 'you are here', x + (leftwards ? -15 : 15), Math.max(top + 10, Math.min(bottom - 10, y)), { color: colors.ink, ground: colors.ground, align: leftwards ? 'right' : 'left', font: BOLD });
    setStyle(this.ring, 'transform', `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`);
  }

  // the limit over the second setting, as far as it lies in the map; it is the same whatever lr and momentum are
  limitLine({ limit, modes }, X, Y) {
    const { left, right, bottom } = this.area, key = `${this.key} ${modes.curvatures} ${right} ${bottom}`;
    if (this.limitKey === key) return this.limit;
    const places = Array.from({ length: 100 }, (_, k) => [X(Math.max(1e-12, limit({ momentum: k / 100 }))), Y(k / 100)]), line = new Path2D();
    for (let k = 1; k < places.length; k++) {
      const cut = within(places[k - 1], places[k], left, right);
      if (!cut) continue;
      line.moveTo(...cut[0]);
      line.lineTo(...cut[1]);
    }
    Object.assign(this, { limitKey: key, limit: line });
    return line;
  }

  tell({ arrival, modes, everywhere, taken, data, decay }) {
    const { arrived, lost, valid, fastest } = this.pace.known, mine = arrival.outcome === 'arrived' ? stepsText(arrival.step) : arrival.outcome;
    const narrow = modes?.condition > NARROW ? `: condition number ${number(modes.condition, 2)}${data && !decay ? ', with standardized inputs 1' : ''}` : '';
    const known = !this.old && valid, first = arrived ? `fastest: ${soMany(fastest)}` : `none arrives${narrow}`;
    setText(this.outcome, known ? `${first}; yours: ${mine}` : `yours: ${mine}`);
    const share = (count) => `${number((100 * count) / valid, 2)}\u00a0%`, line = modes ? ` Line: stability limit${everywhere ? '' : ', local'}.` : '';
    setWhole(this.reason, known && !this.pace.job ? `Of ${valid.toLocaleString('en')} pairs ${share(arrived)} arrive in ${soMany(taken)}, ${share(lost)} diverge.${line}` : 'being computed …');
  }

  say() {
    const { state } = this.app, { second } = this;
    if (this.box.hidden) return;
    setAttribute(this.box, 'aria-label', this.name.textContent);
    setAttribute(this.sheet.canvas, 'aria-label', `steps to arrive over lr and ${second}. ${this.outcome.textContent}. ${this.reason.textContent}`);
    setAttribute(this.ring, 'aria-label', `lr ${state.lr}, ${second} ${state[second]}. Arrow keys turn both`);
  }
}

const clamp = (value) => Math.max(0, Math.min(1, value));

// the part of a short line between two verticals, or null
function within([x0, y0], [x1, y1], left, right) {
  if (Math.max(x0, x1) < left || Math.min(x0, x1) > right) return null;
  const at = (x) => [x, x1 === x0 ? y0 : y0 + ((y1 - y0) * (x - x0)) / (x1 - x0)], cut = (x, y) => (x < left ? at(left) : x > right ? at(right) : [x, y]);
  return [cut(x0, y0), cut(x1, y1)];
}
