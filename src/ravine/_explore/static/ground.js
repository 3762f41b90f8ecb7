// The ground of a map: what is really minimised over a grid, as bands that are even in the logarithm of the gap.

import { chooseLevels, chooseNumbers, findRings } from './contours.js';
import { FONT, Room, tickText, ticksOf } from './dom.js';
import { number } from './format.js';

const FINE = 101, DRAFT = 51, SMALL = FONT.replace('12px', '11px');
const RAMPS = {
  light: ['#2c5f8f', '#79a5cb', '#b7d1e6', '#dde9f3', '#f4f8fb'],
  dark: ['#5fa9dc', '#3a78a6', '#235375', '#173448', '#111c26'],
};

// What is seen: the ranges widened so that a unit is as long on both axes, unless one would be lost.
export function makeView({ x: [x0, x1], y: [y0, y1] }, width, height) {
  let dx = x1 - x0, dy = y1 - y0;
  const ratio = dx / width / (dy / height);
  if (ratio > 1 / 4 && ratio < 4) {
    if (ratio > 1) dy *= ratio;
    else dx /= ratio;
  }
  const cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
  return { x0: cx - dx / 2, x1: cx + dx / 2, y0: cy - dy / 2, y1: cy + dy / 2, width, height };
}

export const toX = (view, x) => ((x - view.x0) / (view.x1 - view.x0)) * view.width;
export const toY = (view, y) => view.height - ((y - view.y0) / (view.y1 - view.y0)) * view.height;
export const fromX = (view, px) => view.x0 + (px / view.width) * (view.x1 - view.x0);
export const fromY = (view, py) => view.y0 + ((view.height - py) / view.height) * (view.y1 - view.y0);

// The loss over a grid; `swap` says that the first parameter is the vertical one.
export function evaluateGrid(evaluate, view, swap, draft) {
  const nx = draft ? DRAFT : FINE, ny = Math.max(11, Math.round((nx * view.height) / view.width));
  const values = new Float64Array(nx * ny), squares = new Float64Array(nx * ny);
  for (let j = 0; j < ny; j++) {
    const y = view.y0 + ((view.y1 - view.y0) * j) / (ny - 1);
    for (let i = 0; i < nx; i++) {
      const x = view.x0 + ((view.x1 - view.x0) * i) / (nx - 1);
      values[j * nx + i] = (swap ? evaluate(y, x, false) : evaluate(x, y, false)).loss;
      squares[j * nx + i] = x * x + y * y;
    }
  }
  return { nx, ny, values, squares };
}

// Draws bands, thin rings, and rings with numbers; returns nothing and knows no run.
export function drawGround(pen, view, grid, { decay, bottom, colors, axes, avoid }) {
  const { nx, ny, values, squares } = grid, { width, height } = view;
  const minimised = decay ? values.map((value, k) => value + (decay / 2) * squares[k]) : values;
  const levels = chooseLevels(minimised, bottom), ramp = RAMPS[colors.dark ? 'dark' : 'light'];
  pen.fillStyle = ramp[ramp.length - 1];
  pen.fillRect(0, 0, width, height);
  const trace = (level) => {
    pen.beginPath();
    const rings = findRings(minimised, nx, ny, level);
    for (const ring of rings) {
      for (let k = 0; k < ring.length; k += 2) {
        const x = (ring[k] / (nx - 1)) * width, y = height - (ring[k + 1] / (ny - 1)) * height;
        if (k) pen.lineTo(x, y);
        else pen.moveTo(x, y);
      }
      pen.closePath();
    }
    return rings;
  };
  for (let k = levels.length - 1; k >= 0; k--) {
    trace(levels[k]);
    pen.fillStyle = mix(ramp, k / levels.length);
    pen.fill('evenodd');
    pen.lineWidth = 0.8;
    pen.strokeStyle = colors.dark ? 'rgba(140,180,210,.16)' : 'rgba(255,255,255,.75)';
    pen.stroke();
  }
  const room = new Room(width, height), color = colors.dark ? 'rgba(150,195,225,.75)' : 'rgba(70,100,130,.75)';
  const said = writeAxes(pen, view, axes, colors, room);
  for (const value of chooseNumbers(minimised, bottom)) {
    const rings = trace(value), text = number(value), spot = findSpot(pen, rings, text, { nx, ny, width, height, room, avoid });
    pen.save();
    if (spot) leaveOut(pen, spot, width, height);
    trace(value);
    Object.assign(pen, { lineWidth: 1, strokeStyle: color });
    pen.stroke();
    pen.restore();
    if (spot) writeTurned(pen, text, spot, colors.dark ? '#a9c8de' : '#45627d');
  }
  said();
}

