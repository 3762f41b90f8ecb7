// Axes of a chart, and scales that leave nothing out of sight but what runs away.

import { FONT, tickText, ticksOf, wholesIn } from './dom.js';

const DEPTH = 1e-14, OVER = 30;

export function drawAxes(pen, box, xs, ys, X, Y, textOfX, textOfY, colors) {
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

export function logScale(lines) {
  let low = Infinity, high = 0, start = 0;
  for (const { values } of lines) {
    if (Number.isFinite(values[0])) start = Math.max(start, values[0]);
    for (const value of values) {
      if (!(value > 0) || !Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (!(high > 0)) [low, high, start] = [0.1, 1, 1];
  const top = Math.log10(Math.min(high, Math.max(start, Number.MIN_VALUE) * OVER)), bottom = Math.max(Math.floor(Math.log10(low)), Math.log10(start * DEPTH));
  const upper = Math.max(top + 0.05, bottom + 1), place = (t) => (t - bottom) / (upper - bottom), every = Math.max(1, Math.ceil((upper - bottom) / 5));
  const ticks = wholesIn(bottom, upper).filter((power) => power % every === 0);
  return { share: (value) => (value > 0 ? Math.max(-0.1, place(Math.log10(value))) : -0.1), place, ticks, text: decadeText };
}

export function linearScale(lines) {
  const all = lines.flatMap(({ values }) => [...values].filter((each) => Math.abs(each) < 1e12)), first = lines[0].values[0];
  let low = Math.min(...all), high = Math.max(...all);
  const reach = Math.max(1, Math.abs(first)) * OVER;
  [low, high] = [Math.max(low, first - reach), Math.min(high, first + reach)];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const place = (t) => (t - low) / (high - low);
  return { share: place, place, ticks: ticksOf(low, high, 4), text: tickText };
}
