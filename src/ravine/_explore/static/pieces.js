// The lowest place of a loss that is a parabola near zero and a line beyond, in two coordinates: Newton's method on the
// pieces, as ravine.curvature has it. A kink is searched for by ever sharper turns, and then put where it must be.

const EPS = 2 ** -52, ROUNDING = 1e-11, ITERATIONS = 200;

// steep·Σ h(u z₀ + z₁ − y) + ½ zᵀ·drag·z; returns {z}, or null where it is not certain.
export function findLowest(u, targets, steep, turn, drag, begin) {
  const n = u.length;
  let square = 0, size = 0;
  for (let i = 0; i < n; i++) {
    square += (u[i] * begin[0] + begin[1] - targets[i]) ** 2;
    size = Math.max(size, Math.abs(targets[i]));
  }
  let unit = Math.sqrt(square / n);
  if (unit <= 64 * EPS * size) unit = size || 1;
  const work = { u, y: Float64Array.from(targets, (t) => t / unit), n, steep, drag: drag.map((d) => d * unit) };
  let z = begin.map((b) => b / unit), certain = false;
  for (const sharp of turnsOf(turn / unit)) {
    [z, certain] = newton(work, sharp, z);
    if (turn > 0) continue;
    const found = placeAtKinks(work, sharp, z);
    if (found) return { z: found.map((each) => each * unit) };
  }
  return turn > 0 && certain ? { z: z.map((each) => each * unit) } : null;
}

function* turnsOf(last) {
  for (let turn = 1; turn > Math.max(last, 1e-12); turn /= 10) yield turn;
  if (last) yield last;
}

const pulled = (drag, z) => [drag[0] * z[0] + drag[1] * z[1], drag[1] * z[0] + drag[2] * z[1]];

function newton(work, turn, start) {
  const { u, y, n, steep, drag } = work;
  let z = start, limit = 0, steepest = 0;
  for (let k = 0; k < ITERATIONS; k++) {
    const pull = pulled(drag, z), g = [...pull], sizes = [0, 0], blurs = [0, 0], matrix = [...drag];
    for (let i = 0; i < n; i++) {
      const x = u[i], r = x * z[0] + z[1] - y[i], near = Math.abs(r) < turn;
      const push = near ? (steep * r) / turn : steep * Math.sign(r), ax = Math.abs(x);
      g[0] += push * x;
      g[1] += push;
      sizes[0] += Math.abs(push) * ax;
      sizes[1] += Math.abs(push);
      if (!near) continue;
      // what rounding makes of a residual counts as much as the parabola is narrow
      const blur = (steep / turn) * EPS * (Math.abs(y[i]) + ax * Math.abs(z[0]) + Math.abs(z[1])), bend = steep / turn;
      blurs[0] += blur * ax;
      blurs[1] += blur;
      matrix[0] += bend * x * x;
      matrix[1] += bend * x;
      matrix[2] += bend;
    }
    limit = ROUNDING * (Math.max(...sizes) + Math.max(Math.abs(pull[0]), Math.abs(pull[1]))) + 32 * Math.max(...blurs);
    steepest = Math.max(Math.abs(g[0]), Math.abs(g[1]));
    if (steepest <= limit / 100) return [z, true];
    const lift = 1e-10 * Math.max(1, matrix[0] + matrix[2]);
    const [a, b, c] = [matrix[0] + lift, matrix[1], matrix[2] + lift], determinant = a * c - b * b;
    const step = [-(c * g[0] - b * g[1]) / determinant, -(a * g[1] - b * g[0]) / determinant];
    const bent = pulled(drag, step), bend = step[0] * bent[0] + step[1] * bent[1];
    const length = findLength(work, z, step, turn, g[0] * step[0] + g[1] * step[1], bend);
    const next = [z[0] + length * step[0], z[1] + length * step[1]];
    if (!(length > 0) || (next[0] === z[0] && next[1] === z[1])) return [z, steepest <= limit];
    z = next;
  }
  return [z, steepest <= limit];
}

// How far along a step the loss is lowest: its derivative rises in straight pieces, so this is exact.
function findLength({ u, y, n, steep }, z, step, turn, slope, bend) {
  const knots = [];
  let rate = bend, most = bend;
  for (let i = 0; i < n; i++) {
    const change = u[i] * step[0] + step[1];
    if (change === 0) continue;
    const speed = Math.abs(change), r = (u[i] * z[0] + z[1] - y[i]) * Math.sign(change);
    const enter = (-turn - r) / speed, leave = (turn - r) / speed, rise = (steep / turn) * speed * speed;
    if (enter <= 0 && leave > 0) rate += rise;
    if (enter > 0) knots.push([enter, rise]);
    if (leave > 0) knots.push([leave, -rise]);
  }
  knots.sort((one, other) => one[0] - other[0]);
  let at = 0, height = slope;
  const rates = [rate], begins = [0], heights = [slope];
  for (const [knot, jump] of knots) {
    height += rate * (knot - at);
    at = knot;
    rate += jump;
    rates.push(rate);
    begins.push(at);
    heights.push(height);
    most = Math.max(most, rate);
  }
  most = Math.max(most, rates[0]);
  let k = heights.findIndex((h) => h >= 0) - 1;
  if (k === -2) k = heights.length - 1;
  k = Math.max(k, 0);
  if (rates[k] <= 1e-14 * most) return begins[k];  // straight but for rounding
  return begins[k] - heights[k] / rates[k];
}

