// The page's optimizers: which settings each has, what torch says of those that it refuses, and what is minimised.

export const OPTIMIZERS = {
  SGD: { numbers: ['lr', 'momentum', 'dampening', 'weight_decay'], switches: ['nesterov', 'maximize'], second: 'momentum' },
  Adam: { numbers: ['lr', 'beta1', 'beta2', 'eps', 'weight_decay'], switches: ['amsgrad', 'maximize'], second: 'beta1', eps: 1e-8 },
  AdamW: { numbers: ['lr', 'beta1', 'beta2', 'eps', 'weight_decay'], switches: ['amsgrad', 'maximize'], second: 'beta1', eps: 1e-8 },
  RMSprop: { numbers: ['lr', 'alpha', 'eps', 'momentum', 'weight_decay'], switches: ['centered', 'maximize'], second: 'momentum', eps: 1e-8 },
  Adagrad: { numbers: ['lr', 'lr_decay', 'initial_accumulator_value', 'eps', 'weight_decay'], switches: ['maximize'], second: '', eps: 1e-10 },
};

// Where each setting begins: torch's own default, but for the lr, which is the problem's.
export const USUAL = { optimizer: 'SGD', momentum: 0, dampening: 0, weight_decay: 0, nesterov: false, maximize: false, beta1: 0.9, beta2: 0.999, alpha: 0.99, eps: null, lr_decay: 0, initial_accumulator_value: 0, amsgrad: false, centered: false };
export const NUMBERS = ['lr', 'beta1', 'beta2', 'alpha', 'lr_decay', 'initial_accumulator_value', 'eps', 'momentum', 'dampening', 'weight_decay'];
export const SWITCHES = ['nesterov', 'amsgrad', 'centered', 'maximize'];

// The defaults of one optimizer; eps is not the same for all.
export const usualOf = (optimizer) => ({ ...USUAL, eps: OPTIMIZERS[optimizer].eps ?? null });

export const nameOf = ({ optimizer }) => optimizer ?? 'SGD';
export const isSgd = (settings) => nameOf(settings) === 'SGD';
export const has = (settings, name) => OPTIMIZERS[nameOf(settings)].numbers.includes(name) || OPTIMIZERS[nameOf(settings)].switches.includes(name);

// The settings of the chosen optimizer, and the others off.
export function settingsOf(state) {
  const settings = { lr: state.lr, momentum: 0, dampening: 0, weight_decay: 0, nesterov: false, maximize: false }, { numbers, switches } = OPTIMIZERS[nameOf(state)];
  for (const name of [...numbers, ...switches]) settings[name] = state[name];
  if (numbers.includes('eps')) settings.eps ??= OPTIMIZERS[nameOf(state)].eps;
  return isSgd(state) ? settings : { optimizer: state.optimizer, ...settings };
}

// The same as Python takes them.
export function spelledForPython({ optimizer = 'SGD', ...settings }) {
  const { numbers, switches } = OPTIMIZERS[optimizer], spelled = Object.fromEntries([...numbers, ...switches].map((name) => [name, settings[name]]));
  if (numbers.includes('beta1')) spelled.betas = [settings.beta1, settings.beta2];
  delete spelled.beta1;
  delete spelled.beta2;
  return { optimizer, ...spelled };
}

// The weight decay that is minimised with the loss: AdamW shrinks the parameters apart from the gradient.
export const coupledDecay = (settings) => (nameOf(settings) === 'AdamW' ? 0 : settings.weight_decay);

// What torch says of settings that it refuses, in torch's words; '' where it takes them.
export function findRefusal(settings) {
  const { lr, momentum, dampening, weight_decay, nesterov, beta1, beta2, alpha, eps, lr_decay, initial_accumulator_value } = settings;
  if (lr < 0) return `Invalid learning rate: ${pythonFloat(lr)}`;
  if (lr_decay < 0) return `Invalid lr_decay value: ${pythonFloat(lr_decay)}`;
  if (eps < 0 && !has(settings, 'lr_decay')) return `Invalid epsilon value: ${pythonFloat(eps)}`;
  if (has(settings, 'beta1') && !(beta1 >= 0 && beta1 < 1)) return `Invalid beta parameter at index 0: ${pythonFloat(beta1)}`;
  if (has(settings, 'beta2') && !(beta2 >= 0 && beta2 < 1)) return `Invalid beta parameter at index 1: ${pythonFloat(beta2)}`;
  if (has(settings, 'momentum') && momentum < 0) return `Invalid momentum value: ${pythonFloat(momentum)}`;
  if (weight_decay < 0) return `Invalid weight_decay value: ${pythonFloat(weight_decay)}`;
  if (has(settings, 'alpha') && alpha < 0) return `Invalid alpha value: ${pythonFloat(alpha)}`;
  if (initial_accumulator_value < 0) return `Invalid initial_accumulator_value value: ${pythonFloat(initial_accumulator_value)}`;
  if (eps < 0) return `Invalid epsilon value: ${pythonFloat(eps)}`;  // Adagrad asks last
  if (nesterov && (momentum <= 0 || dampening !== 0)) return 'Nesterov momentum requires a momentum and zero dampening';
  return '';
}

// A float as Python prints it.
export function pythonFloat(value) {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : String(value);
}
