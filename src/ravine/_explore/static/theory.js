// What curvature and settings say of SGD before a step is taken: ravine.theory, for plain numbers.

const ROUNDING = 4 * 2 ** -52;

// One mode: z² - trace·z + determinant.
export function makeMode(curvature, { lr, momentum, dampening, weight_decay, nesterov }) {
  const moving = momentum !== 0, kept = moving ? 1 - dampening : 1, ahead = moving && nesterov;
  const a = lr * (curvature + weight_decay), t = ahead ? 1 + momentum * kept : kept, d = ahead ? momentum : 0;
  return { momentum, a, t, d, trace: 1 + momentum - a * t, determinant: d === 0 ? momentum : momentum - a * d };
}

// trace² - 4·determinant, and exactly zero where that is zero within rounding
function discriminant({ momentum, a, t, d, trace, determinant }) {
  const exact = trace ** 2 - 4 * determinant;
  const noise = 2 * ROUNDING * (Math.abs(trace) * (1 + momentum + Math.abs(a * t)) + 4 * (momentum + Math.abs(a * d)));
  return Number.isFinite(noise) && Math.abs(exact) <= noise ? 0 : exact;
}

export function rate(curvature, settings) {
  const mode = makeMode(curvature, settings), { a, t, d, trace, determinant } = mode, inside = discriminant(mode);
  if (inside <= 0) return Math.sqrt(Math.abs(determinant));
  const spread = Math.sqrt(Math.max(inside, 0));
  // the root's distance from 1, from the product of the two distances
  if (trace > 0 && trace < 2) return 1 - (2 * a * (t - d)) / (2 - trace + spread);
  return (Math.abs(trace) + spread) / 2;
}

export function period(curvature, settings) {
  const mode = makeMode(curvature, settings);
  const angle = Math.atan2(Math.sqrt(Math.max(-discriminant(mode), 0)), mode.trace);
  return (2 * Math.PI) / Math.abs(angle);
}

export function halfLife(curvature, settings) {
  const factor = rate(curvature, settings);
  return factor >= 1 ? Infinity : -Math.LN2 / Math.log(factor);
}

export function stabilityLimit(curvatures, settings) {
  return Math.min(...curvatures.map((each) => limitOf(each, settings)));
}

// Jury's three conditions, each linear in lr, solved for it.
function limitOf(curvature, settings) {
  const { momentum, a, t, d } = makeMode(curvature, { ...settings, lr: 1 });
  if (a === 0) return Infinity;
  const reach = a * (t + d), gain = a * d;
  const steady = momentum < 1 || (momentum === 1 && gain > 0);
  if (!(steady && a * (t - d) > 0)) return 0;
  const limit = reach > 0 ? (2 * (1 + momentum)) / reach : Infinity;
  return gain < 0 ? Math.min(limit, (1 - momentum) / -gain) : limit;
}

// The momentum at which the slowest mode is fastest at this lr; NaN where none makes every mode converge.
export function bestMomentum(curvatures, { lr, dampening, weight_decay, nesterov }) {
  const least = Math.min(...curvatures) + weight_decay, most = Math.max(...curvatures) + weight_decay;
  const pace = lr * (1 - dampening), found = bestAt(pace * least, pace * most, nesterov);
  if (dampening === 0) return found;
  // without momentum there is no dampening either
  const none = Math.max(Math.abs(1 - lr * least), Math.abs(1 - lr * most));
  return none < 1 && !(found.rate <= none) ? { momentum: 0, rate: none } : found;
}

function bestAt(least, most, nesterov) {
  const root = Math.max(Math.abs(1 - Math.sqrt(least)), Math.abs(1 - Math.sqrt(most)));
  const [momentum, factor] = nesterov ? bestNesterov(least, most) : [root ** 2, root];
  return factor < 1 && momentum < 1 ? { momentum, rate: factor } : { momentum: NaN, rate: NaN };
}

function bestNesterov(least, most) {
  const root = Math.sqrt(least), x = most - 1, y = 1 - least;
  if (x >= y) return [0, x];
  // where slow and stiff mode are equally fast
  const r = (4 * x * y) / (x + y + Math.sqrt((x + y) ** 2 - 8 * x * y * (y - x)));
  if (x > 0 && r > 1 - root) return [(r * (y - r)) / (y * (1 - r)), r];
  return [(1 - root) / (1 + root), 1 - root];
}

// The lr at which the slowest mode is fastest, the other settings being given; NaN where there is none.
export function bestLr(curvatures, settings) {
  const { momentum, dampening, weight_decay, nesterov } = settings;
  const low = Math.min(...curvatures), high = Math.max(...curvatures), kept = momentum === 0 ? 1 : 1 - dampening;
  let lr = (2 * (1 + momentum)) / (kept * (low + high + 2 * weight_decay));
  if (nesterov && momentum > 0) {
    let below = 1 / (high + weight_decay), above = 2 * below;
    for (let k = 0; k < 60; k++) {
      const middle = (below + above) / 2, there = { ...settings, lr: middle };
      if (rate(low, there) > rate(high, there)) below = middle;
      else above = middle;
    }
    lr = below;
  }
  const slowest = Math.max(rate(low, { ...settings, lr }), rate(high, { ...settings, lr }));
  return lr > 0 && slowest < 1 ? lr : NaN;
}

export function effectiveLr({ lr, momentum, dampening }) {
  return momentum === 0 ? lr : lr * ((1 - dampening) / (1 - momentum));
}
