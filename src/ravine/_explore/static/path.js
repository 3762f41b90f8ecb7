// A path on a map: where its steps lie in pixels, and how it is drawn.

import { toX, toY } from './ground.js';

const FAR = 1e5;  // far outside a canvas lines lose their direction
const MOST_DOTS = 200;

export class Path {
  constructor() {
    this.places = new Float64Array(0);
    this.count = 0;
  }

  // Takes the places of a run up to where it is not finite; `swap` says that the first parameter is the vertical one.
  follow(view, swap, position) {
    const many = position.length / 2, across = swap ? 1 : 0, x0 = toX(view, 0), dx = toX(view, 1) - x0, y0 = toY(view, 0), dy = toY(view, 1) - y0;
    if (this.places.length < 2 * many) this.places = new Float64Array(2 * many);
    const { places } = this;
    let k = 0;
    for (; k < many; k++) {
      const x = x0 + dx * position[2 * k + across], y = y0 + dy * position[2 * k + 1 - across];
      if (!Number.isFinite(x + y)) break;
      places[2 * k] = x < -FAR ? -FAR : x > FAR ? FAR : x;
      places[2 * k + 1] = y < -FAR ? -FAR : y > FAR ? FAR : y;
    }
    this.count = k;
  }

  // The line from one step to another; steps within a `grain` of what is drawn already would change no pixel.
  line(from, to, grain) {
    const { places } = this, last = Math.min(to, this.count - 1), line = new Path2D();
    if (from > last) return line;
    let x = places[2 * from], y = places[2 * from + 1];
    line.moveTo(x, y);
    for (let k = from + 1; k <= last; k++) {
      const nx = places[2 * k], ny = places[2 * k + 1];
      if (k < last && Math.abs(nx - x) < grain && Math.abs(ny - y) < grain) continue;
      line.lineTo(nx, ny);
      x = nx;
      y = ny;
    }
    return line;
  }

  // A dot at each step, or at every so many of a long run.
  dots(to, radius, width, height, grain) {
    const { places } = this, every = Math.max(1, Math.ceil(to / MOST_DOTS)), dots = new Path2D();
    let px = Infinity, py = Infinity;
    for (let k = every; k <= Math.min(to, this.count - 1); k += every) {
      const x = places[2 * k], y = places[2 * k + 1];
      if (!(x > -4 && y > -4 && x < width + 4 && y < height + 4) || (Math.abs(x - px) < grain && Math.abs(y - py) < grain)) continue;
      dots.moveTo(x + radius, y);
      dots.arc(x, y, radius, 0, 7);
      px = x;
      py = y;
    }
    return dots;
  }
}
