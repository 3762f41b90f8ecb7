// Where runs come from: the page computes what it can, and asks Python for the rest, one question at a time.

import { makeKind } from './arithmetic.js';
import { makeFacts } from './facts.js';
import { evaluateGrid } from './ground.js';
import { settingsOf, spelledForPython } from './optimizers.js';
import { DIVERGED, LATE } from './pace.js';
import { findStray, makePanels } from './problem.js';
import { makeRun } from './sgd.js';

// One question in flight; the newest overwrites the waiting one, and what nobody waits for is dropped.
export class Line {
  constructor(ask) {
    this.ask = ask;
    this.busy = false;
    this.waiting = null;
  }

  async send(question, take) {
    if (this.busy) {
      this.waiting = [question, take];
      return;
    }
    this.busy = true;
    let answer;
    try {
      answer = await this.ask(question);
    } catch (error) {
      answer = { gone: String(error.message ?? error) };
    }
    this.busy = false;
    const next = this.waiting;
    this.waiting = null;
    take(answer);
    if (next) this.send(...next);
  }
}

// Runs that the page makes itself.
export class OwnRuns {
  constructor(card, state) {
    this.panels = makePanels(card, state, state.points);
    this.card = card;
    this.buffers = [];
  }

  // What speaks against a start, in the words of ravine.descend; Python tells it with the run.
  strayed(start) {
    const lost = findStray(this.panels, start);
    return lost && `the loss at the start is ${lost}: start where it is finite`;
  }

  compute(state, take) {
    const settings = settingsOf(state);
    const facts = this.panels.map((panel, k) => {
      const size = this.buffers[k]?.loss.length === state.steps + 1 ? this.buffers[k] : undefined;
      const found = panel.descend(state.start, settings, state.steps, size);
      this.buffers[k] = found.run;
      return found;
    });
    take(facts.map((each) => ({ facts: each, error: '' })), settings);
  }

  pinned(pin, steps) {
    return this.panels.map((panel) => panel.descend(pin.start, settingsOf(pin), steps));
  }

  gridOf(index, view, swap, draft) {
    return evaluateGrid(this.panels[index].draw, view, swap, draft);
  }

  // How soon each pair arrives, rows of the second setting after one another; PythonRuns promises the same.
  pace({ index, start, steps, settings, second }, lrs, seconds) {
    const panel = this.panels[index];
    if (this.scratch?.loss.length !== steps + 1) this.scratch = makeRun(panel.kind, steps);
    return seconds.flatMap((each) => lrs.map((lr) => cellOf(panel.descend(start, { ...settings, lr, [second]: each }, steps, this.scratch))));
  }

  slopeOf(index) {
    return (_, [p, q]) => [...this.panels[index].evaluate(p, q, true).gradient];
  }
}

// A run of the page's own, as a cell of the map that counts steps.
const cellOf = ({ arrival: { outcome, step } }) => (outcome === 'arrived' ? step + 1 : outcome === 'diverged' ? DIVERGED : LATE);

// Runs that Python makes: the real optimizer on the real loss.
export class PythonRuns {
  constructor(card, host, repaint) {
    this.kind = makeKind(card.dtype, card.order);
    this.card = card;
    this.host = host;
    this.repaint = repaint;
    this.panels = card.panels.map((label) => ({ label, kind: this.kind, data: null, evaluate: null, criterion: '' }));
    this.line = new Line((question) => host.ask('run', question));
    this.maps = new Line((question) => host.ask('map', question));
    this.pins = new Line((question) => host.ask('run', question));
    this.asks = true;
    this.gradients = [];
    this.ghosts = [];
  }

  numbers(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new this.kind.Numbers(bytes.buffer);
  }

  read({ position, loss, gradient, landmark, own, criterion, kinked, error }, settings, start) {
    const run = error ? { position: new this.kind.Numbers(start), loss: new this.kind.Numbers([Number.NaN]) } : { position: this.numbers(position), loss: this.numbers(loss) };
    const slopes = error ? null : this.numbers(gradient);
    const facts = makeFacts({ run, kind: this.kind, settings, labels: this.card.labels, criterion, kinked, landmark, own, data: null, slopeAt: (k) => [slopes[2 * k], slopes[2 * k + 1]] });
    return { facts, slopes, error: error ?? '' };
  }

  strayed() {
    return '';
  }

  compute(state, take, lost) {
    const settings = settingsOf(state), { start, steps } = state;
    this.line.send({ settings: spelledForPython(settings), start, steps }, (answer) => {
      if (answer.gone || answer.refused) lost(answer.gone ? `Python does not answer (${answer.gone}); the pictures show its last runs` : '', answer.refused ?? '');
      else {
        const all = answer.runs.map((each) => this.read(each, settings, start));
        this.gradients = all.map(({ slopes }) => slopes);
        take(all, settings);
      }
    });
  }

  // asked for once; until the answer comes there is no ghost
  pinned(pin, steps) {
    const settings = settingsOf(pin), key = JSON.stringify([settings, pin.start, steps]);
    if (this.pinned_ !== key) {
      this.pinned_ = key;
      this.ghosts = [];
      this.pins.send({ settings: spelledForPython(settings), start: pin.start, steps }, (answer) => {
        if (answer.gone || answer.refused || this.pinned_ !== key) return;
        this.ghosts = answer.runs.map((each) => this.read(each, settings, pin.start)).map(({ facts, error }) => (error ? null : facts));
        this.repaint();
      });
    }
    return this.ghosts;
  }

  gridOf(index, view) {
    const nx = 81, ny = Math.round((nx * view.height) / view.width), { x0, x1, y0, y1 } = view, key = [x0, x1, y0, y1, nx, ny].join();
    if (this.asked !== key) {
      Object.assign(this, { asked: key, grids: null });  // until the answer comes there is no ground
      this.maps.send({ x: [x0, x1], y: [y0, y1], nx, ny }, (answer) => {
        if (answer.gone || answer.refused) return;
        const squares = Float64Array.from({ length: nx * ny }, (_, k) => (x0 + ((x1 - x0) * (k % nx)) / (nx - 1)) ** 2 + (y0 + ((y1 - y0) * Math.floor(k / nx)) / (ny - 1)) ** 2);
        const read = (text) => new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
        this.grids = answer.maps.map((text) => text && { nx, ny, values: read(text), squares });
        this.repaint();
      });
    }
    return this.grids?.[index] ?? null;
  }

  async pace({ index, start, steps, settings, second }, lrs, seconds) {
    try {
      const asked = { panel: index, start, steps, lrs, second, seconds, settings: spelledForPython(settings) };
      return (await this.host.ask('pace', asked)).cells ?? null;
    } catch {
      return null;  // that Python is gone is told where runs are asked for
    }
  }

  slopeOf(index) {
    const gradient = this.gradients[index];
    return (k) => (gradient ? [gradient[2 * k], gradient[2 * k + 1]] : [Number.NaN, Number.NaN]);
  }
}
