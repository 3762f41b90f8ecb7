// The ground of a map: what is really minimised over a grid, as bands that are even in the logarithm of the gap.

import { chooseLevels, chooseNumbers, findRings } from './contours.js';
import { FONT, tickText, ticksOf } from './dom.js';
import { number } from './format.js';
import { Room } from './room.js';
import { widthOf } from './sheet.js';

const FINE = 101, DRAFT = 51, CORNER = 5, SMALL = FONT.replace('12px', '11px');
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

// Draws bands, thin rings, and rings with numbers; knows no run, and returns where something is written. Without a grid
// the ground is plain.
export function drawGround(pen, view, grid, { decay, bottom, colors, axes, avoid }) {
  const { width, height } = view, ramp = RAMPS[colors.dark ? 'dark' : 'light'], room = new Room(width, height);
  pen.fillStyle = ramp[ramp.length - 1];
  pen.fillRect(0, 0, width, height);
  const minimised = grid && addDecay(grid, decay), scaled = (level) => scaleRings(findRings(minimised, grid.nx, grid.ny, level), grid, width, height);
  const levels = grid ? chooseLevels(minimised, bottom) : [];
  for (let k = levels.length - 1; k >= 0; k--) {
    const rings = makeLine(scaled(levels[k]));
    pen.fillStyle = mix(ramp, k / levels.length);
    pen.fill(rings, 'evenodd');
    pen.lineWidth = 0.8;
    pen.strokeStyle = colors.dark ? 'rgba(140,180,210,.16)' : 'rgba(255,255,255,.75)';
    pen.stroke(rings);
  }
  const said = writeAxes(pen, view, axes, colors, room);
  for (const value of grid ? chooseNumbers(minimised, bottom) : []) {
    const rings = scaled(value), text = number(value), spot = findSpot(rings, text, { width, height, room, avoid });
    Object.assign(pen, { lineWidth: 1, strokeStyle: colors.dark ? 'rgba(150,195,225,.75)' : 'rgba(70,100,130,.75)' });
    pen.stroke(makeLine(rings, spot));
    if (spot) writeTurned(pen, text, spot, colors.dark ? '#a9c8de' : '#45627d');
  }
  said();
  roundCorners(pen, width, height, colors.ground);
  return room.taken;
}

function addDecay({ values, squares }, decay) {
  if (!decay) return values;
  const sum = new Float64Array(values.length);
  for (let k = 0; k < sum.length; k++) sum[k] = values[k] + (decay / 2) * squares[k];
  return sum;
}

// rings in units of the grid, as places on the canvas
function scaleRings(rings, { nx, ny }, width, height) {
  const across = width / (nx - 1), up = height / (ny - 1);
  for (const ring of rings) for (let k = 0; k < ring.length; k += 2) {
    ring[k] *= across;
    ring[k + 1] = height - ring[k + 1] * up;
  }
  return rings;
}

// All rings as one line; the one that carries a number is open where it stands.
function makeLine(rings, spot = null) {
  const line = new Path2D();
  for (const ring of rings) {
    if (ring === spot?.ring) {
      openRing(line, spot);
      continue;
    }
    line.moveTo(ring[0], ring[1]);
    for (let k = 2; k < ring.length; k += 2) line.lineTo(ring[k], ring[k + 1]);
    line.closePath();
  }
  return line;
}

function openRing(line, { ring, place, x, y, wide }) {
  const many = ring.length, at = (k) => [ring[(place + k + many) % many], ring[(place + k + many) % many + 1]];
  const beyond = ([a, b]) => Math.hypot(a - x, b - y) - wide / 2;
  const cut = (inside, outside) => {
    const share = beyond(inside) / (beyond(inside) - beyond(outside));
    return inside.map((each, j) => each + share * (outside[j] - each));
  };
  let first = 2, last = many - 2;
  while (first < many && beyond(at(first)) <= 0) first += 2;
  while (last > first && beyond(at(last)) <= 0) last -= 2;
  if (first >= last) return;
  line.moveTo(...cut(at(first - 2), at(first)));
  for (let k = first; k <= last; k += 2) line.lineTo(...at(k));
  line.lineTo(...cut(at(last + 2), at(last)));
}

// where a ring has room for its number: far from where the path begins, from the border and from other numbers
function findSpot(rings, text, { width, height, room, avoid }) {
  const ring = rings.reduce((best, each) => (best && best.length >= each.length ? best : each), null);
  if (!ring || ring.length < 24) return null;
  const wide = widthOf(text, SMALL) + 8, places = [], many = ring.length;
  for (let k = 0; k < 24; k++) {
    const place = 2 * Math.floor((k * many) / 48), before = (place - 4 + many) % many, after = (place + 4) % many, x = ring[place], y = ring[place + 1];
    const across = ring[after] - ring[before], down = ring[after + 1] - ring[before + 1];
    const angle = Math.atan2(down, across), turned = [Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle))];
    const w = wide * turned[0] + 14 * turned[1], h = wide * turned[1] + 14 * turned[0];
    if (Math.hypot(across, down) < 6 || x < w / 2 + 4 || y < h / 2 + 4 || x > width - w / 2 - 4 || y > height - h / 2 - 4) continue;
    places.push({ ring, place, x, y, w, h, wide, angle: Math.abs(angle) > Math.PI / 2 ? angle + Math.PI : angle, away: Math.hypot(x - avoid[0], y - avoid[1]) });
  }
  places.sort((one, other) => other.away - one.away);
  const clear = ({ x, y, w, h }) => room.taken.every(([p, q, r, s]) => x - w / 2 >= p + r || p >= x + w / 2 || y - h / 2 >= q + s || q >= y + h / 2);
  const best = places.find(clear) ?? null;
  if (best) room.block(best.x - best.w / 2, best.y - best.h / 2, best.w, best.h);
  return best;
}

// in the picture itself, because to cut a canvas with a style costs the browser more than to paint it
function roundCorners(pen, width, height, color) {
  const corners = new Path2D();
  corners.rect(0, 0, width, height);
  corners.roundRect(0, 0, width, height, CORNER);
  pen.fillStyle = color;
  pen.fill(corners, 'evenodd');
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
  for (const [text, x, y, align] of marks) {
    const wide = widthOf(text);
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
