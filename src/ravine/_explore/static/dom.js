// Elements, what is written into them, and numbers along an axis.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role' || name === 'for' || name === 'style') made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Each writes only what is another: what is written has the browser lay out and paint again.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Text that may be cut short where it stands: whole under the pointer.
export function setWhole(node, text) {
  setText(node, text);
  setProperty(node, 'title', text);
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function setStyle(node, name, value) {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

export function setProperty(node, name, value) {
  if (node[name] !== value) node[name] = value;
}

// Keeps a view's `width` that of its box, in whole pixels, and its `shape`, height over width, which the style chooses for
// maps: asked for in a frame, they would have the browser lay out twice.
export function followWidth(view, box, paint) {
  view.width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.floor(contentRect.width), shape = Number((contentRect.height / contentRect.width).toFixed(2));
    if (width === view.width && shape === view.shape) return;
    Object.assign(view, { width, shape });
    paint();
  }).observe(box);
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

// Round numbers on an axis, about so many; none where the ends are not finite, or no number lies between them.
export function ticksOf(low, high, count = 4) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= raw * 0.999);
  return [...new Set(wholesIn(low / step - 1e-9, high / step + 1e-9).map((k) => Number((k * step).toPrecision(12))))];
}

const MOST = 1000;

// The whole numbers from one to another: counted, because k++ stands still beyond 2 ** 53, and at infinity.
export function wholesIn(low, high) {
  const first = Math.ceil(low), many = Math.floor(high) - first + 1;
  return Array.from({ length: many > 0 && many < MOST ? many : 0 }, (_, k) => first + k);
}

export const tickText = (value) => String(Number(value.toPrecision(6))).replace('-', '−');
