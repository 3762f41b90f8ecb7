// The gap of every panel over the steps, and the fitted lines over the points.

import { BOLD, FONT, element, fitCanvas, setText, tickText, ticksOf, writeText } from './dom.js';
import { stepOf } from './state.js';

const DEPTH = 1e-14, OVER = 30;

function drawAxes(pen, box, xs, ys, X, Y, textOfX, textOfY, colors) {
  pen.font = FONT;
  pen.textBaseline = 'middle';
  pen.lineWidth = 1;
  for (const y of ys) {
    pen.strokeStyle = colors.hair;
    pen.beginPath();
    pen.moveTo(box.left, Y(y));
    pen.lineTo(box.right, Y(y));
    pen.stroke();
    pen.fillStyle = colors.quiet;
    pen.textAlign = 'right';
    pen.fillText(textOfY(y), box.left - 6, Y(y));
  }
  pen.fillStyle = colors.quiet;
  pen.textAlign = 'center';
  for (const x of xs) pen.fillText(textOfX(x), X(x), box.bottom + 12);
}

const superscript = (n) => String(n).replace('-', '⁻').replace(/\d/g, (d) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[d]);
const decadeText = (power) => (power === 0 ? '1' : power === 1 ? '10' : power === 2 ? '100' : `10${superscript(power)}`);

// ---- gap curves ----------------------------------------------------------------------------------------------------------

export class Curves {
  constructor(app) {
    this.app = app;
    this.title = element('h2', {});
    this.canvas = element('canvas', { role: 'img' });
    this.box = element('section', { className: 'chart' }, this.title, this.canvas);
    const scrub = (event) => {
      const area = this.canvas.getBoundingClientRect(), { left, right } = this.area;
      const share = (event.clientX - area.left - left) / (right - left), { steps } = app.state;
      app.change({ step: Math.round(Math.max(0, Math.min(1, share)) * steps) }, { moving: true });
    };
    this.canvas.addEventListener('pointerdown', (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      scrub(event);
      this.canvas.addEventListener('pointermove', scrub);
      this.canvas.addEventListener('lostpointercapture', () => {
        this.canvas.removeEventListener('pointermove', scrub);
        app.settle();
      }, { once: true });
    });
  }

  render() {
    const { app } = this, width = this.box.clientWidth, height = Math.min(230, Math.round(width * 0.62));
    if (!width) return;
    const { pen } = fitCanvas(this.canvas, width, height), { colors, state } = app;
    const shown = app.visible(), known = shown.every(({ facts }) => facts.minimum !== null);
    const lines = shown.flatMap((one) => [
      ...(one.pinned && known ? [{ ...one, values: one.pinned.gap, dotted: true }] : []),
      { ...one, values: known ? one.facts.gap : one.facts.run.loss, dotted: false },
    ]);
    setText(this.title, known ? 'gap to the minimum' : 'loss');
    pen.clearRect(0, 0, width, height);
    const scale = known ? logScale(lines) : linearScale(lines);
    pen.font = BOLD;
    const names = Math.max(...shown.map((one) => pen.measureText(one.short).width));
    const box = { left: 40, right: width - names - 14, top: 8, bottom: height - 24 };
    this.area = box;
    const X = (k) => box.left + (k / state.steps) * (box.right - box.left);
    const Y = (v) => box.bottom - scale.share(v) * (box.bottom - box.top);
    const steps = ticksOf(0, state.steps, 4).filter(Number.isInteger);
    drawAxes(pen, box, steps, scale.ticks, X, (t) => box.bottom - scale.place(t) * (box.bottom - box.top), (k) => k.toLocaleString('en'), scale.text, colors);
    this.lines(pen, lines, X, Y, box);
    const at = X(stepOf(state));
    Object.assign(pen, { strokeStyle: colors.ink, lineWidth: 1, globalAlpha: 0.5 });
    pen.beginPath();
    pen.moveTo(at, box.top);
    pen.lineTo(at, box.bottom);
    pen.stroke();
    pen.globalAlpha = 1;
    this.names(pen, shown, known, Y, box);
  }

