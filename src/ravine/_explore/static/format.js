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

export function number(value, digits = 3) {
  if (!Number.isFinite(value)) return general(value, digits);
  const near = Number(general(value, digits));
  return 10 ** digits <= Math.abs(near) && Math.abs(near) < 1e7 ? thousands(near) : general(near, digits);
}

export function thousands(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',');
}

export const steps = (count) => thousands(Math.trunc(count));
export const soMany = (count) => `${steps(count)} step${count === 1 ? '' : 's'}`;

export function percent(share, digits = 2) {
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
  return least === most ? `of ${least}` : `between ${least} and ${most}`;
}

export const place = (labels, values) => `(${labels.map((label, k) => `${label} ${number(values[k])}`).join(', ')})`;

// A minus sign for print: only what people look at has it, what is compared with Python has not.
export const printed = (text) => text.replace(/(^|[^\w-])-(?=[\d.]|inf)/g, '$1−');
