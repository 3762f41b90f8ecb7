// Numbers, lists and spans as people read them: what ravine._format writes, word for word.

// Python's f"{value:.{digits}g}": rounds exact ties to even, where toPrecision rounds them up.
export function general(value, digits) {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa, exponent] = rounded(Math.abs(value), digits), sign = value < 0 ? '-' : '';
  if (exponent < -4 || exponent >= digits) {
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${trim(`${mantissa[0]}.${mantissa.slice(1)}`)}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (exponent < 0) return sign + trim(`0.${'0'.repeat(-exponent - 1)}${mantissa}`);
  return sign + trim(`${mantissa.slice(0, exponent + 1)}.${mantissa.slice(exponent + 1)}`);
}

function rounded(value, digits) {
  const [plain, power] = value.toExponential(digits - 1).split('e');
  let mantissa = plain.replace('.', '');
  const exact = value.toPrecision(100).replace(/e.*$/, '').replace('.', '').replace(/^0+/, '');
  const tie = /^50*$/.test(exact.slice(digits));
  if (tie && Number(exact[digits - 1]) % 2 === 0) mantissa = exact.slice(0, digits);
  const lifted = tie && Number(exact[digits - 1]) % 2 === 0 && mantissa[0] !== plain[0] && Number(plain[0]) === 1;
  return [mantissa, lifted ? Number(power) - 1 : Number(power)];
}

const trim = (text) => (text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text);
const raise = (power) => String(power).replace(/[-\d]/g, (each) => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(each)]);

// A few digits, thousands with commas, a power of ten only where it is needed.
export function number(value, digits = 3) {
  if (value < 0) return `−${number(-value, digits)}`;
  if (Number.isNaN(value)) return 'nan';
  if (value === Infinity || value === 0) return value ? 'inf' : '0';
  const [mantissa, exponent] = rounded(value, digits), near = Number(`${mantissa[0]}.${mantissa.slice(1)}e${exponent}`);
  if (near >= 1e-4 && near < 1e7) {
    if (exponent < 0) return trim(`0.${'0'.repeat(-exponent - 1)}${mantissa}`);
    const whole = mantissa.slice(0, exponent + 1).padEnd(exponent + 1, '0'), rest = mantissa.slice(exponent + 1);
    return trim(`${thousands(Number(whole))}.${rest}`);
  }
  const plain = trim(`${mantissa[0]}.${mantissa.slice(1)}`);
  return plain === '1' ? `10${raise(exponent)}` : `${plain} × 10${raise(exponent)}`;
}

export function thousands(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

export const steps = (count) => thousands(Math.trunc(count));
export const soMany = (count) => `${steps(count)} step${count === 1 ? '' : 's'}`;

export function percent(share, digits = 2) {
  if (share > 0.99 && share < 1 && 1 - share < 1e-6) return 'just under 100 %';
  if (share > 0.99 && share < 1) return `${general(100 - Number(general(100 * (1 - share), 1)), 6)} %`;
  return `${number(Number(general(100 * share, digits)))} %`;
}

export const times = (factor) => `${number(Number(general(factor, 2)))} times`;

export function span(values) {
  const low = number(Math.min(...values)), high = number(Math.max(...values));
  return low === high ? low : `${low} to ${high}`;
}

export function between(low, high) {
  const least = number(low), most = number(high);
  return least === most ? `of ${least}` : `between ${atLeast(low)} and ${atMost(high)}`;
}

export const place = (labels, values) => `(${labels.map((label, k) => `${label} ${number(values[k])}`).join(', ')})`;

// A bound from above, rounded up, so that what keeps to the value keeps to what is written; and one from below.
export const atMost = (value, digits = 3) => roundOutwards(value, digits, 1);
export const atLeast = (value, digits = 3) => roundOutwards(value, digits, -1);

function roundOutwards(value, digits, way) {
  if (!Number.isFinite(value) || value === 0) return number(value, digits);
  const [, power] = value.toExponential(digits + 8).split('e'), near = Number(value.toPrecision(digits + 9));
  const short = Number(near.toPrecision(digits));
  if (near === short && Math.abs(near - value) <= Math.abs(value) * 1e-12) return number(near, digits + 1);
  const exact = Math.abs(value).toPrecision(100).replace(/e.*$/, '').replace('.', '').replace(/^0+/, '');
  const exponent = Math.floor(Number(Math.abs(value).toExponential(99).split('e')[1] ?? power));
  let kept = BigInt(exact.slice(0, digits));
  if (/[1-9]/.test(exact.slice(digits)) && way === Math.sign(value)) kept += 1n;
  return number(Math.sign(value) * Number(`${kept}e${exponent - digits + 1}`), digits + 1);
}

// Two numbers with as many digits as tell them apart, each on its side of the other; null where that takes too many.
export function toldApart(value, other, digits = 3, most = 7) {
  for (let count = digits; count <= most; count++) {
    const one = Number(general(value, count)), two = Number(general(other, count));
    if (one !== two && one < two === value < other) return [number(value, count), number(other, count)];
  }
  return null;
}
