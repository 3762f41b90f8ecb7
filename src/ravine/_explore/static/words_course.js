// What a loss did on its way, where no minimum is known to measure it by; and why nothing moves.

import { distanceToNext, finding } from './facts.js';
import { atLeast, number, percent, soMany, steps, times, toldApart } from './format.js';
import { gapAbove } from './quadratic.js';
import { grew } from './words_limits.js';

const LATE = 10, PLAIN = 0.01, MANIFOLD = 2, FEWEST = 10, HIGH = 2, IN_A_ROW = 3, STILL = 3, HOME = 1e-6;

export function course(facts) {
  const { climbs, taken, run, eps, minimum } = facts;
  if (climbs || facts.diverged || taken < 2 || (grew(facts) && !facts.decay)) return null;
  const losses = [...run.loss].map((each) => each + 0), count = losses.length;  // -0 is 0
  const noise = losses.slice(1).map((each, k) => 2 * distanceToNext(Math.max(Math.abs(each), Math.abs(losses[k])), eps));
  const rose = noise.map((room, k) => losses[k + 1] - losses[k] > room), rises = rose.filter(Boolean).length, most = Math.max(...noise);
  const best = losses.indexOf(Math.min(...losses)), worst = losses.indexOf(Math.max(...losses));
  const first = losses[0], last = losses[count - 1], high = losses[worst];
  if (minimum !== null && !(high - first > HIGH * Math.abs(first))) return null;
  if (high - losses[best] <= most) return finding('course', `The loss stays at ${number(first)} for all ${soMany(taken)}.`, 'measured');
  const [one, two] = toldApart(first, last) ?? [number(first), number(last)], parts = [];
  if (rises) parts.push(`it rises at ${rises === count - 1 ? 'each' : steps(rises)} of ${steps(count - 1)} steps`);
  if (worst !== 0 && worst !== count - 1 && high > first + most) parts.push(`is highest at step ${steps(worst)} (${number(high)})`);
  if (best === 0 && rises < count - 1) parts.push('is never lower than at the start');
  else if (best !== 0 && best !== count - 1 && losses[best] < last - most) parts.push(`is best at step ${steps(best)} (${number(losses[best])})`);
  let tail = sayTail(losses);
  const since = rose.lastIndexOf(false) + 1, grows = rises < count - 1 && count - 1 - since >= IN_A_ROW;
  if (!tail && grows && last - first > HIGH * Math.abs(first)) tail = `. It grows at the end, from ${number(losses[since])} at step ${steps(since)} on`;
  const went = `The loss goes from ${one} to ${two} in ${soMany(taken)}`;
  return finding('course', `${went}${parts.length ? `; ${join(parts)}` : ''}${tail}.`, 'measured');
}

function join(parts) {
  const whole = parts[0].startsWith('it ') ? parts : [`it ${parts[0]}`, ...parts.slice(1)];
  return whole.length > 1 ? `${whole.slice(0, -1).join(', ')} and ${whole[whole.length - 1]}` : whole[0];
}

// what the mean loss of the last part is against that of the part before
function sayTail(losses) {
  const count = Math.floor(losses.length / LATE);
  if (losses.length < 2 * FEWEST || count < 1) return '';
  const mean = (part) => part.reduce((sum, each) => sum + each, 0) / part.length;
  const late = mean(losses.slice(-count)), before = mean(losses.slice(-2 * count, -count));
  if (!(before > 0) || !(late > 0)) return '';
  const change = late / before - 1;
  if (Math.abs(change) <= PLAIN) return `. Over the last tenth its mean is that of the tenth before, within ${percent(PLAIN)}`;
  if (change > MANIFOLD) return `. It rises at the end: over the last tenth its mean is ${times(1 + change)} that of the tenth before`;
  const [way, side] = change < 0 ? ['still falls', 'below'] : ['rises', 'above'];
  const said = `over the last tenth its mean is ${percent(Math.abs(change))} ${side} that of the tenth before`;
  // it was lower before, and goes to and fro since
  if (change < 0 && Math.min(...losses.slice(-count)) > Math.min(...losses)) return `. O${said.slice(1)}`;
  return `. It ${way} at the end: ${said}`;
}