  lines(pen, lines, X, Y, box) {
    const { app } = this, { colors, state } = app;
    pen.save();
    pen.beginPath();
    pen.rect(box.left, 0, box.right - box.left + 4, box.bottom);
    pen.clip();
    pen.lineJoin = 'round';
    for (const { values, dotted, color, index } of lines) {
      pen.beginPath();
      for (let k = 0; k < values.length; k++) {
        const y = Number.isFinite(values[k]) ? Y(values[k]) : -50;
        if (k) pen.lineTo(X(k), y);
        else pen.moveTo(X(k), y);
        if (!Number.isFinite(values[k])) break;
      }
      Object.assign(pen, { strokeStyle: colors.of[color], lineWidth: dotted ? 1.4 : index === state.panel ? 2.3 : 1.6, globalAlpha: dotted ? 0.6 : 1 });
      pen.setLineDash(dotted ? [1, 4] : []);
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    for (const { facts, dotted, values, color } of lines) {
      if (dotted || facts.minimum === null || !(facts.arrival.step >= 0)) continue;
      pen.beginPath();
      pen.arc(X(facts.arrival.step), Y(values[facts.arrival.step]), 3.6, 0, 7);
      Object.assign(pen, { fillStyle: colors.ground, strokeStyle: colors.of[color], lineWidth: 2 });
      pen.fill();
      pen.stroke();
    }
    pen.restore();
  }

  // names at the ends of the curves, pushed apart until none covers another
  names(pen, shown, known, Y, box) {
    const { colors } = this.app, places = shown.map((one) => {
      const values = known ? one.facts.gap : one.facts.run.loss, end = values[values.length - 1];
      return { one, y: Math.max(box.top + 4, Math.min(box.bottom - 4, Number.isFinite(end) ? Y(end) : box.top)) };
    });
    places.sort((a, b) => a.y - b.y);
    for (let k = 1; k < places.length; k++) places[k].y = Math.max(places[k].y, places[k - 1].y + 15);
    const over = places.length ? Math.max(0, places[places.length - 1].y - box.bottom) : 0;
    for (let k = places.length - 1, limit = Infinity; k >= 0; k--) {
      places[k].y = Math.min(places[k].y - (k === places.length - 1 ? over : 0), limit);
      limit = places[k].y - 15;
    }
    for (const { one, y } of places) writeText(pen, one.short, box.right + 8, y, { color: colors.of[one.color], ground: colors.ground, font: BOLD });
  }

  say() {
    const said = this.app.visible().map(({ label, facts }) => `${label} ${facts.minimum === null ? '' : facts.arrival.outcome}`);
    this.canvas.setAttribute('aria-label', `${this.title.textContent} over the steps: ${said.join(', ')}`);
  }
}

function logScale(lines) {
  let low = Infinity, high = 0, start = 0;
  for (const { values } of lines) {
    start = Math.max(start, values[0]);
    for (const value of values) {
      if (!(value > 0) || !Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (!(high > 0)) [low, high, start] = [0.1, 1, 1];
  const top = Math.log10(Math.min(high, Math.max(start, Number.MIN_VALUE) * OVER)), bottom = Math.max(Math.floor(Math.log10(low)), Math.log10(start * DEPTH));
  const upper = Math.max(top + 0.05, bottom + 1), place = (t) => (t - bottom) / (upper - bottom), every = Math.max(1, Math.ceil((upper - bottom) / 5));
  const ticks = [];
  for (let power = Math.ceil(bottom); power <= upper; power++) if (power % every === 0) ticks.push(power);
  return { share: (value) => (value > 0 ? Math.max(-0.1, place(Math.log10(value))) : -0.1), place, ticks, text: decadeText };
}

function linearScale(lines) {
  const all = lines.flatMap(({ values }) => [...values].filter((each) => Math.abs(each) < 1e12)), first = lines[0].values[0];
  let low = Math.min(...all), high = Math.max(...all);
  const reach = Math.max(1, Math.abs(first)) * OVER;
  [low, high] = [Math.max(low, first - reach), Math.min(high, first + reach)];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const place = (t) => (t - low) / (high - low);
  return { share: place, place, ticks: ticksOf(low, high, 4), text: tickText };
}

// ---- the fit ---------------------------------------------------------------------------------------------------------------

export class Fit {
  constructor(app) {
    this.app = app;
    this.title = element('h2', {});
    this.canvas = element('canvas', { role: 'img', className: 'fit' });
    this.hint = element('p', { className: 'hint' });
    this.open = element('button', { type: 'button', className: 'text', onclick: () => app.editPoints() }, 'edit points …');
    this.box = element('section', { className: 'chart' }, element('div', { className: 'row' }, this.title, this.open), this.canvas);
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
    canvas.addEventListener('pointerdown', (event) => {
      const { best } = nearest(event);
      if (best < 0) return;
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
      this.frozen = this.range;
      const move = (at) => {
        const { x, y } = nearest(at);
        app.changePoints((inputs, targets) => [inputs.with(best, x), targets.with(best, y)], { moving: true });
      };
      canvas.addEventListener('pointermove', move);
      canvas.addEventListener('lostpointercapture', () => {
        canvas.removeEventListener('pointermove', move);
        this.frozen = null;
        app.settle();
      }, { once: true });
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
    this.box.hidden = !data;
    const width = this.box.clientWidth, height = Math.min(220, Math.round(width * 0.58));
    if (!data || !width) return;
    const { pen } = fitCanvas(this.canvas, width, height), { colors, state } = app, step = stepOf(state);
    setText(this.title, `fit at step ${step.toLocaleString('en')}`);
    pen.clearRect(0, 0, width, height);
    this.range = this.frozen ?? rangeOf(data);
    const { x0, x1, y0, y1 } = this.range, box = { left: 40, right: width - 8, top: 6, bottom: height - 24 };
    this.X = (x) => box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left);
    this.Y = (y) => box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top);
    this.backX = (px) => x0 + ((px - box.left) / (box.right - box.left)) * (x1 - x0);
    this.backY = (py) => y0 + ((box.bottom - py) / (box.bottom - box.top)) * (y1 - y0);
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
    pen.globalAlpha = 1;
    for (const { facts, color, index } of app.visible()) {
      const { position } = facts.run, k = Math.min(step, facts.taken), w = position[2 * k], b = position[2 * k + 1];
      if (!Number.isFinite(w + b)) continue;
      pen.beginPath();
      pen.moveTo(this.X(x0), this.Y(w * x0 + b));
      pen.lineTo(this.X(x1), this.Y(w * x1 + b));
      Object.assign(pen, { strokeStyle: colors.of[color], lineWidth: index === state.panel ? 2.6 : 1.7 });
      pen.stroke();
    }
    pen.restore();
  }

  say() {
    const data = this.app.points();
    if (!data) return;
    this.canvas.setAttribute('aria-label', `${data.inputs.length} points and the fitted lines. “edit points” takes them as numbers`);
    this.canvas.title = 'drag a point; double-click adds one or takes one away';
  }
}

function rangeOf({ inputs, targets }) {
  const spread = (values, share) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const pad = (high - low || Math.abs(low) || 1) * share;
    return [low - pad, high + pad];
  };
  const [x0, x1] = spread(inputs, 0.07), [y0, y1] = spread(targets, 0.12);
  return { x0, x1, y0, y1 };
}
