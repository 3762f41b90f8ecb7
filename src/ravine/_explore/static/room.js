// Places for labels: each takes the candidate that covers no other label, and the least of the path.

import { widthOf, writeText } from './sheet.js';

const HEIGHT = 15, PATIENCE = 4;
const SPOTS = [[1, -0.6], [-1, -0.6], [1, 0.8], [-1, 0.8], [0, -1.3], [0, 1.3], [1.8, 0], [-1.8, 0], [1.5, -1.8], [-1.5, -1.8], [1.5, 1.9], [-1.5, 1.9]];

export class Room {
  // `crowd` holds x0, y0, x1, y1, … of the first `count` places of a path; `habits` where labels stood in the frame
  // before, so that none jumps for the sake of little
  constructor(width, height, crowd = [], count = 0, habits = new Map()) {
    Object.assign(this, { width, height, crowd, count, habits, taken: [] });
  }

  block(x, y, width, height) {
    this.taken.push([x, y, width, height]);
  }

  covers(left, top, width) {
    return this.taken.some(([a, b, c, d]) => left < a + c + 2 && a < left + width + 2 && top < b + d && b < top + HEIGHT);
  }

  crowdIn(left, top, width) {
    const { crowd, count } = this, right = left + width, bottom = top + HEIGHT;
    let found = 0;
    for (let k = 0; k < 2 * count; k += 2) if (crowd[k] > left && crowd[k] < right && crowd[k + 1] > top && crowd[k + 1] < bottom) found++;
    return found;
  }

  // Writes the text beside a spot; returns whether there was room.
  label(pen, text, x, y, style, distance = 12) {
    const width = widthOf(text, style.font), usual = this.habits.get(text);
    let best = null;
    for (let k = 0; k < SPOTS.length; k++) {
      const [dx, dy] = SPOTS[k], left = x + dx * distance - (dx < 0 ? width : dx === 0 ? width / 2 : 0), top = y + dy * distance - HEIGHT / 2;
      if (left < 3 || top < 2 || left + width > this.width - 3 || top + HEIGHT > this.height - 2 || this.covers(left, top, width)) continue;
      const cost = this.crowdIn(left, top, width) - (k === usual ? PATIENCE : 0);
      if (best === null || cost < best.cost) best = { cost, left, top, k };
      if (cost <= 0 && usual === undefined) break;
    }
    if (!best) return false;
    this.habits.set(text, best.k);
    writeText(pen, text, best.left, best.top + HEIGHT / 2, { ...style, align: 'left' });
    this.block(best.left, best.top, width, HEIGHT);
    return true;
  }
}
