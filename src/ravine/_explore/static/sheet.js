// Canvases at the screen's own resolution, and what is written and drawn on them.

import { FONT, element } from './dom.js';

// as fine as what is drawn must be at least: a picture is finer than most screens
let sharp = 1;

export function sharpen(scale) {
  sharp = scale;
}

// An opaque canvas, which the browser need not blend with what lies under it, and a second one that is kept: on it stands
// what stays while a hand moves.
export class Sheet {
  constructor(properties) {
    this.canvas = element('canvas', { role: 'img', ...properties });
    this.pen = this.canvas.getContext('2d', { alpha: false });
    this.still = element('canvas');
    this.stillPen = this.still.getContext('2d', { alpha: false });
    this.grain = 0;
  }

  // Takes a size in CSS pixels; returns whether it is new, and so the sheet empty.
  fit(width, height) {
    const scale = Math.min(3, Math.max(sharp, globalThis.devicePixelRatio || 1)), w = Math.max(1, Math.round(width * scale)), h = Math.max(1, Math.round(height * scale));
    if (this.canvas.width === w && this.canvas.height === h && this.scale === scale) return false;
    Object.assign(this, { scale, width, height, grain: 0.25 / scale });
    for (const [canvas, pen] of [[this.canvas, this.pen], [this.still, this.stillPen]]) {
      canvas.width = w;
      canvas.height = h;
      pen.setTransform(scale, 0, 0, scale, 0, 0);
    }
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    return true;
  }

  // Begins a picture with what is kept.
  lay() {
    const { pen, still, scale } = this;
    pen.drawImage(still, 0, 0, still.width / scale, still.height / scale);
    return pen;
  }
}

const MOST_KEPT = 200, SEAM = 3.5;
const widths = new Map(), stamps = new Map();
let ruler = null;

// What is kept, or made; one that grew too large begins anew.
function take(kept, key, make) {
  let found = kept.get(key);
  if (found !== undefined) return found;
  if (kept.size >= MOST_KEPT) kept.clear();
  found = make();
  kept.set(key, found);
  return found;
}

// How wide a text is in CSS pixels: asked for once, as a font set on a canvas has the browser bring all styles up to date.
export function widthOf(text, font = FONT) {
  return take(widths, `${font} ${text}`, () => {
    ruler ??= element('canvas').getContext('2d');
    ruler.font = font;
    return ruler.measureText(text).width;
  });
}

// Text with a seam of the ground's colour, so that it can be read over lines; drawn once and stamped from then on.
export function writeText(pen, text, x, y, { color, ground, align = 'left', font = FONT }) {
  const scale = pen.getTransform().a, wide = widthOf(text, font), stamp = take(stamps, [scale, font, color, ground, text].join(), () => makeStamp(text, wide, scale, { color, ground, font }));
  const left = x - (align === 'right' ? wide : align === 'center' ? wide / 2 : 0) - SEAM, top = y - stamp.height / scale / 2;
  // on whole pixels of the screen, where it stays sharp
  pen.drawImage(stamp, Math.round(left * scale) / scale, Math.round(top * scale) / scale, stamp.width / scale, stamp.height / scale);
}

function makeStamp(text, wide, scale, { color, ground, font }) {
  const canvas = element('canvas', { width: Math.ceil((wide + 2 * SEAM) * scale), height: 2 * Math.ceil(11 * scale) }), pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  Object.assign(pen, { font, textBaseline: 'middle', lineJoin: 'round', lineWidth: SEAM, strokeStyle: ground, fillStyle: color });
  pen.strokeText(text, SEAM, canvas.height / scale / 2);
  pen.fillText(text, SEAM, canvas.height / scale / 2);
  return canvas;
}

export function drawArrow(pen, [x0, y0], [x1, y1], color) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  if (!Number.isFinite(length) || length < 3) return;
  const angle = Math.atan2(y1 - y0, x1 - x0), head = Math.min(9, length * 0.6);
  Object.assign(pen, { strokeStyle: color, fillStyle: color, lineWidth: 2.2 });
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1 - head * 0.7 * Math.cos(angle), y1 - head * 0.7 * Math.sin(angle));
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x1, y1);
  for (const side of [-0.42, 0.42]) pen.lineTo(x1 - head * Math.cos(angle + side), y1 - head * Math.sin(angle + side));
  pen.fill();
}