export function still(facts) {
  const { taken, run } = facts, p = run.position;
  if (taken < 1 || !p.every(Number.isFinite) || facts.diverged) return null;
  let since = taken;
  while (since > 0 && p[2 * since] === p[2 * since - 2] && p[2 * since + 1] === p[2 * since - 1]) since--;
  if (since < taken && taken - since >= Math.min(Math.max(STILL, Math.floor(taken / LATE)), taken)) {
    return isHome(facts) ? null : sayAllStill(facts, since);
  }
  const never = [0, 1].map((j) => p.every((each, k) => k % 2 !== j || each === p[j]));
  return never.some(Boolean) ? saySomeStill(facts, never) : null;
}

// Whether it stands at a minimum that is known, within the rounding of the loss: by the positions, which tell more than a
// loss of few digits, and where it is 0 nothing but rounding is left of it.
function isHome({ minimum, landmark, kinked, minimised, taken, run: { position: p, loss }, eps }) {
  const ulp = distanceToNext(loss[taken], eps);
  if (minimum === null) return false;
  if (kinked) return minimised[taken] - minimum <= 16 * ulp;
  const [first, last] = [0, 2 * taken].map((k) => gapAbove(landmark, p[k], p[k + 1]));
  return last <= Math.max(ulp, HOME * first);
}

function sayAllStill(facts, since) {
  const { taken, settings, kind, run, rule, zeroGradient: zero, eps } = facts, p = run.position, { lr } = settings;
  let begins = since ? `From step ${steps(since)} on nothing moves` : 'Nothing moves';
  if (!since && taken === 1) begins = 'It does not move';
  if (lr === 0) return finding('still', `${begins}: the lr is 0${since ? ' there' : ''}.`, 'measured');
  if (!since && zero?.every(Boolean)) {
    const said = `${begins}: the gradient is exactly 0 for both parameters. The loss is level there, or so nearly that ${kind.dtype} makes 0 of its slope (saturation).`;
    return finding('still', said, 'measured');
  }
  const place = [p[2 * taken], p[2 * taken + 1]].map(Math.abs), spacing = place.filter((each) => each > 0).map((each) => distanceToNext(each, eps));
  let why = `what is left of each update is less than half the distance to the next number in ${kind.dtype}`;
  if (spacing.length) {
    why += `, which is ${number(Math.min(...spacing))} at ${number(Math.min(...place.filter((each) => each > 0)))}`;
    if (rule && !settings.weight_decay && lr > 0) why += `: at lr ${number(lr)} a gradient below ${atLeast(Math.min(...spacing) / 2 / lr)} is lost`;
  }
  if (!since && zero?.some(Boolean)) why += ` (${sayCount(zero.filter(Boolean).length)} have no gradient at all)`;
  return finding('still', `${begins}: ${why}.`, 'measured');
}

const sayCount = (count) => `${steps(count)} parameter${count === 1 ? '' : 's'}`;

function saySomeStill({ labels, taken, kind, zeroGradient: zero }, never) {
  const which = labels.filter((_, j) => never[j]), count = which.length;
  let said = `${steps(count)} of ${sayCount(2)} never ${count === 1 ? 'moves' : 'move'} (${which.join(', ')})`;
  const flat = zero ? never.filter((each, j) => each && zero[j]).length : 0;
  if (flat && flat === count) said += `: ${count === 1 ? 'its' : 'their'} gradient is exactly 0 at the first step and at the last`;
  else if (flat) said += `: ${steps(flat)} of them have a gradient of exactly 0 at the first step and at the last`;
  else said += `: no update reached half the distance to the next number in ${kind.dtype}`;
  return finding('still', `${said} (in ${soMany(taken)}).`, 'measured');
}
