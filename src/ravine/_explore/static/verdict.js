// What is written beside the pictures: headline, a panel's lines, the settings as one types them, a script.

import { LOCALLY } from './facts.js';
import { number, soMany, steps } from './format.js';
import { firstBroken } from './measure.js';
import { OPTIMIZERS, coupledDecay, isSgd, nameOf, pythonFloat, settingsOf, usualOf } from './optimizers.js';
import { findShape, told } from './words.js';

// A setting as Python reads it, as short as it can be.
export const typed = (value) => (typeof value === 'boolean' ? (value ? 'True' : 'False') : pythonFloat(value).replace(/\.0$/, ''));

// SGD(lr=0.1, momentum=0.9): what differs from torch's defaults, and lr always.
export function callOf(settings) {
  const optimizer = nameOf(settings), { numbers, switches } = OPTIMIZERS[optimizer], parts = [];
  const usual = { ...usualOf(optimizer), lr: null, weight_decay: optimizer === 'AdamW' ? 0.01 : 0 }, { beta1, beta2 } = settings;
  for (const name of [...numbers, ...switches]) {
    if (name === 'beta1' && (beta1 !== usual.beta1 || beta2 !== usual.beta2)) parts.push(`betas=(${typed(beta1)}, ${typed(beta2)})`);
    else if (!name.startsWith('beta') && (settings[name] ?? usual[name]) !== usual[name]) parts.push(`${name}=${typed(settings[name])}`);
  }
  return `${optimizer}(${parts.join(', ')})`;
}

// Four digits, as the loss of a run is told everywhere.
export const lossText = (value) => number(value, 4);

// "loss 53.08 → 0.5005, arrives at step 42"
export function outcomeOf(facts) {
  const { run, taken, minimum, climbs } = facts, first = lossText(run.loss[0]), last = run.loss[taken];
  const went = `loss ${first} → ${lossText(last)}`;
  if (climbs) return went;
  if (facts.diverged) {
    const broken = firstBroken(run.loss);
    return broken < 0 ? `${went}: it diverged` : `loss ${first} → ${lossText(run.loss[broken])} at step ${steps(broken)}: it diverged`;
  }
  if (minimum === null) return went;
  const { outcome, step } = facts.arrival;
  if (outcome === 'arrived' && step === 0) return `${went}, within rounding of the lowest loss from the start`;
  return outcome === 'arrived' ? `${went}, arrives at step ${steps(step)}` : `${went}, not arrived`;
}

const SHORTEST = 30, LONGEST = 100;

// The longest beginning of a sentence that says something by itself in two lines: as Finding.brief.
export function brief(sentence) {
  if (sentence.length <= LONGEST) return sentence;
  const bare = sentence.startsWith(LOCALLY) ? sentence.slice(LOCALLY.length) : sentence;
  const said = bare.startsWith('lr ') ? bare : `${bare[0].toUpperCase()}${bare.slice(1)}`;  // settings are written as typed
  if (said.length <= LONGEST) return said;
  const ends = [...said.matchAll(/\. |; |: |, not |, so /g)].map((match) => match.index).filter((at) => at > SHORTEST && at < LONGEST);
  return ends.length ? `${said.slice(0, ends[ends.length - 1])}.` : said;
}

export function reasonOf(facts) {
  const shape = findShape(facts);
  return shape ? told({ ...shape, sentence: brief(shape.sentence) }) : '';
}

// One line over everything: what the settings are, and what became of the runs.
export function headlineOf(all, settings) {
  const { momentum, nesterov, lr } = settings, name = number(momentum);
  const what = !isSgd(settings) ? `${nameOf(settings)}${momentum ? ` with momentum ${name}` : ''}` : momentum ? `${nesterov ? 'Nesterov' : 'Momentum'} ${name}` : 'Plain SGD';
  if (settings.maximize) return 'Uphill: maximize follows the gradient';
  const lost = all.filter((each) => each.facts.diverged), known = all.filter((each) => each.facts.minimum !== null);
  const arrived = known.filter((each) => each.facts.arrival.outcome === 'arrived');
  const named = (list, done) => `${joined(list.map((each) => each.label))} ${done}${list.length > 1 ? '' : 's'}`;
  // short enough for one line, so that nothing below it moves while a hand does
  const isMost = (list) => list.length > 1 && list.length === all.length - 1;
  const some = (list, done) => (isMost(list) ? `all but ${all.find((each) => !list.includes(each)).label} ${done}` : named(list, done));
  if (!all.length) return `${what} at lr ${number(lr)}: no run`;
  if (lost.length === all.length) return `${what} at lr ${number(lr)}: ${all.length > 1 ? 'all diverge' : 'it diverges'}`;
  if (lost.length) return `${what} at lr ${number(lr)}: ${some(lost, 'diverge')}`;
  if (known.length < all.length) return arrived.length ? `${what}: ${named(arrived, 'arrive')}` : `${what} at lr ${number(lr)}`;
  const at = arrived.map((each) => each.facts.arrival.step), low = Math.min(...at), high = Math.max(...at);
  if (arrived.length === all.length) {
    if (all.length === 1) return `${what}: it arrives at step ${steps(low)}`;
    return `${what}: all arrive, ${low === high ? `at step ${steps(low)}` : `at steps ${steps(low)} to ${steps(high)}`}`;
  }
  if (!arrived.length) return `${what}: ${all.length > 1 ? 'none arrives' : 'it does not arrive'} in ${soMany(all[0].facts.taken)}`;
  const rest = isMost(arrived) ? '' : `, the other${all.length - arrived.length > 1 ? 's do' : ' does'} not`;
  return `${what}: ${some(arrived, 'arrive')}${rest}`;
}

