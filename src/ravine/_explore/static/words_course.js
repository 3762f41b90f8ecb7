// What a loss did on its way, where no minimum is known to measure it by; and why nothing moves.

import { distanceToNext, finding } from './facts.js';
import { atLeast, atMost, number, percent, soMany, steps, times, toldApart } from './format.js';
import { gapAbove } from './quadratic.js';
import { grew } from './words_limits.js';

const LATE = 10, PLAIN = 0.01, MANIFOLD = 2, FEWEST = 10, HIGH = 2, IN_A_ROW = 3, STILL = 3, HOME = 1e-6, NOISY = 2.5, JITTER = 2, APART = 10;

export function course(facts) {
  const { climbs, taken, run, eps, minimum } = facts;
  if (climbs || facts.diverged || taken < 2 || (grew(facts) && !facts.decay)) return null;
  const at = [...run.loss.keys()].filter((k) => Number.isFinite(run.loss[k])), losses = at.map((k) => run.loss[k] + 0), count = at.length;  // -0 is 0
  if (count < 3) return null;
  const noise = losses.slice(1).map((each, k) => 2 * distanceToNext(Math.max(Math.abs(each), Math.abs(losses[k])), eps));
  const rose = noise.map((room, k) => losses[k + 1] - losses[k] > room), rises = rose.filter(Boolean).length, most = Math.max(...noise);
  const best = losses.indexOf(Math.min(...losses)), worst = losses.indexOf(Math.max(...losses));
  const first = losses[0], last = losses[count - 1], high = losses[worst];
  if (minimum !== null && !(high - first > HIGH * Math.abs(first))) return null;
  if (high - losses[best] <= most) {
    const looked = count - 1 < taken ? `is ${number(first)} at all ${steps(count)} steps that were looked at` : `stays at ${number(first)} for all ${soMany(taken)}`;
    return finding('course', `The loss ${looked}.`, 'measured');
  }
  const risesOver = worst !== 0 && worst !== count - 1 && high > first + most, lowest = losses[best];
  const fallsUnder = best !== 0 && best !== count - 1 && lowest < last - most;
  const extremes = [...(risesOver ? [high] : []), ...(fallsUnder ? [lowest] : [])];
  const pairs = [[first, last], ...extremes.flatMap((each) => [[each, first], [each, last]])];
  const digits = Math.max(...pairs.map(([one, other]) => digitsApart(one, other))), parts = [];
  if (rises) parts.push(`it rises at ${rises === count - 1 ? 'each' : steps(rises)} of ${steps(count - 1)} ${count - 1 === taken ? 'steps' : 'evaluations'}`);
  if (risesOver) parts.push(`is highest at step ${steps(at[worst])} (${number(high, digits)})`);
  if (best === 0 && rises < count - 1) parts.push('is never lower than at the start');
  else if (fallsUnder) parts.push(`is best at step ${steps(at[best])} (${number(lowest, digits)})`);
  let tail = sayTail(losses);
  const since = rose.lastIndexOf(false) + 1, grows = rises < count - 1 && count - 1 - since >= IN_A_ROW;
  if (!tail && grows && last - first > HIGH * Math.abs(first)) tail = `. It grows at the end, from ${number(losses[since])} at step ${steps(at[since])} on`;
  const went = `The loss goes from ${number(first, digits)} to ${number(last, digits)} in ${soMany(taken)}`;
  return finding('course', `${went}${parts.length ? `; ${join(parts)}` : ''}${tail}.`, 'measured');
}

