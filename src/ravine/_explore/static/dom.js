// Elements, canvases at the screen's own resolution, and labels that find room.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role' || name === 'for' || name === 'style') made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A canvas with the size of its box, in real pixels; returns its pen in CSS pixels, and whether the size is new.
export function fitCanvas(canvas, width, height) {
  const scale = Math.min(3, globalThis.devicePixelRatio || 1);
  const w = Math.max(1, Math.round(width * scale)), h = Math.max(1, Math.round(height * scale));
  const changed = canvas.width !== w || canvas.height !== h;
  if (changed) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  return { pen, changed, width, height };
}

const NAMES = ['ink', 'quiet', 'ground', 'raised', 'line', 'hair', 'accent', 'blue', 'over', 'c0', 'c1', 'c2', 'c3'];

export function readColors(root) {
  const style = getComputedStyle(root), colors = { dark: style.getPropertyValue('--dark').trim() === '1' };
  for (const name of NAMES) colors[name] = style.getPropertyValue(`--${name}`).trim();
  colors.of = [colors.c0, colors.c1, colors.c2, colors.c3];
  return colors;
}

export const FONT = '12px system-ui, "Segoe UI", Roboto, sans-serif';
export const BOLD = `600 ${FONT}`;

// Text with a seam of the ground's colour, so that it can be read over lines.
export function writeText(pen, text, x, y, { color, ground, align = 'left', font = FONT }) {
  pen.font = font;
  pen.textAlign = align;
  pen.textBaseline = 'middle';
  pen.lineJoin = 'round';
  pen.lineWidth = 3.5;
  pen.strokeStyle = ground;
  pen.strokeText(text, x, y);
  pen.fillStyle = color;
  pen.fillText(text, x, y);
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

// Places for labels: each takes the candidate that covers no other label, and the least of the path.
export class Room {
  constructor(width, height, crowd = []) {
    this.width = width;
    this.height = height;
    this.taken = [];
    this.crowd = crowd;
  }

  block(x, y, width, height) {
    this.taken.push([x, y, width, height]);
  }

  // Writes the text beside a spot; returns whether there was room.
  label(pen, text, x, y, style, distance = 12) {
    pen.font = style.font ?? FONT;
    const width = pen.measureText(text).width, height = 15;
    let best = null;
    for (const [dx, dy] of [[1, -0.6], [-1, -0.6], [1, 0.8], [-1, 0.8], [0, -1.3], [0, 1.3], [1.8, 0], [-1.8, 0], [1.5, -1.8], [-1.5, -1.8], [1.5, 1.9], [-1.5, 1.9]]) {
      const left = x + dx * distance - (dx < 0 ? width : dx === 0 ? width / 2 : 0), top = y + dy * distance - height / 2;
      if (left < 3 || top < 2 || left + width > this.width - 3 || top + height > this.height - 2) continue;
      if (this.taken.some(([a, b, c, d]) => left < a + c + 2 && a < left + width + 2 && top < b + d && b < top + height)) continue;
      const cost = this.crowd.reduce((sum, [a, b]) => sum + (a > left && a < left + width && b > top && b < top + height), 0);
      if (best === null || cost < best.cost) best = { cost, left, top };
      if (cost === 0) break;
    }
    if (!best) return false;
    writeText(pen, text, best.left, best.top + height / 2, { ...style, align: 'left' });
    this.block(best.left, best.top, width, height);
    return true;
  }
}

// Round numbers on an axis, about so many.
export function ticksOf(low, high, count = 4) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

export const tickText = (value) => String(Number(value.toPrecision(6))).replace('-', '−');