const joined = (names) => (names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`);

// The update in numbers, as pairs of what it is of (velocity or parameters) and the line.
// `names` are those of the parameters, in the order in which the maps have them; `swap` says that it is not the run's.
export function updateOf(update, settings, names, swap) {
  const turned = (value) => (swap && Array.isArray(value) ? value.toReversed() : value), turn = (some) => Object.fromEntries(Object.entries(some).map(([name, value]) => [name, turned(value)]));
  const parts = { ...turn(update), ...(update.seen && { seen: turn(update.seen) }) }, named = ['g', `(${names.join(', ')})`];
  return [named, ...(isSgd(settings) ? stepOfSgd : stepOfOther)(parts, settings)];
}

function stepOfSgd(parts, settings) {
  const { momentum, dampening, nesterov, weight_decay, lr } = settings, lines = [];
  const gradient = weight_decay ? 'g' : pair(parts.gradient);
  if (weight_decay) lines.push(['g', `g ← ${pair(parts.slope)} + ${short(weight_decay)}·${pair(parts.here)} = ${pair(parts.gradient)}`]);
  if (momentum) {
    const push = dampening ? `${short(1 - dampening)}·${gradient}` : gradient;
    const made = parts.first ? gradient : `${short(momentum)}·${pair(parts.before)} + ${push} = ${pair(parts.velocity)}`;
    lines.push(['v', `v ← ${made}`]);
  }
  const ahead = parts.first && !weight_decay ? 'v' : gradient;  // the first velocity is the gradient
  const along = !momentum ? gradient : nesterov ? `(${ahead} + ${short(momentum)}·v)` : 'v';
  lines.push(['t', `θ ← ${pair(parts.here)} − ${short(lr)}·${along} = ${pair(parts.next)}`]);
  return lines;
}

function stepOfOther({ here, gradient, seen, along, next }, settings) {
  const { lr, weight_decay, optimizer } = settings, decay = coupledDecay(settings);
  const made = Object.entries(seen).map(([name, values]) => `${name} = ${pair(values)}`).join(', ');
  const kept = optimizer === 'AdamW' && weight_decay ? `(1 − ${short(lr)}·${short(weight_decay)})·` : '';
  return [['g', `g ${decay ? 'with decay ' : ''}= ${pair(gradient)}`], ['v', made], ['t', `θ ← ${kept}${pair(here)} − ${short(lr)}·${along} = ${pair(next)}`]];
}

const pair = (values) => `(${values.map(signed).join(', ')})`;
const short = (value) => number(value);
const signed = (value) => (Number.isFinite(value) ? `${value < 0 ? '−' : '+'}${number(Math.abs(value))}` : String(value));

// A plain torch loop that gives the run of one panel.
export function scriptOf(panel, card, state) {
  const { kind } = panel, settings = settingsOf(state), lines = ['import torch', ''];
  const list = (values) => `[${[...values].map((v) => pythonFloat(Number(v))).join(', ')}]`, dtype = `torch.${kind.dtype}`;
  if (panel.data) {
    lines.push(`x = torch.tensor(${list(panel.data.inputs)}, dtype=${dtype}).reshape(-1, 1)`);
    lines.push(`y = torch.tensor(${list(panel.data.targets)}, dtype=${dtype}).reshape(-1, 1)`);
    lines.push(`model = torch.nn.Linear(1, 1, dtype=${dtype})`, `model.weight.data.fill_(${pythonFloat(state.start[0])})`);
    const turn = { HuberLoss: `delta=${pythonFloat(panel.turn)}`, SmoothL1Loss: `beta=${pythonFloat(panel.turn)}` }[panel.criterion] ?? '';
    lines.push(`model.bias.data.fill_(${pythonFloat(state.start[1])})`, `criterion = torch.nn.${panel.criterion}(${turn})`);
    lines.push(`optimizer = torch.optim.${callOf(settings).replace('(', '(model.parameters(), ')}`);
  } else {
    const start = (k) => `torch.tensor(${pythonFloat(state.start[k])}, dtype=${dtype}, requires_grad=True)`;
    const call = card.function === 'quadratic' ? `quadratic(condition=${pythonFloat(panel.turn)})` : `${card.function}()`;
    lines.splice(1, 0, 'import ravine');
    lines.push(`function = ravine.gallery.${call}.loss`, `p = {"x": ${start(0)}, "y": ${start(1)}}`);
    lines.push(`optimizer = torch.optim.${callOf(settings).replace('(', '(p.values(), ')}`);
  }
  const loss = panel.data ? 'criterion(model(x), y)' : 'function(p)';
  lines.push(`for step in range(${state.steps}):`, '    optimizer.zero_grad()', `    loss = ${loss}`, '    loss.backward()', '    optimizer.step()');
  lines.push(`print(${loss}.item())`);
  return `${lines.join('\n')}\n`;
}
