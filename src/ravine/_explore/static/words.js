// Sentences about a run: what ravine.explain says of it, word for word, and the one that explains a path's shape.

import * as course from './words_course.js';
import * as ending from './words_ending.js';
import * as flat from './words_flat.js';
import * as goal from './words_goal.js';
import * as limits from './words_limits.js';
import * as motion from './words_motion.js';

// The sentence with its scope, which a local one names itself.
export const told = ({ sentence, scope }) => (sentence.includes('ocally') ? sentence : `${sentence} (${scope})`);

const FINDINGS = [
  flat.unmoved, course.still, limits.diverged, limits.beyond, ending.climb, limits.cameBack, ending.arrival, course.course, ending.jitter, limits.margin,
  motion.momentum, motion.swing, goal.goal, goal.apart, motion.nesterov, motion.dampening, goal.bounded, goal.pull, goal.betterBefore,
  motion.bend, motion.firstStep, motion.effective, ending.floor,
];
const SHAPES = [
  limits.beyond, limits.diverged, flat.unmoved, ending.climb, goal.goal, motion.dampening, motion.nesterov, motion.swing, ending.jitter,
  goal.bounded, motion.bend, limits.margin,
];

// What is said from the curvature at a minimum: nothing of a run that came to rest at another place.
const OF_THE_MINIMUM = [limits.beyond, limits.margin, motion.momentum, motion.swing, motion.nesterov, motion.dampening];
const askable = (facts, findings) => (course.restsElsewhere(facts) ? findings.filter((find) => !OF_THE_MINIMUM.includes(find)) : findings);

// Every sentence about a run, the most important first.
export function explain(facts) {
  return facts.taken > 0 ? askable(facts, FINDINGS).map((find) => find(facts)).filter(Boolean) : [];
}

// The one that best explains why a path looks as it does, or null.
export function findShape(facts) {
  if (facts.taken < 1) return null;
  for (const find of askable(facts, SHAPES)) {
    const found = find(facts);
    if (found) return found;
  }
  return null;
}

// What `explain` says of settings that torch refuses.
export const refused = (message) => ({ kind: 'refused', sentence: `Torch refuses these settings: ${message}.`, scope: 'measured' });
