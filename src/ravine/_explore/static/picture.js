// What is seen, as one PNG: headline, settings, maps with their lines, and the curves.

const PAD = 24, GAP = 26, SCALE = 2;

export function drawPicture(app) {
  const views = [...app.panelViews.filter((view, k) => !app.shown[k].folded), app.phase].filter((view) => view.width && !view.box.hidden);
  const charts = [app.curves, app.fit].filter((chart) => chart.width && !chart.box.hidden);
  const wide = Math.max(...views.map((view) => view.sheet.width)), tall = Math.max(...views.map((view) => view.sheet.height)) + 92;
  const columns = views.length > 1 ? 2 : 1, rows = Math.ceil(views.length / columns), aside = Math.max(0, ...charts.map((chart) => chart.sheet.width));
  const width = 2 * PAD + columns * wide + (columns - 1) * GAP + (aside ? GAP + aside : 0);
  const height = Math.max(PAD + 70 + rows * tall, PAD + 70 + charts.reduce((sum, chart) => sum + chart.sheet.height + 44, 0)) + PAD;
  const canvas = document.createElement('canvas');
  canvas.width = width * SCALE;
  canvas.height = height * SCALE;
  const pen = canvas.getContext('2d'), { colors } = app, face = 'system-ui, "Segoe UI", Roboto, sans-serif';
  pen.scale(SCALE, SCALE);
  pen.fillStyle = colors.ground;
  pen.fillRect(0, 0, width, height);
  const write = (text, x, y, size, color, weight = 400, room = width) => {
    pen.fillStyle = color;
    pen.font = `${weight} ${size}px ${face}`;
    pen.textBaseline = 'alphabetic';
    let line = '', at = y;
    for (const word of text.split(' ')) {
      if (line && pen.measureText(`${line} ${word}`).width > room) {
        pen.fillText(line, x, at);
        line = word;
        at += size * 1.35;
      } else line = line ? `${line} ${word}` : word;
    }
    pen.fillText(line, x, at);
  };
  write(app.headline, PAD, PAD + 22, 24, colors.ink, 680);
  write(`${app.card.name} · torch.optim.${app.header.call.textContent}${app.state.pin ? ` · ${app.header.pinned.textContent}` : ''}`, PAD, PAD + 46, 13, colors.quiet);
  const place = (view, x, y) => {
    const { width: w, height: h } = view.sheet;
    write(view.title.textContent, x, y + 14, 15, colors.ink, 640, wide);
    pen.drawImage(view.sheet.canvas, x, y + 24, w, h);
    write(view.outcome.textContent, x, y + h + 42, 13, colors.ink, 400, wide);
    write(view.reason.textContent, x, y + h + 59, 12.5, colors.quiet, 400, wide);
  };
  views.forEach((view, k) => place(view, PAD + (k % columns) * (wide + GAP), PAD + 70 + Math.floor(k / columns) * tall));
  let y = PAD + 70;
  for (const chart of charts) {
    const { width: w, height: h } = chart.sheet, x = PAD + columns * wide + columns * GAP;
    write(chart.title.textContent, x, y + 14, 13.5, colors.ink, 640);
    pen.drawImage(chart.canvas, x, y + 24, w, h);
    y += h + 44;
  }
  return canvas;
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
