// One panel: the ground, the path over it, its marks and words; the start is a handle.

import { BOLD, FONT, element, followWidth, setAttribute, setStyle, setText, setWhole } from './dom.js';
import { drawGround, fromX, fromY, makeView, toX, toY } from './ground.js';
import { followArrows, followPointer } from './hands.js';
import { isSgd, settingsOf } from './optimizers.js';
import { Path } from './path.js';
import { Room } from './room.js';
import { openUpdate } from './sgd.js';
import { Sheet, drawArrow } from './sheet.js';
import { stepOf } from './state.js';
import { outcomeOf, reasonOf } from './verdict.js';

const MOST_CROWD = 401;  // so many steps of a path are looked at for room for labels

export class Panel {
  constructor(app, index, label) {
    this.app = app;
    this.index = index;
    this.sheet = new Sheet();
    this.path = new Path();
    this.ghost = new Path();
    this.habits = new Map();
    this.grids = [null, null];  // fine, and drafted while a hand moves
    this.handle = element('button', { className: 'handle', type: 'button' });
    this.stage = element('div', { className: 'stage' }, this.sheet.canvas, this.handle);
    this.outcome = element('p', {});
    this.reason = element('p', { className: 'reason' });
    this.note = element('small', {});
    this.name = element('button', { className: 'name', type: 'button', onclick: () => app.change({ panel: index }) }, element('span', { className: `dot c${index}` }), label);
    this.title = element('h2', {}, this.name, this.note);
    this.box = element('section', { className: 'panel', 'aria-label': label }, this.title, this.stage, element('div', { className: 'verdict' }, this.outcome, this.reason));
    followWidth(this, this.stage, () => app.paint());
    this.followHand();
  }

  followHand() {
    const { handle, stage, app } = this;
    const place = (event) => {
      const box = stage.getBoundingClientRect();
      return this.pairAt(event.clientX - box.left, event.clientY - box.top);
    };
    followPointer(handle, (event) => {
      event.preventDefault();
      handle.focus({ preventScroll: true });
      if (app.state.panel !== this.index) app.change({ panel: this.index }, { quiet: true });
      return (at) => app.change({ start: place(at) }, { moving: true });
    }, () => app.settle());
    followArrows(handle, ([across, up], many) => {
      const { x0, x1, y0, y1 } = this.view, [x, y] = app.swap ? app.start.toReversed() : app.start;
      const moved = [tidy(x + across * many * niceStep((x1 - x0) / 130)), tidy(y + up * many * niceStep((y1 - y0) / 130))];
      app.change({ start: app.swap ? moved.reverse() : moved });
    });
    stage.addEventListener('dblclick', (event) => app.change({ start: place(event), panel: this.index }));
    stage.addEventListener('click', (event) => {
      if (event.target !== handle && app.state.panel !== this.index) app.change({ panel: this.index });
    });
  }

  pairAt(px, py) {
    const { view } = this, width = (view.x1 - view.x0) / view.width;
    const round = (value, low, high) => Number(Math.min(high, Math.max(low, value)).toFixed(Math.max(0, Math.ceil(-Math.log10(width)))));
    const x = round(fromX(view, px), view.x0, view.x1), y = round(fromY(view, py), view.y0, view.y1);
    return this.app.swap ? [y, x] : [x, y];
  }

  // The parameters of step k as a place on the canvas.
  at(position, k) {
    const [p, q] = [position[2 * k], position[2 * k + 1]];
    return this.app.swap ? [toX(this.view, q), toY(this.view, p)] : [toX(this.view, p), toY(this.view, q)];
  }

  render() {
    const { app, width, sheet } = this, height = Math.round(width * this.shape);
    if (!width) return;
    const fresh = sheet.fit(width, height);
    if (fresh || this.ranges !== app.ranges) {
      this.ranges = app.ranges;
      this.view = makeView(app.ranges, width, height);
    }
    this.renderGround(fresh);
    const pen = sheet.lay();
    pen.lineCap = 'round';
    pen.lineJoin = 'bevel';  // under the dots not to be told from round ones, which take longer to draw
    this.renderRun(pen);
  }