// where a ring has room for its number: far from where the path begins, from the border and from other numbers
function findSpot(pen, rings, text, { nx, ny, width, height, room, avoid }) {
  const ring = rings.reduce((best, each) => (best && best.length >= each.length ? best : each), null);
  if (!ring || ring.length < 24) return null;
  pen.font = SMALL;
  const wide = pen.measureText(text).width + 8, places = [];
  const at = (k) => {
    const m = ((k % ring.length) + ring.length) % ring.length;
    return [(ring[m] / (nx - 1)) * width, height - (ring[m + 1] / (ny - 1)) * height];
  };
  for (let k = 0; k < 24; k++) {
    const place = 2 * Math.floor((k * ring.length) / 48), [x, y] = at(place), [a, b] = at(place - 4), [c, d] = at(place + 4);
    const angle = Math.atan2(d - b, c - a), turned = [Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle))];
    const w = wide * turned[0] + 14 * turned[1], h = wide * turned[1] + 14 * turned[0];
    if (Math.hypot(c - a, d - b) < 6 || x < w / 2 + 4 || y < h / 2 + 4 || x > width - w / 2 - 4 || y > height - h / 2 - 4) continue;
    places.push({ x, y, w, h, wide, angle: Math.abs(angle) > Math.PI / 2 ? angle + Math.PI : angle, away: Math.hypot(x - avoid[0], y - avoid[1]) });
  }
  places.sort((one, other) => other.away - one.away);
  const clear = ({ x, y, w, h }) => room.taken.every(([p, q, r, s]) => x - w / 2 >= p + r || p >= x + w / 2 || y - h / 2 >= q + s || q >= y + h / 2);
  const best = places.find(clear) ?? null;
  if (best) room.block(best.x - best.w / 2, best.y - best.h / 2, best.w, best.h);
  return best;
}

// keeps the pen out of a turned box
function leaveOut(pen, { x, y, wide, angle }, width, height) {
  const c = Math.cos(angle), s = Math.sin(angle), a = wide / 2, b = 7;
  pen.beginPath();
  pen.rect(0, 0, width, height);
  for (const [dx, dy] of [[-a, -b], [a, -b], [a, b], [-a, b]]) {
    if (dx === -a && dy === -b) pen.moveTo(x + dx * c - dy * s, y + dx * s + dy * c);
    else pen.lineTo(x + dx * c - dy * s, y + dx * s + dy * c);
  }
  pen.closePath();
  pen.clip('evenodd');
}

function writeTurned(pen, text, { x, y, angle }, color) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(angle);
  Object.assign(pen, { font: SMALL, textAlign: 'center', textBaseline: 'middle', fillStyle: color });
  pen.fillText(text, 0, 0);
  pen.restore();
}

// Numbers along two edges and the parameters' names, inside the map; reserves their room and writes them when called.
function writeAxes(pen, view, [horizontal, vertical], colors, room) {
  const marks = [], { width, height } = view;
  for (const value of ticksOf(view.x0, view.x1, width / 75)) {
    const x = toX(view, value);
    if (x > 40 && x < width - 60) marks.push([tickText(value), x, height - 10, 'center']);
  }
  for (const value of ticksOf(view.y0, view.y1, height / 65)) {
    const y = toY(view, value);
    if (y > 34 && y < height - 24) marks.push([tickText(value), 5, y, 'left']);
  }
  marks.push([`${horizontal} →`, width - 6, height - 10, 'right'], [`${vertical} ↑`, 5, 12, 'left']);
  pen.font = FONT;
  for (const [text, x, y, align] of marks) {
    const wide = pen.measureText(text).width;
    room.block(x - (align === 'right' ? wide : align === 'center' ? wide / 2 : 0), y - 8, wide, 16);
  }
  return () => {
    pen.font = FONT;
    pen.textBaseline = 'middle';
    pen.fillStyle = colors.quiet;
    for (const [text, x, y, align] of marks) {
      pen.textAlign = align;
      pen.fillText(text, x, y);
    }
  };
}

function mix(ramp, share) {
  const at = Math.min(0.9999, Math.max(0, share)) * (ramp.length - 1), k = Math.floor(at), part = at - k;
  const parse = (color) => [1, 3, 5].map((from) => Number.parseInt(color.slice(from, from + 2), 16));
  const one = parse(ramp[k]), other = parse(ramp[k + 1]);
  return `rgb(${one.map((value, j) => Math.round(value + (other[j] - value) * part)).join()})`;
}
