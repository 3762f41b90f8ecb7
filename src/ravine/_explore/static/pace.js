// How many steps each pair of lr and a second setting takes to arrive: coarse first, then finer, a slice at a time.

import { findRefusal } from './optimizers.js';

export const SIZE = 40;
export const TOP = 0.99;
// what a cell holds that is not a step of arrival and one
export const UNKNOWN = -2;
export const DIVERGED = -1;
export const LATE = 0;
const SLICE = 7, LEAST = 2, SHOWN = 100, COARSE = 4;  // milliseconds at a time, and between pictures
const QUICK = 2000, SLOW = 6000, MOST_ROWS = 20;  // milliseconds that Python takes, and rows of one question

// Products of columns and rows that fill the map: every fourth of both, then what lies between.
const BLOCKS = [4, 2, 1].flatMap((wide) => {
  const even = [], odd = [];
  for (let k = 0; k < SIZE; k += wide) (k % (2 * wide) ? odd : even).push(k);
  if (wide === COARSE) return [{ columns: [...even, ...odd].sort((a, b) => a - b), rows: [...even, ...odd].sort((a, b) => a - b), wide }];
  return [{ columns: odd, rows: even, wide }, { columns: even, rows: odd, wide }, { columns: odd, rows: odd, wide }];
});

export class Pace {
  // `rests` says whether no hand moves, `draw` shows what is known so far
  constructor(rests, draw) {
    Object.assign(this, { rests, draw, cells: new Float64Array(SIZE * SIZE).fill(UNKNOWN), job: null, shown: 0 });
    this.count();
  }

  drop() {
    this.job = null;
  }

  // Fills the map anew; a later call drops this one. `job` {runs, index, start, steps, settings, second, lrAt, secondAt}
  async fill(job) {
    this.job = job;
    const cells = new Float64Array(SIZE * SIZE).fill(UNKNOWN), { asks } = job.runs, size = { rows: asks ? 1 : 0 };
    let until = 0;
    for (const { columns, rows, wide } of BLOCKS) {
      const taken = rows.filter((j) => !findRefusal({ ...job.settings, [job.second]: job.secondAt(j) }));
      for (const piece of cut(columns, taken, size)) {
        if (performance.now() >= until) {
          if (wide < COARSE && performance.now() > this.shown + SHOWN) this.show(cells);
          until = await this.turn(job);
        }
        if (this.job !== job) return;
        const begin = performance.now(), found = job.runs.pace(job, piece.columns.map(job.lrAt), piece.rows.map(job.secondAt)), values = asks ? await found : found;
        if (this.job !== job || !values) return;
        if (asks) size.rows = paced(size.rows, performance.now() - begin);
        piece.rows.forEach((j, row) => piece.columns.forEach((i, column) => set(cells, i, j, wide, values[row * piece.columns.length + column])));
      }
      if (wide === COARSE) this.show(cells);
    }
    this.job = null;
    this.show(cells);
  }

  show(cells) {
    this.cells = cells;
    this.shown = performance.now();
    this.count();
    this.draw();
  }

  count() {
    let arrived = 0, lost = 0, valid = 0, fastest = Infinity;
    for (const value of this.cells) {
      valid += value !== UNKNOWN;
      lost += value === DIVERGED;
      arrived += value > LATE;
      if (value > LATE) fastest = Math.min(fastest, value - 1);
    }
    this.known = { arrived, lost, valid, fastest };
  }

  // Waits until the hand rests and there is idle time, and returns until when that lasts.
  async turn(job) {
    do {
      const left = await new Promise((done) => {
        if (globalThis.requestIdleCallback) requestIdleCallback((deadline) => done(deadline.timeRemaining()), { timeout: 300 });
        else setTimeout(() => done(SLICE), 20);
      });
      if (this.rests() || this.job !== job) return performance.now() + Math.max(LEAST, Math.min(SLICE, left));
      await new Promise((done) => setTimeout(done, 100));
    } while (true);
  }
}

// Pair by pair, or so many rows at once as `size` says by then.
function* cut(columns, rows, size) {
  if (!size.rows) for (const j of rows) for (const i of columns) yield { columns: [i], rows: [j] };
  for (let from = 0; size.rows && from < rows.length; ) {
    const some = rows.slice(from, from + size.rows);
    from += some.length;
    yield { columns, rows: some };
  }
}

// a pair stands for its neighbours until they are known
function set(cells, i, j, wide, value) {
  for (let b = j; b < Math.min(SIZE, j + wide); b++) for (let a = i; a < Math.min(SIZE, i + wide); a++) cells[b * SIZE + a] = value;
}

function paced(rows, took) {
  if (took < QUICK) return Math.min(MOST_ROWS, 2 * rows);
  return took > SLOW ? Math.max(1, rows >> 1) : rows;
}