  renderGround(fresh) {
    const { app, view, sheet } = this, { facts } = app.shown[this.index], { decay } = facts, { colors } = app;
    const draft = app.moving && (app.editing || decay !== this.decay), place = `${app.version} ${view.x0} ${view.x1} ${view.y0} ${view.y1} ${view.width}`;
    const kept = this.grids[Number(draft)], grid = kept?.place === place ? kept.grid : app.gridOf(this.index, view, draft);
    this.grids[Number(draft)] = { place, grid };
    const bottom = facts.landmark?.minimum ?? null, drawn = `${place} ${draft} ${decay} ${bottom} ${colors.ground} ${Boolean(grid)}`;
    if (!fresh && this.drawn === drawn) return;
    this.drawn = drawn;
    if (!draft) this.decay = decay;
    this.written = drawGround(sheet.stillPen, view, grid, { decay, bottom, colors, axes: app.card.axes, avoid: this.at(app.start, 0) });
  }

  renderRun(pen) {
    const { app, view, path, ghost, sheet: { grain } } = this, { facts, pinned, color } = app.shown[this.index], { colors, state } = app;
    const step = Math.min(stepOf(state), facts.taken), ink = colors.of[color];
    path.follow(view, app.swap, facts.run.position);
    if (!app.moving) this.habits.clear();
    const room = new Room(view.width, view.height, path.places, Math.min(step + 1, path.count, MOST_CROWD), this.habits);
    room.taken.push(...this.written);
    if (pinned) {
      ghost.follow(view, app.swap, pinned.run.position);
      pen.setLineDash([1, 4]);
      stroke(pen, ghost.line(0, pinned.taken, grain), colors.quiet, 1.6, 1);
      pen.setLineDash([]);
    }
    if (step < facts.taken) stroke(pen, path.line(step, facts.taken, grain), ink, 1.3, 0.25);
    const walked = path.line(0, step, grain);
    stroke(pen, walked, ink, 1.9, 1);
    pen.fillStyle = ink;
    pen.fill(path.dots(step, 1.9, view.width, view.height, grain));
    this.marks(pen, room, facts, step, ink);
    if (state.panel === this.index && step < facts.taken) this.arrows(pen, room, facts, step);
  }

  marks(pen, room, facts, step, ink) {
    const { app, view } = this, { colors } = app, { landmark, own, decay } = facts;
    const spots = [];
    const mark = (place, name, diamond) => {
      const [x, y] = this.at(place, 0);
      if (!(x > 0 && y > 0 && x < view.width && y < view.height)) return;
      Object.assign(pen, { strokeStyle: colors.ink, lineWidth: 1.8 });
      pen.beginPath();
      const r = 5;
      if (diamond) for (const [dx, dy] of [[0, -r], [r, 0], [0, r], [-r, 0], [0, -r]]) pen.lineTo(x + dx, y + dy);
      else for (const d of [-1, 1]) {
        pen.moveTo(x - r, y - d * r);
        pen.lineTo(x + r, y + d * r);
      }
      pen.stroke();
      room.block(x - 6, y - 6, 12, 12);
      spots.push([name, x, y]);
    };
    if (landmark) mark(landmark.place, decay ? 'goal' : 'minimum', false);
    if (decay && own) mark(own.place, 'minimum of the loss', true);
    const [ex, ey] = this.at(facts.run.position, step), [sx, sy] = this.at(app.start, 0);
    const dot = (x, y, radius, fill, edge, width) => {
      if (!Number.isFinite(x + y)) return;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      Object.assign(pen, { fillStyle: fill, strokeStyle: edge, lineWidth: width });
      pen.fill();
      pen.stroke();
    };
    dot(ex, ey, 4.6, ink, colors.ground, 2);
    dot(sx, sy, 7, colors.ground, ink, 2.6);
    room.block(sx - 8, sy - 8, 16, 16);
    const style = { ground: colors.ground, color: colors.ink };
    room.label(pen, 'start', sx, sy, { ...style, color: ink, font: BOLD }, 14);
    for (const [name, x, y] of spots) room.label(pen, name, x, y, style, 16);
    if (!(ex > 0 && ey > 0 && ex < view.width && ey < view.height)) this.leaving(pen, room, facts, step, style);
    // of a start outside it stands at the edge, where it can be taken, and makes no page longer
    const [hx, hy] = [[sx, view.width], [sy, view.height]].map(([at, most]) => Math.min(most, Math.max(0, at || 0)).toFixed(1));
    setStyle(this.handle, 'transform', `translate(${hx}px, ${hy}px)`);
  }

