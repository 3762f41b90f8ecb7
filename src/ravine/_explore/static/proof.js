// The page proves itself: it makes the runs that real torch made when the page was written, and compares every bit.

import { USUAL, nameOf } from './optimizers.js';
import { makePanels } from './problem.js';

const TABLE = Uint32Array.from({ length: 256 }, (_, k) => {
  let c = k;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

// CRC-32 of the numbers' bytes, as zlib has it; NaN has one form.
export function digest(arrays, single) {
  let c = 0xffffffff;
  for (const array of arrays) {
    const view = new DataView(new ArrayBuffer(single ? 4 : 8));
    for (const value of array) {
      if (single) view.setUint32(0, Number.isNaN(value) ? 0x7fc00000 : bitsOf(view, value), true);
      else if (Number.isNaN(value)) view.setBigUint64(0, 0x7ff8000000000000n, true);
      else view.setFloat64(0, value, true);
      for (let k = 0; k < view.byteLength; k++) c = TABLE[(c ^ view.getUint8(k)) & 255] ^ (c >>> 8);
    }
  }
  return (c ^ 0xffffffff) >>> 0;
}

function bitsOf(view, value) {
  view.setFloat32(0, value, true);
  return view.getUint32(0, true);
}

// A run of torch's: {card, panel, start, settings, steps, digest, end}, usual settings left out; returns whether every bit is equal, and how far
// the last position is off, relatively.
export function checkRun(proof, cards) {
  const card = proof.card ?? cards[proof.of], panel = makePanels(card)[proof.panel];
  const { run } = panel.descend(proof.start, { ...USUAL, ...proof.settings }, proof.steps);
  const equal = digest([run.position, run.loss], panel.kind.single) === proof.digest;
  const last = run.position.length - 2;
  const off = equal ? 0 : Math.max(...proof.end.map((each, j) => relative(run.position[last + j], Number(each))));
  return { equal, off };
}

function relative(mine, theirs) {
  if (Object.is(mine, theirs)) return 0;
  return Number.isFinite(mine) && Number.isFinite(theirs) ? Math.abs(mine - theirs) / Math.max(Math.abs(theirs), 1e-30) : Infinity;
}

// Sums up what the checks of all runs of a problem gave; '' where there are none.
export function sayProof(results, torch) {
  const equal = results.filter((each) => each.equal).length, count = results.length;
  if (!count) return '';
  const said = `${equal} of ${count} runs are torch’s in every bit`;
  if (equal === count) return `${said} (torch ${torch})`;
  const off = Math.max(...results.map((each) => each.off));
  const most = Number.isFinite(off) ? `the others end within ${off.toExponential(0).replace('e-', ' · 10⁻').replace('e+', ' · 10^')}, relatively` : 'others end elsewhere';
  return `${said}; ${most} (torch ${torch})`;
}

// Which proofs speak of a card under an optimizer: its own, and for a neuron those on random points too.
export const speaksOf = (proof, card, state) => nameOf(proof.settings) === nameOf(state) && (proof.of === card.name || (proof.of === '' && card.family === 'neuron'));
