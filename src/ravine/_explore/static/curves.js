// The gap of every panel over the steps, with arrivals and the step marked; a drag along it scrubs.

import { drawAxes, linearScale, logScale } from './axes.js';
import { BOLD, element, followWidth, setAttribute, setText, ticksOf } from './dom.js';
import { followPointer } from './hands.js';
import { Sheet, widthOf, writeText } from './sheet.js';
import { stepOf } from './state.js';

export class Curves {
  constructor(app) {
    this.app = app;
    this.title = element('h2', {});
    this.sheet = new Sheet();
    this.canvas = this.sheet.canvas;
    this.box = element('section', { className: 'chart' }, this.title, this.canvas);
    followWidth(this, this.box, () => app.paint());
    const scrub = (event) => {
      const area = this.canvas.getBoundingClientRect(), { left, right } = this.area;
      const share = (event.clientX - area.left - left) / (right - left), { steps } = app.state;
      app.change({ step: Math.round(Math.max(0, Math.min(1, share)) * steps) }, { moving: true });
    };
    followPointer(this.canvas, (event) => {
      scrub(event);
      return scrub;
    }, () => app.settle());
  }

  render() {
    const { app, width, sheet } = this, height = Math.min(230, Math.round(width * 0.62)), { colors, state } = app;
    if (!width) return;
    const fresh = sheet.fit(width, height);
    const shown = app.visible(), known = shown.every(({ facts }) => facts.minimum !== null);
    const lines = shown.flatMap((one) => [
      ...(one.pinned && known ? [{ ...one, values: one.pinned.gap, dotted: true }] : []),
      { ...one, values: known ? one.facts.gap : one.facts.run.loss, dotted: false },
    ]);
    setText(this.title, known ? 'gap to the minimum' : 'loss');
    const scale = known ? logScale(lines) : linearScale(lines), names = Math.max(...shown.map((one) => widthOf(one.short, BOLD)));
    const box = { left: 40, right: width - names - 14, top: 8, bottom: height - 24 };
    this.area = box;
    const X = (k) => box.left + (k / state.steps) * (box.right - box.left);
    const Y = (v) => box.bottom - scale.share(v) * (box.bottom - box.top);
    const place = (t) => box.bottom - scale.place(t) * (box.bottom - box.top);
    this.drawAxes(fresh, box, scale, X, place);
    const pen = sheet.lay();
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

  // the axes stay while the curves move between them
  drawAxes(fresh, box, scale, X, place) {
    const { app: { colors, state: { steps } }, sheet: { stillPen: pen, width, height } } = this, { ticks } = scale;
    const drawn = [steps, box.right, colors.ground, ...ticks.flatMap((tick) => [tick, place(tick)])].join();
    if (!fresh && this.drawn === drawn) return;
    this.drawn = drawn;
    pen.fillStyle = colors.ground;
    pen.fillRect(0, 0, width, height);
    drawAxes(pen, box, ticksOf(0, steps, 4).filter(Number.isInteger), ticks, X, place, (k) => k.toLocaleString('en'), scale.text, colors);
  }

  lines(pen, lines, X, Y, box) {
    const { app } = this, { colors, state } = app;
    pen.save();
    pen.beginPath();
    pen.rect(box.left, 0, box.right - box.left + 4, box.bottom);
    pen.clip();
    pen.lineJoin = 'bevel';
    for (const { values, dotted, color, index } of lines) {
      pen.beginPath();
      trace(pen, values, X, Y, this.sheet.scale);
      // one pixel wide a line is drawn ten times as fast as a wider one
      Object.assign(pen, { strokeStyle: colors.of[color], lineWidth: dotted ? 1.4 : index === state.panel ? 2.3 : 1, globalAlpha: dotted ? 0.6 : 1 });
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
    setAttribute(this.canvas, 'aria-label', `${this.title.textContent} over the steps: ${said.join(', ')}`);
  }
}

// A curve up to where it is not finite. Of many steps in one column of pixels the first, lowest, highest and last are
// drawn: all that the column can show of them.
function trace(pen, values, X, Y, scale) {
  const every = Math.max(1, Math.floor(1 / (scale * (X(1) - X(0))))), point = (k) => pen.lineTo(X(k), Y(values[k]));
  let whole = 0;
  while (whole < values.length && Number.isFinite(values[whole])) whole++;
  for (let from = 0; from < whole; from += every) {
    const to = Math.min(whole, from + every);
    let low = from, high = from;
    for (let k = from + 1; k < to; k++) {
      if (values[k] < values[low]) low = k;
      if (values[k] > values[high]) high = k;
    }
    if (every < 5) for (let k = from; k < to; k++) point(k);
    else for (const k of [from, Math.min(low, high), Math.max(low, high), to - 1]) point(k);
  }
  if (whole < values.length) pen.lineTo(X(whole), -50);
}