  // where a path whose last places all lie outside goes out of the map
  leaving(pen, room, facts, step, style) {
    const { width, height } = this.view, inside = ([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height;
    for (let k = step; k > 0; k--) {
      const from = this.at(facts.run.position, k - 1), to = this.at(facts.run.position, k);
      if (!inside(from) || !to.every(Number.isFinite)) continue;
      const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
      const share = Math.min(dx > 0 ? (width - from[0]) / dx : dx < 0 ? -from[0] / dx : 1, dy > 0 ? (height - from[1]) / dy : dy < 0 ? -from[1] / dy : 1);
      room.label(pen, `outside from step ${k} on`, from[0] + share * dx, from[1] + share * dy, style, 10);
      return;
    }
  }

  // the update from here to the next step: what the velocity carries on, and what the gradient asks
  arrows(pen, room, facts, step) {
    const { app } = this, { colors } = app, settings = settingsOf(facts.settings), parts = openUpdate(app.slopeOf(this.index), facts.run, settings, step);
    if (!isSgd(settings)) {
      drawArrow(pen, this.at(parts.here, 0), this.at(parts.next, 0), colors.ink);
      return;
    }
    const carried = settings.momentum ? settings.lr * settings.momentum * (settings.nesterov ? settings.momentum : 1) : 0;
    const middle = parts.here.map((each, j) => each - carried * parts.before[j]);
    const from = this.at(parts.here, 0), through = this.at(middle, 0), to = this.at(parts.next, 0);
    if (settings.momentum && step > 0) {
      drawArrow(pen, from, through, colors.blue);
      room.label(pen, 'velocity', (from[0] + through[0]) / 2, (from[1] + through[1]) / 2, { ground: colors.ground, color: colors.blue, font: FONT }, 10);
    }
    drawArrow(pen, through, to, colors.ink);
    room.label(pen, 'gradient', (through[0] + to[0]) / 2, (through[1] + to[1]) / 2, { ground: colors.ground, color: colors.ink, font: FONT }, 10);
  }

  tell() {
    const { app } = this, { facts, note, error } = app.shown[this.index];
    setText(this.outcome, error ? 'no run' : outcomeOf(facts));
    setWhole(this.reason, error || reasonOf(facts));
    setWhole(this.note, note);
    this.box.classList.toggle('chosen', app.state.panel === this.index);
  }

  // in words for who does not see it, once the hand rests
  say() {
    const { app } = this, [p, q] = app.card.labels, { start } = app, name = this.box.getAttribute('aria-label');
    setAttribute(this.sheet.canvas, 'aria-label', `map of ${name}: ${this.outcome.textContent}. ${this.reason.textContent}`);
    setAttribute(this.handle, 'aria-label', `start on the map of ${name}: ${p} ${start[0]}, ${q} ${start[1]}. Arrow keys move it`);
  }
}

function stroke(pen, line, color, width, alpha) {
  Object.assign(pen, { strokeStyle: color, lineWidth: width, globalAlpha: alpha });
  pen.stroke(line);
  pen.globalAlpha = 1;
}

const niceStep = (value) => 10 ** Math.floor(Math.log10(value) + 0.3);
const tidy = (value) => Number(value.toPrecision(12));