// how many digits two numbers of one sentence take, so that the larger one reads as the larger
const digitsApart = (one, other) => [3, 4, 5, 6, 7].find((count) => toldApart(one, other, count, count)) ?? 3;

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
  const change = late / before - 1, ends = losses.slice(-2 * count), turns = ends.slice(1).map((each, k) => each - ends[k]);
  if (Math.abs(change) <= PLAIN) return `. Over the last tenth its mean is that of the tenth before, within ${percent(PLAIN)}`;
  const far = change > MANIFOLD ? times(1 + change) : `${percent(Math.abs(change))} ${change > 0 ? 'above' : 'below'}`;
  const said = `over the last tenth its mean is ${far} that of the tenth before`;
  const scatter = Math.sqrt(mean(turns.map((each) => each * each)) / count);  // of the difference of two such means
  if (Math.abs(late - before) <= NOISY * scatter && turns.some((each) => each * change < 0)) return `. O${said.slice(1)}, which its scatter from one to the next may make`;
  const half = Math.floor(count / 2), onwards = mean(losses.slice(-half)) - mean(losses.slice(-count, half - count));
  // it was lower before, and goes to and fro since; or it has turned by now
  if (onwards * change <= 0 || (change < 0 && Math.min(...losses.slice(-count)) > Math.min(...losses))) return `. O${said.slice(1)}`;
  return `. It ${change < 0 ? 'still falls' : 'rises'} at the end: ${said}`;
}

export function still(facts) {
  const { taken, run } = facts, p = run.position;
  if (taken < 1 || !p.every(Number.isFinite) || facts.diverged) return null;
  const since = standsSince(facts, [0, 0]);
  if (since !== null) return isHome(facts) ? null : sayAllStill(facts, since);
  const other = sayElsewhere(facts, null);
  if (other) return other;
  const never = [0, 1].map((j) => p.every((each, k) => k % 2 !== j || each === p[j]));
  return never.some(Boolean) ? saySomeStill(facts, never) : null;
}

// the step from which on nothing moves by more than this, to the end; null where that is not long
function standsSince({ taken, run: { position: p } }, room) {
  const near = (k) => [0, 1].every((j) => Math.abs(p[2 * k + j] - p[2 * k + j - 2]) <= room[j]);
  let since = taken;
  while (since > 0 && near(since)) since--;
  return since < taken && taken - since >= Math.min(Math.max(STILL, Math.floor(taken / LATE)), taken) ? since : null;
}

// Whether it came to rest at another place than the minimum that is known, and not for want of digits.
export function restsElsewhere(facts) {
  const { taken, run, diverged } = facts;
  if (!facts.landmark || taken < 1 || !run.position.every(Number.isFinite) || diverged) return false;
  return findElsewhere(facts, standsSince(facts, [0, 0])) !== null;
}

// Since when it stands, or moves within rounding, at another place, how far away, and what gradient may be left there. Null
// where rounding could hide the gradient that the curvature at the minimum makes there: the way home may be too flat.
function findElsewhere(facts, since) {
  const { landmark, kinked, rule, settings: { lr, momentum: mu, dampening: tau }, run: { position: p }, taken, eps } = facts;
  if (!landmark || kinked || !rule || !(lr > 0) || !(tau < 1) || isHome(facts)) return null;
  const units = [0, 1].map((j) => distanceToNext(p[2 * taken + j], eps));
  const step = since ?? standsSince(facts, units.map((each) => JITTER * each));
  if (step === null) return null;
  // two updates in a row are so small, and what momentum keeps of the first and the gradient make the second
  const left = units.map((each) => ((1 + mu) / (1 - tau)) * (since === null ? JITTER + 0.5 : 0.5) * each / lr);
  const [a, b, c] = landmark.hessian, x = p[2 * taken] - landmark.place[0], y = p[2 * taken + 1] - landmark.place[1];
  const pull = [Math.abs(a * x + b * y), Math.abs(b * x + c * y)];
  return pull.some((each, j) => each > APART * left[j]) ? { step, away: Math.hypot(x, y), left: Math.max(...left) } : null;
}

function sayElsewhere(facts, since) {
  const found = findElsewhere(facts, since);
  if (!found) return null;
  const { step, away, left } = found, within = since === null ? ' by more than rounding does' : '';
  const begins = `${since === 0 ? 'Nothing moves' : `From step ${steps(step)} on nothing moves`}${within}`;
  const where = `${step ? 'has come to rest' : 'stands'} ${number(away)} from the minimum that is known`;
  const said = `${begins}: it ${where}, where no gradient is left but what rounding may hide (${atMost(left)} at most): at a minimum of its own, or on a plateau.`;
  return finding('still', said, 'measured');
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
  const other = sayElsewhere(facts, since);
  if (other) return other;
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