// Put the residuals that are nearly zero at zero, and return that place if it is certainly the lowest.
function placeAtKinks(work, turn, start) {
  const { u, y, n, steep, drag } = work, held = [], side = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const r = u[i] * start[0] + start[1] - y[i];
    if (Math.abs(r) <= turn) held.push(i);
    else side[i] = Math.sign(r);
  }
  const gram = [0, 0, held.length];
  for (const i of held) {
    gram[0] += u[i] * u[i];
    gram[1] += u[i];
  }
  const inverse = pseudoInverse(gram), push = held.map((i) => (steep * (u[i] * start[0] + start[1] - y[i])) / turn);
  let z = [...start];
  for (let round = 0; round < 2; round++) {
    const right = [0, 0];
    for (const i of held) {
      const r = u[i] * z[0] + z[1] - y[i];
      right[0] += u[i] * r;
      right[1] += r;
    }
    const move = pulled(inverse.matrix, right);
    z = [z[0] - move[0], z[1] - move[1]];
  }
  if (inverse.free.length && drag.some(Boolean)) {  // what the kinks leave free the decay decides
    const pull = pulled(drag, z);
    for (let i = 0; i < n; i++) {
      pull[0] += steep * side[i] * u[i];
      pull[1] += steep * side[i];
    }
    const moved = inverse.free.length === 2 ? subtract(z, divide(drag, pull)) : slide(z, inverse.free[0], pull, drag);
    if (isCertain(work, moved, held, side, push, inverse)) return moved;
  }
  return isCertain(work, z, held, side, push, inverse) ? z : null;
}

const subtract = (one, other) => [one[0] - other[0], one[1] - other[1]];
const divide = ([a, b, c], [p, q]) => [(c * p - b * q) / (a * c - b * b), (a * q - b * p) / (a * c - b * b)];

function slide(z, free, pull, drag) {
  const bent = pulled(drag, free), share = (free[0] * pull[0] + free[1] * pull[1]) / (free[0] * bent[0] + free[1] * bent[1]);
  return [z[0] - free[0] * share, z[1] - free[1] * share];
}

// of a symmetric matrix that may lack a rank, and the directions that it lacks
function pseudoInverse([a, b, c]) {
  const middle = (a + c) / 2, half = Math.hypot((a - c) / 2, b), high = middle + half;
  if (!(high > 0)) return { matrix: [0, 0, 0], free: [[1, 0], [0, 1]] };
  const low = (a * c - b * b) / high, angle = Math.atan2(2 * b, a - c) / 2, v = [Math.cos(angle), Math.sin(angle)];
  if (low > 1e-14 * high) return { matrix: [c / (low * high), -b / (low * high), a / (low * high)], free: [] };
  return { matrix: [(v[0] * v[0]) / high, (v[0] * v[1]) / high, (v[1] * v[1]) / high], free: [[-v[1], v[0]]] };
}

// Whether slopes at the kinks, none steeper than the line beyond, make the subgradient zero here.
function isCertain({ u, y, n, steep, drag }, z, held, side, push, inverse) {
  const dragged = pulled(drag, z), pull = [...dragged], sizes = [Math.abs(dragged[0]), Math.abs(dragged[1])];
  let room = 1, inside = true;
  for (let i = 0; i < n; i++) room = Math.max(room, Math.abs(y[i]));
  for (let i = 0; i < n; i++) {
    pull[0] += steep * side[i] * u[i];
    pull[1] += steep * side[i];
    sizes[0] += steep * Math.abs(u[i]);
    sizes[1] += steep;
    const r = u[i] * z[0] + z[1] - y[i];
    inside &&= side[i] === 0 ? Math.abs(r) <= ROUNDING * room : r * side[i] >= -ROUNDING * room;
  }
  let slopes = push;
  for (let round = 0; round < 2; round++) {
    const rest = [...pull];
    held.forEach((i, k) => {
      rest[0] += u[i] * slopes[k];
      rest[1] += slopes[k];
    });
    const lack = pulled(inverse.matrix, rest);
    slopes = slopes.map((each, k) => each - (u[held[k]] * lack[0] + lack[1]));
  }
  held.forEach((i, k) => {
    pull[0] += u[i] * slopes[k];
    pull[1] += slopes[k];
  });
  const left = Math.max(Math.abs(pull[0]), Math.abs(pull[1]));
  const steepest = slopes.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  return inside && left <= ROUNDING * Math.max(...sizes) && steepest <= (1 + 1e-9) * steep;
}
