// What is seen, as one PNG: headline, settings, maps with their lines, and the curves.

import { element } from './dom.js';
import { sharpen } from './sheet.js';

const PAD = 24, GAP = 26, SCALE = 2, HEAD = 70, LEADING = 1.35, FACE = 'system-ui, "Segoe UI", Roboto, sans-serif';
const TITLE = [15, 640], NOTE = [12, 400], OUTCOME = [13, 400], REASON = [12.5, 400], CHART = [13.5, 640];

// Draws what is seen once more, as fine as the picture, and puts it together.
export function drawPicture(app) {
  sharpen(SCALE);
  app.renderAll();
  const canvas = compose(app);
  sharpen(1);
  app.renderAll();
  return canvas;
}

function compose(app) {
  const { colors } = app, canvas = element('canvas'), pen = canvas.getContext('2d');
  const views = [...app.visible().map((one) => one.panelView), app.phase].filter((view) => view.width && !view.box.hidden);
  const charts = [app.curves, app.fit].filter((chart) => chart.width && !chart.box.hidden);
  const wide = Math.max(...views.map((view) => view.sheet.width)), columns = views.length > 1 ? 2 : 1, aside = Math.max(0, ...charts.map((chart) => chart.sheet.width));
  const blocks = views.map((view) => blockOf(pen, view, wide, colors));
  const rows = Array.from({ length: Math.ceil(blocks.length / columns) }, (_, k) => blocks.slice(k * columns, (k + 1) * columns)).map((row) => ({
    row, above: Math.max(...row.map(({ above }) => heightOf(above))), tall: Math.max(...row.map(({ view, below }) => view.sheet.height + heightOf(below))),
  }));
  const left = PAD + columns * (wide + GAP), width = aside ? left + aside + PAD : left - GAP + PAD;
  const height = PAD + HEAD + Math.max(rows.reduce((sum, { above, tall }) => sum + above + tall + 24, 0), charts.reduce((sum, chart) => sum + chart.sheet.height + 44, 0));
  Object.assign(canvas, { width: width * SCALE, height: height * SCALE });
  pen.scale(SCALE, SCALE);
  pen.fillStyle = colors.ground;
  pen.fillRect(0, 0, width, height);
  const { header, state, card } = app, pinned = state.pin ? ` · ${header.pinned.textContent}` : '';
  const headline = [...linesOf(pen, app.headline, [24, 680], colors.ink, width - 2 * PAD), ...linesOf(pen, `${card.name} · torch.optim.${header.call.textContent}${pinned}`, [13, 400], colors.quiet, width - 2 * PAD)];
  write(pen, headline, PAD, PAD);
  let y = PAD + HEAD;
  for (const { row, above, tall } of rows) {
    row.forEach(({ view, above: lines, below }, k) => {
      const { canvas: map, width: w, height: h } = view.sheet, x = PAD + k * (wide + GAP);
      write(pen, lines, x, y + above - heightOf(lines));
      pen.drawImage(map, x, y + above, w, h);
      write(pen, below, x, y + above + h);
    });
    y += above + tall + 24;
  }
  y = PAD + HEAD;
  for (const { title, canvas: chart, sheet: { width: w, height: h } } of charts) {
    write(pen, linesOf(pen, title.textContent, CHART, colors.ink, aside), left, y);
    pen.drawImage(chart, left, y + 24, w, h);
    y += h + 44;
  }
  return canvas;
}

// What stands above a map and below it. A note stands beside the name, or under it where it has no room.
function blockOf(pen, view, wide, { ink, quiet }) {
  const [name] = linesOf(pen, view.name.textContent, TITLE, ink, Infinity), note = linesOf(pen, view.note.textContent, NOTE, quiet, wide);
  const beside = note.length === 1 && name.wide + 10 + note[0].wide <= wide;
  if (beside) Object.assign(note[0], { across: name.wide + 10, lift: name.tall });
  const below = [...linesOf(pen, view.outcome.textContent, OUTCOME, ink, wide), ...linesOf(pen, view.reason.textContent, REASON, quiet, wide)];
  return { view, above: [name, ...note], below };
}

// The lines of a text that are no wider than `room`.
function linesOf(pen, text, [size, weight], color, room) {
  const font = `${weight} ${size}px ${FACE}`, lines = [];
  pen.font = font;
  for (const word of text ? text.split(' ') : []) {
    const longer = lines.length ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines.length && pen.measureText(longer).width <= room) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.map((line) => ({ text: line, font, color, wide: pen.measureText(line).width, tall: size * LEADING, across: 0, lift: 0 }));
}

const heightOf = (lines) => lines.reduce((sum, { tall, lift }) => sum + Math.max(0, tall - lift), lines.length ? 6 : 0);

function write(pen, lines, x, y) {
  pen.textBaseline = 'alphabetic';
  let at = y + 3;
  for (const { text, font, color, tall, across, lift } of lines) {
    at += lift ? 0 : tall;
    Object.assign(pen, { font, fillStyle: color });
    pen.fillText(text, x + across, at - (lift || tall) * 0.25);
  }
}

export function saveCanvas(canvas, name) {
  return new Promise((done) => {
    canvas.toBlob((blob) => {
      download(blob, name);
      done();
    });
  });
}

export function download(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
