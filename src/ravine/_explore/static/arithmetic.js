// Numbers as torch's dtypes round them: the fused multiply-add, and the sum of contiguous numbers in torch's order.

const fround = Math.fround;

// ---- one rounding for a product and a sum -------------------------------------------------------------------

// The product of two floats is exact in double, so only the sum is rounded twice. That goes wrong where the first
// rounding made a tie: then what it lost decides.
export function fma32(a, b, c) {
  const product = a * b, sum = product + c, near = fround(sum);
  const other = near + 2 * (sum - near);
  return other !== near && fround(other) === other ? breakTie(sum, product, c, near, other) : near;
}

export function breakTie(sum, product, c, near, other) {
  const part = sum - product, lost = product - (sum - part) + (c - part);
  if (lost > 0) return Math.max(near, other);
  return lost < 0 ? Math.min(near, other) : near;
}

const SPLIT = 134217729;  // 2²⁷ + 1 cuts a double into two halves
const LARGE = 1e290;  // beyond it the halves would overflow
const SMALL = 1e-200;  // below it the product's error would be subnormal, and lost
const word = new Float64Array(1), bits = new BigInt64Array(word.buffer), halves = new Uint32Array(word.buffer);
const LOW = new Uint8Array(new Uint32Array([1]).buffer)[0] ? 0 : 1;  // which half holds the last place

// Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", IEEE Trans. Computers 57(4), 2008: the sum of
// the low parts is rounded to odd, so that the last rounding is the only one that counts.
export function fma64(a, b, c) {
  const product = a * b;
  const size = Math.abs(product);
  if (!(size < LARGE && Math.abs(a) < LARGE && Math.abs(b) < LARGE && Math.abs(c) < LARGE) || size < SMALL) {
    if (!Number.isFinite(a) || !Number.isFinite(b) || !Number.isFinite(c) || a === 0 || b === 0) return product + c;
    return scaledFma(a, b, c);
  }
  let t = SPLIT * a;
  const ah = t - (t - a), al = a - ah;
  t = SPLIT * b;
  const bh = t - (t - b), bl = b - bh;
  const low = ah * bh - product + ah * bl + al * bh + al * bl;
  const high = c + low;
  let z = high - c;
  const highRest = c - (high - z) + (low - z);
  const total = product + high;
  z = total - product;
  const rest = product - (total - z) + (high - z);
  return total + roundToOdd(highRest, rest);
}

function roundToOdd(one, other) {
  const sum = one + other, z = sum - one, lost = one - (sum - z) + (other - z);
  if (lost === 0) return sum;
  word[0] = sum;
  if ((halves[LOW] & 1) === 0) {  // one unit in the last place towards what was lost
    const grows = (lost > 0) === (sum > 0);
    if (!grows && halves[LOW] === 0) halves[1 - LOW] -= 1;
    halves[LOW] += grows ? 1 : -1;
  }
  return word[0];
}

// Far out, exactly: the sum as an integer times a power of two, rounded once by hand.
function scaledFma(a, b, c) {
  const [ma, ea] = integerOf(a), [mb, eb] = integerOf(b), [mc, ec] = integerOf(c);
  const low = c === 0 ? ea + eb : Math.min(ea + eb, ec);
  if (c !== 0 && Math.abs(ea + eb - ec) > 2200) return Math.abs(c) > 1 ? c : a * b + c;
  const sum = ((ma * mb) << BigInt(ea + eb - low)) + (c === 0 ? 0n : mc << BigInt(ec - low));
  if (sum === 0n) return a * b + c;
  return doubleOf(sum, low);
}

function integerOf(value) {
  word[0] = value;
  const raw = BigInt.asUintN(64, bits[0]), exponent = Number((raw >> 52n) & 2047n), fraction = raw & ((1n << 52n) - 1n);
  const whole = exponent === 0 ? fraction : fraction | (1n << 52n);
  return [value < 0 ? -whole : whole, Math.max(exponent, 1) - 1075];
}

function doubleOf(whole, exponent) {
  const size = whole < 0n ? -whole : whole, length = size.toString(2).length;
  const drop = Math.max(length - 53, -1074 - exponent, 0);
  const cut = BigInt(drop);
  let kept = size >> cut;
  const left = size - (kept << cut), half = cut > 0n ? 1n << (cut - 1n) : 0n;
  if (cut > 0n && (left > half || (left === half && (kept & 1n) === 1n))) kept += 1n;
  const scale = exponent + drop;
  // two factors, because 2 ** scale alone may be no double
  const value = Number(kept) * 2 ** Math.max(scale, -1022) * 2 ** Math.min(scale + 1022, 0);
  return whole < 0n ? -value : value;
}

// where the processor's library multiplies, rounds, and then adds
export const split32 = (a, b, c) => fround(fround(a * b) + c);
export const split64 = (a, b, c) => a * b + c;

// ---- torch's sum (aten/src/ATen/native/cpu/SumKernel.cpp, cascade_sum) ----------------------------------------

