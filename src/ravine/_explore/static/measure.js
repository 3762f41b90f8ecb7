// What became of a run, read off its steps: as ravine.measure does it, for one run of two parameters.

export const SHARE = 0.01;
export const FEWEST = 8;
export const NOISE = 100;
const GROWTH = 4, STEADY = 0.85, EVEN = 0.99, ROUNDS = 24, IRREGULAR = 0.5;

// Loss with the weight decay that is minimised with it, in float64.
export function minimisedOf({ position, loss }, decay) {
  const found = Float64Array.from(loss);
  if (decay) for (let k = 0; k < found.length; k++) found[k] += (decay / 2) * (position[2 * k] ** 2 + position[2 * k + 1] ** 2);
  return found;
}

// The first step from which the gap stays within 1 % of the start's; NaN where it never does.
export function arrivalOf(gap, minimum, eps) {
  const rounding = Math.abs(minimum) * eps, limit = Math.max(SHARE * gap[0], 2 * rounding);
  const depth = Math.max(SHARE * gap[0], NOISE * rounding);
  if (!Number.isFinite(limit) || !(gap[0] >= -depth)) return NaN;
  let k = gap.length;
  while (k > 0 && gap[k - 1] <= limit && gap[k - 1] >= -depth) k--;
  return k < gap.length ? k : NaN;
}

// The first step from which on no loss is finite; -1 where the last one is.
export function firstBroken(loss) {
  const last = loss.findLastIndex(Number.isFinite) + 1;
  return last < loss.length ? last : -1;
}

// Whether the loss is not finite at the end, or it grew without an end in sight.
export function hasDiverged(loss, minimised, climbs, eps) {
  if (firstBroken(loss) >= 0) return true;
  const last = minimised.length - 1, start = minimised[0];
  if (climbs || last < FEWEST) return false;
  const middle = Math.ceil(last / 2), quarter = Math.floor(last / 4), peaks = [-Infinity, -Infinity, -Infinity], ends = [-1, -1, -1];
  let high = -Infinity, low = Infinity, later = -Infinity, rising = true;
  for (let k = 0; k <= last; k++) {
    const value = minimised[k], part = Math.floor((last - k) / quarter);
    if (2 * (k - 1) >= last && !(value > minimised[k - 1])) rising = false;
    if (Number.isNaN(value)) continue;
    if (k <= middle) {
      high = Math.max(high, value);
      low = Math.min(low, value);
    }
    if (4 * k >= 3 * last) later = Math.max(later, value);
    if (part < 3) {
      peaks[part] = Math.max(peaks[part], value);
      ends[part] = k;
    }
  }
  const rise = later - start, noise = NOISE * eps * Math.abs(start);
  if (!(rise / GROWTH > Math.max(high - start, start - low)) || !(rise > Math.abs(start))) return false;
  // what comes to rest, or levels off, grows ever more slowly
  const [after, between, before] = peaks.map((each) => each - low), share = (ends[0] - ends[1]) / (ends[1] - ends[2]);
  // what still grows fourfold a quarter does not level off: its swings may only fall otherwise
  if (before > noise && after / between < STEADY * Math.min((between / before) ** share, GROWTH)) return false;
  const [one, two, three] = [0, 1, 2].map((k) => minimised[last - k * quarter] - minimised[last - k * quarter - 1]);
  return !(rising && one / two < EVEN * Math.min(two / three, GROWTH));
}

// Steps of a swing of the updates, there and back; NaN where a run does not swing.
export function periodOf(position, kind) {
  const turns = turnsOf(position, kind);
  if (turns.length < 3) return NaN;
  const gaps = turns.slice(1).map((t, k) => t - turns[k]), mean = gaps.reduce((s, g) => s + g, 0) / gaps.length;
  const spread = Math.sqrt(gaps.reduce((s, g) => s + (g - mean) ** 2, 0) / gaps.length);
  return spread <= IRREGULAR * mean ? 2 * mean : NaN;
}

// When the updates turn round, in steps.
export function turnsOf(position, kind) {
  const count = position.length / 2 - 1, moves = new Float64Array(2 * count);
  let finite = 0, largest = 0;
  while (finite < count) {
    const p = kind.round(position[2 * finite + 2] - position[2 * finite]), q = kind.round(position[2 * finite + 3] - position[2 * finite + 1]);
    if (!Number.isFinite(p) || !Number.isFinite(q)) break;
    moves[2 * finite] = p;
    moves[2 * finite + 1] = q;
    largest = Math.max(largest, Math.abs(p), Math.abs(q));
    finite++;
  }
  const unit = largest > 0 ? largest : 1;
  for (let k = 0; k < moves.length; k++) moves[k] /= unit;
  const [dp, dq] = findDirection(moves), turns = [];
  let before = -1, old = 0;
  for (let k = 0; k < finite; k++) {
    const move = moves[2 * k] * dp + moves[2 * k + 1] * dq;
    const scale = (Math.abs(position[2 * k + 2]) * Math.abs(dp) + Math.abs(position[2 * k + 3]) * Math.abs(dq)) / unit;
    if (!(Math.abs(move) > NOISE * kind.eps * scale)) continue;
    if (before >= 0 && move > 0 !== old > 0) {
      turns.push(before + (Math.abs(old) / (Math.abs(old) + Math.abs(move))) * (k - before));
    }
    before = k;
    old = move;
  }
  return turns;
}

// The direction in which moves are largest, by power iteration from the longest.
function findDirection(moves) {
  let a = 0, b = 0, c = 0, far = 0, most = -1;
  for (let k = 0; k < moves.length; k += 2) {
    const p = moves[k], q = moves[k + 1];
    a += p * p;
    b += p * q;
    c += q * q;
    if (p * p + q * q > most) {
      most = p * p + q * q;
      far = k;
    }
  }
  let dp = moves[far] ?? 0, dq = moves[far + 1] ?? 0;
  for (let round = 0; round < ROUNDS; round++) {
    const p = a * dp + b * dq, q = b * dp + c * dq, length = Math.hypot(p, q) || 1;
    dp = p / length;
    dq = q / length;
  }
  return [dp, dq];
}
