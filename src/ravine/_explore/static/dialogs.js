// Windows over the page: one's own points, the script, the keys. Each closes by Escape and gives the focus back.

import { element, setText } from './dom.js';
import { readPoints } from './state.js';

function openDialog(app, title, ...content) {
  const close = element('button', { type: 'button', className: 'close', 'aria-label': 'close', onclick: () => box.close() }, '×');
  const box = element('dialog', { 'aria-label': title }, element('div', { className: 'row' }, element('h2', {}, title), close), ...content);
  box.addEventListener('close', () => box.remove());
  box.addEventListener('click', (event) => event.target === box && box.close());
  app.root.append(box);
  box.showModal();
  return box;
}

export function editPoints(app) {
  const data = app.points() ?? app.cards.article, lines = data.inputs.map((x, k) => `${x}, ${data.targets[k]}`);
  const area = element('textarea', { rows: 14, spellcheck: false, 'aria-label': 'points, two numbers a line', value: lines.join('\n') });
  const fault = element('p', { className: 'refusal', role: 'alert' });
  const use = () => {
    const found = readPoints(area.value, app.cards.article ?? app.card);
    setText(fault, found.fault ?? '');
    if (found.fault) return;
    box.close();
    app.usePoints(found.points);
  };
  const actions = element('div', { className: 'row' }, element('button', { type: 'button', className: 'main', onclick: use }, 'use these points'));
  const note = element('p', { className: 'reason' }, 'Two columns: input and target, with a comma, semicolon, tab or blank between. A heading is passed over. The line starts at weight 0, bias 0.');
  const box = openDialog(app, 'your points', note, area, fault, actions);
}

export function showText(app, title, text, note) {
  const said = element('p', { className: 'reason', role: 'status' }, note);
  const area = element('textarea', { rows: Math.min(20, text.split('\n').length + 1), readOnly: true, spellcheck: false, 'aria-label': title, value: text });
  const copy = async () => setText(said, (await copyText(text, area)) ? 'copied' : 'the browser does not let this page copy: select the text and copy it');
  const box = openDialog(app, title, said, area, element('div', { className: 'row' }, element('button', { type: 'button', className: 'main', onclick: copy }, 'copy')));
  area.focus();
  area.select();
  return box;
}

// `choices` are pairs of a text and what is done then
export function showChoices(app, title, note, choices) {
  const buttons = choices.map(([text, act]) => element('button', { type: 'button', className: 'main', onclick: () => { box.close(); act(); } }, text));
  const box = openDialog(app, title, element('p', { className: 'reason' }, note), element('div', { className: 'choices' }, ...buttons));
}

// true where the browser let it
export async function copyText(text, area = null) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (!area) return false;
    area.select();
    return document.execCommand('copy');
  }
}

const KEYS = [
  ['Tab', 'every control in turn'],
  ['← → ↑ ↓', 'on a slider, the start or the ring: a little; with Shift ten times as far'],
  ['Space', 'play or pause'],
  [', .', 'one step back, one step on'],
  ['n', 'nesterov on or off'],
  ['p', 'pin this run, or let it go'],
  ['1 2 3 4', 'choose a panel'],
  ['?', 'these keys'],
];

export function showKeys(app) {
  const rows = KEYS.map(([key, what]) => element('tr', {}, element('th', { scope: 'row' }, element('kbd', {}, key)), element('td', {}, what)));
  const pointer = element('p', { className: 'reason' }, 'By hand: drag the start, the ring, a point, or along the curves; double-click a map to start there, the points to add or take one away.');
  openDialog(app, 'keys', element('table', {}, element('tbody', {}, ...rows)), pointer);
}