// 8 lanes and four rows of them; while there are less than 16 rows, one level holds them all
export function sum32(a, n) {
  if (n < 8 || n >= 512) return cascade32(a, n);
  const vectors = n >> 3, rows = vectors >> 2;
  let total = 0;
  for (let k = vectors << 3; k < n; k++) total = fround(total + a[k]);
  for (let lane = 0; lane < 8; lane++) {
    let p0 = 0, p1 = 0, p2 = 0, p3 = 0, q = lane;
    for (let i = 0; i < rows; i++, q += 32) {
      p0 = fround(p0 + a[q]);
      p1 = fround(p1 + a[q + 8]);
      p2 = fround(p2 + a[q + 16]);
      p3 = fround(p3 + a[q + 24]);
    }
    for (let v = rows << 2; v < vectors; v++) p0 = fround(p0 + a[(v << 3) + lane]);
    total = fround(total + fround(fround(fround(p0 + p1) + p2) + p3));
  }
  return total;
}

export function sum64(a, n) {
  if (n < 4 || n >= 256) return cascade64(a, n);
  const vectors = n >> 2, rows = vectors >> 2;
  let total = 0;
  for (let k = vectors << 2; k < n; k++) total += a[k];
  for (let lane = 0; lane < 4; lane++) {
    let p0 = 0, p1 = 0, p2 = 0, p3 = 0, q = lane;
    for (let i = 0; i < rows; i++, q += 16) {
      p0 += a[q];
      p1 += a[q + 4];
      p2 += a[q + 8];
      p3 += a[q + 12];
    }
    for (let v = rows << 2; v < vectors; v++) p0 += a[(v << 2) + lane];
    total += p0 + p1 + p2 + p3;
  }
  return total;
}

const cascade32 = makeCascade(Float32Array, 8, fround);
const cascade64 = makeCascade(Float64Array, 4, (x) => x);

// the general form: four levels, each taking in the one below after so many rows
function makeCascade(Numbers, lanes, round) {
  const rows = 4, levels = 4, width = rows * lanes, acc = new Numbers(levels * width);  // storing rounds
  return (a, n) => {
    if (n < lanes) return sumFew(a, n, round);
    const vectors = Math.floor(n / lanes), size = Math.floor(vectors / rows);
    let power = 0;
    while (1 << power < size) power++;
    power = Math.max(4, Math.floor(power / levels));
    const step = 1 << power, mask = step - 1;
    acc.fill(0);
    let i = 0;
    while (i + step <= size) {
      for (let j = 0; j < step; j++, i++) for (let k = 0; k < width; k++) acc[k] += a[i * width + k];
      for (let j = 1; j < levels; j++) {
        for (let k = 0; k < width; k++) {
          acc[j * width + k] += acc[(j - 1) * width + k];
          acc[(j - 1) * width + k] = 0;
        }
        if ((i & (mask << (j * power))) !== 0) break;
      }
    }
    for (; i < size; i++) for (let k = 0; k < width; k++) acc[k] += a[i * width + k];
    for (let j = 1; j < levels; j++) for (let k = 0; k < width; k++) acc[k] += acc[j * width + k];
    for (let v = size * rows; v < vectors; v++) for (let k = 0; k < lanes; k++) acc[k] += a[v * lanes + k];
    for (let r = 1; r < rows; r++) for (let k = 0; k < lanes; k++) acc[k] += acc[r * lanes + k];
    let total = 0;
    for (let k = vectors * lanes; k < n; k++) total = round(total + a[k]);
    for (let k = 0; k < lanes; k++) total = round(total + acc[k]);
    return total;
  };
}

// too few for a vector: four rows of single numbers
function sumFew(a, n, round) {
  const whole = (n >> 2) << 2, part = [0, 0, 0, 0];
  for (let i = 0; i < whole; i++) part[i & 3] = round(part[i & 3] + a[i]);
  for (let i = whole; i < n; i++) part[0] = round(part[0] + a[i]);
  return round(round(round(part[0] + part[1]) + part[2]) + part[3]);
}

// ---- powers as C's pow gives them: in double-double, rounded once ----------------------------------------------

export function power(base, exponent) {
  let out = [1, 0], square = [base, 0];
  for (let k = exponent; k; k >>= 1) {
    if (k & 1) out = multiply(out, square);
    square = multiply(square, square);
  }
  return out[0] + out[1];
}

function multiply([ah, al], [bh, bl]) {
  const product = ah * bh;
  let t = SPLIT * ah;
  const a1 = t - (t - ah), a2 = ah - a1;
  t = SPLIT * bh;
  const b1 = t - (t - bh), b2 = bh - b1;
  const low = a1 * b1 - product + a1 * b2 + a2 * b1 + a2 * b2 + ah * bl + al * bh, sum = product + low;
  return [sum, low - (sum - product)];
}

// ---- the two dtypes ---------------------------------------------------------------------------------------------

// `order` says how this processor's torch multiplies and adds: {gradient, update}, each "fused" or "split"
export function makeKind(dtype, order) {
  const single = dtype === 'float32', fused = single ? fma32 : fma64, split = single ? split32 : split64;
  return {
    dtype,
    single,
    eps: single ? 2 ** -23 : 2 ** -52,
    Numbers: single ? Float32Array : Float64Array,
    round: single ? fround : (x) => x,
    sum: single ? sum32 : sum64,
    chain: order.gradient === 'fused' ? fused : split,
    fma: order.update === 'fused' ? fused : split,
    fusedChain: order.gradient === 'fused',
  };
}
