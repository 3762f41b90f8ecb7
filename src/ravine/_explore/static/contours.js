// Rings around {value ≤ level} on a grid, by marching squares, closed at the border; and which levels to draw.

let edges = new Int32Array(0);

// Returns rings as flat lists x0, y0, x1, y1, … in units of the grid.
export function findRings(values, nx, ny, level) {
  const wide = nx + 1, size = 2 * wide * (ny + 2), starts = [];
  if (edges.length < size) edges = new Int32Array(size);
  const next = edges.fill(-1, 0, size);
  // an edge from node (i, j) to the right, and one upwards
  const across = (i, j) => 2 * ((j + 1) * wide + i + 1), up = (i, j) => across(i, j) + 1;
  const link = (from, to) => {
    next[from] = to;
    starts.push(from);
  };
  for (let j = -1, before = false; j < ny; j++) {
    const within = j + 1 < ny && reaches(values, (j + 1) * nx, nx, level), skip = !within && !before;
    before = within;
    if (skip) continue;  // two rows that lie above the level
    let a = false, d = false;
    for (let i = -1; i < nx; i++) {
      const b = j >= 0 && i + 1 < nx && values[j * nx + i + 1] <= level;
      const c = j + 1 < ny && i + 1 < nx && values[(j + 1) * nx + i + 1] <= level;
      const corners = a | (b << 1) | (c << 2) | (d << 3);
      if (corners !== 0 && corners !== 15) {
        const south = across(i, j), east = up(i + 1, j), north = across(i, j + 1), west = up(i, j);
        if (corners === 1) link(south, west);
        else if (corners === 2) link(east, south);
        else if (corners === 3) link(east, west);
        else if (corners === 4) link(north, east);
        else if (corners === 5) (link(south, west), link(north, east));
        else if (corners === 6) link(north, south);
        else if (corners === 7) link(north, west);
        else if (corners === 8) link(west, north);
        else if (corners === 9) link(south, north);
        else if (corners === 10) (link(east, south), link(west, north));
        else if (corners === 11) link(east, north);
        else if (corners === 12) link(west, east);
        else if (corners === 13) link(south, east);
        else link(west, south);
      }
      a = b;
      d = c;
    }
  }
  const rings = [];
  for (const start of starts) {
    if (next[start] < 0) continue;
    const ring = [];
    for (let edge = start; next[edge] >= 0; ) {
      cross(values, nx, ny, level, edge, wide, ring);
      const after = next[edge];
      next[edge] = -1;
      edge = after;
    }
    if (ring.length > 4) rings.push(ring);
  }
  return rings;
}

function reaches(values, from, count, level) {
  for (let k = from; k < from + count; k++) if (values[k] <= level) return true;
  return false;
}

// where the level crosses an edge; an edge that leaves the grid is crossed at its node
function cross(values, nx, ny, level, edge, wide, ring) {
  const upwards = edge & 1, cell = edge >> 1, i = (cell % wide) - 1, j = Math.floor(cell / wide) - 1;
  const i2 = upwards ? i : i + 1, j2 = upwards ? j + 1 : j;
  if (i < 0 || j < 0) ring.push(i2, j2);
  else if (i2 >= nx || j2 >= ny) ring.push(i, j);
  else {
    const low = values[j * nx + i], high = values[j2 * nx + i2];
    let share = (level - low) / (high - low);
    if (!(share >= 0 && share <= 1)) share = 0.5;
    ring.push(i + (i2 - i) * share, j + (j2 - j) * share);
  }
}

const DEEPEST = 3e-5;

// Levels even in the logarithm of the gap, from the highest gap in sight down; the lowest first.
export function chooseLevels(values, bottom, count = 13) {
  const { low, high, base } = extremesOf(values, bottom), top = high - base;
  if (!(top > 0)) return [];
  const ratio = (Math.max(low - base, top * DEEPEST) / top) ** (1 / count);
  return Array.from({ length: count }, (_, k) => base + top * ratio ** (count - k));
}

function extremesOf(values, bottom) {
  let high = -Infinity, low = Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    high = Math.max(high, value);
    low = Math.min(low, value);
  }
  return { low, high, base: bottom === null || bottom > low ? low : bottom };
}

// Round values of the loss for lines with numbers: few, and spread in the logarithm of the gap.
export function chooseNumbers(values, bottom, most = 5) {
  const { low, high, base } = extremesOf(values, bottom), found = [];
  for (let power = -6; power < 10; power++) {
    for (const first of [1, 2, 5]) for (const sign of [-1, 1]) {
      const value = sign * first * 10 ** power;
      if (value > low && value < high) found.push(Number(value.toPrecision(3)));
    }
  }
  if (low < 0 && high > 0) found.push(0);
  found.sort((one, other) => other - one);
  const kept = [];
  for (const value of found) {
    const gap = value - base;
    if (gap > 0 && kept.length < most && (!kept.length || gap < (kept[kept.length - 1] - base) * 0.45)) kept.push(value);
  }
  return kept;
}
