// The fitted lines over the points, which can be dragged, added and taken away.

import { drawAxes } from './axes.js';
import { element, followWidth, setAttribute, setProperty, setText, tickText, ticksOf } from './dom.js';
import { followPointer } from './hands.js';
import { Sheet } from './sheet.js';
import { stepOf } from './state.js';

const FAR = 3;  // spans of the points beyond which a line does not widen them

export class Fit {
  constructor(app) {
    this.app = app;
    this.title = element('h2', {});
    this.sheet = new Sheet({ className: 'fit' });
    this.canvas = this.sheet.canvas;
    this.hint = element('p', { className: 'hint' });
    this.open = element('button', { type: 'button', className: 'text', onclick: () => app.editPoints() }, 'edit points …');
    this.box = element('section', { className: 'chart' }, element('div', { className: 'row' }, this.title, this.open), this.canvas);
    followWidth(this, this.box, () => app.paint());
    this.followHand();
  }

  followHand() {
    const { canvas, app } = this;
    const nearest = (event) => {
      const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top, { inputs, targets } = app.points();
      let best = -1, reach = event.pointerType === 'touch' ? 24 : 14;
      for (let k = 0; k < inputs.length; k++) {
        const away = Math.hypot(this.X(inputs[k]) - x, this.Y(targets[k]) - y);
        if (away < reach) [best, reach] = [k, away];
      }
      return { best, x: this.tidy(this.backX(x)), y: this.tidy(this.backY(y)) };
    };
    followPointer(canvas, (event) => {
      const { best } = nearest(event);
      if (best < 0) return null;
      event.preventDefault();
      this.frozen = this.range;
      return (at) => {
        const { x, y } = nearest(at);
        app.changePoints((inputs, targets) => [inputs.with(best, x), targets.with(best, y)], { moving: true });
      };
    }, () => {
      this.frozen = this.data = null;  // the range may widen again
      app.settle();
    });
    // a double click adds a point, or takes the one beneath it away
    canvas.addEventListener('dblclick', (event) => {
      const { best, x, y } = nearest(event);
      app.changePoints((inputs, targets) => (best < 0 ? [[...inputs, x], [...targets, y]] : [inputs.toSpliced(best, 1), targets.toSpliced(best, 1)]));
    });
  }

  tidy(value) {
    return Number(value.toPrecision(3));
  }

  render() {
    const { app } = this, data = app.points();
    setProperty(this.box, 'hidden', !data);
    const { width, sheet } = this, height = Math.min(220, Math.round(width * 0.58)), { colors, state } = app, step = stepOf(state);
    if (!data || !width) return;
    const fresh = sheet.fit(width, height);
    setText(this.title, `fit at step ${step.toLocaleString('en')}`);
    const fitted = app.visible().map(({ facts: { run: { position }, taken } }) => [0, 1].map((j) => position[2 * Math.min(step, taken) + j]));
    // under a hand the axes stay; once it rests every line is on them that does not lie far off
    const range = this.frozen ?? (app.moving && data === this.data ? this.range : rangeOf(data, fitted));
    const another = fresh || data !== this.data || this.ground !== colors.ground || !sameRange(range, this.range);
    if (another) this.drawPoints(data, width, height, range);
    const { x0, x1 } = this.range, { left, top, right, bottom } = this.area, lines = [];
    app.visible().forEach(({ color, index }, k) => {
      const [w, b] = fitted[k];
      if (Number.isFinite(w + b)) lines.push({ color: colors.of[color], wide: index === state.panel ? 2.6 : 1.7, from: this.Y(w * x0 + b), to: this.Y(w * x1 + b) });
    });
    // where runs have arrived, other settings lead to the same lines
    const drawn = lines.map(({ color, wide, from, to }) => [color, wide, from.toFixed(1), to.toFixed(1)].join()).join(';');
    if (!another && this.drawn === drawn) return;
    this.drawn = drawn;
    const pen = sheet.lay();
    pen.save();
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
    for (const { color, wide, from, to } of lines) {
      pen.beginPath();
      pen.moveTo(this.X(x0), from);
      pen.lineTo(this.X(x1), to);
      Object.assign(pen, { strokeStyle: color, lineWidth: wide });
      pen.stroke();
    }
    pen.restore();
  }

  // axes and points stay while the lines move
  drawPoints(data, width, height, range) {
    const { colors } = this.app, pen = this.sheet.stillPen, box = { left: 40, right: width - 8, top: 6, bottom: height - 24 };
    Object.assign(this, { data, range, ground: colors.ground, area: box });
    const { x0, x1, y0, y1 } = this.range;
    this.X = (x) => box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left);
    this.Y = (y) => box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top);
    this.backX = (px) => x0 + ((px - box.left) / (box.right - box.left)) * (x1 - x0);
    this.backY = (py) => y0 + ((box.bottom - py) / (box.bottom - box.top)) * (y1 - y0);
    pen.fillStyle = colors.ground;
    pen.fillRect(0, 0, width, height);
    drawAxes(pen, box, ticksOf(x0, x1, 4), ticksOf(y0, y1, 4), this.X, this.Y, tickText, tickText, colors);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    pen.clip();
    Object.assign(pen, { fillStyle: colors.quiet, globalAlpha: data.inputs.length > 400 ? 0.25 : 0.6 });
    for (let k = 0; k < data.inputs.length; k++) {
      pen.beginPath();
      pen.arc(this.X(data.inputs[k]), this.Y(data.targets[k]), 3, 0, 7);
      pen.fill();
    }
    pen.restore();
  }

  say() {
    const data = this.app.points();
    if (!data) return;
    setAttribute(this.canvas, 'aria-label', `${data.inputs.length} points and the fitted lines. “edit points” takes them as numbers`);
    setProperty(this.canvas, 'title', 'drag a point; double-click adds one or takes one away');
  }
}

const sameRange = (one, other) => Object.keys(one).every((end) => one[end] === other?.[end]);

function rangeOf({ inputs, targets }, fitted) {
  const spread = (values, share) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const pad = (high - low || Math.abs(low) || 1) * share;
    return [low - pad, high + pad];
  };
  const [x0, x1] = spread(inputs, 0.07), [low, high] = spread(targets, 0.12), reach = FAR * (high - low);
  const ends = fitted.flatMap(([w, b]) => [w * x0 + b, w * x1 + b]).filter((y) => y > low - reach && y < high + reach);
  const y0 = Math.min(low, ...ends), y1 = Math.max(high, ...ends);
  return { x0, x1, y0, y1 };
}
