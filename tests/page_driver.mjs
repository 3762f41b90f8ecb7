// Runs the page's own modules in node: a question a line on the standard input, its answer a line on the output.
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const folder = process.argv[2];
const load = (name) => import(pathToFileURL(`${folder}/${name}`).href);
const [problem, words, proof, arithmetic, theory, format, optimizers, minimum, verdict] = await Promise.all(
  ['problem.js', 'words.js', 'proof.js', 'arithmetic.js', 'theory.js', 'format.js', 'optimizers.js', 'minimum.js', 'verdict.js'].map(load),
);
const bytes = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');

const ANSWERS = {
  run({ card, panel, turned, start, settings, steps }) {
    const facts = problem.makePanels(card, turned)[panel].descend(start, settings, steps);
    return { position: bytes(facts.run.position), loss: bytes(facts.run.loss) };
  },
  explain({ card, panel, turned, start, settings, steps }) {
    const facts = problem.makePanels(card, turned)[panel].descend(start, settings, steps);
    const shape = words.findShape(facts);
    return { findings: words.explain(facts).map((f) => [f.kind, words.told(f)]), shape: shape ? words.told(shape) : null };
  },
  minimum: ({ card, panel, decay, end }) => problem.makePanels(card)[panel].landmark(decay, end ?? [0, 0]),
  proof: ({ proofs, cards }) => proofs.map((each) => proof.checkRun(each, cards)),
  fma: ({ dtype, triples }) => triples.map(([a, b, c]) => (dtype === 'float32' ? arithmetic.fma32 : arithmetic.fma64)(a, b, c)),
  sum: ({ dtype, values }) => arithmetic[dtype === 'float32' ? 'sum32' : 'sum64'](values, values.length),
  theory: ({ name, args }) => args.map((each) => theory[name](...each)),
  format: ({ name, args }) => args.map((each) => format[name](...each)),
  brief: ({ sentences }) => sentences.map(verdict.brief),
  script: ({ card, panel, state }) => verdict.scriptOf(problem.makePanels(card, state)[panel], card, state),
  refusal: ({ settings }) => optimizers.findRefusal(settings),
};
const spell = (_, value) => (typeof value === 'number' && !Number.isFinite(value) ? { number: String(value) } : value);
const read = (_, value) => (value && typeof value === 'object' && 'number' in value ? Number(value.number) : value);

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { ask, ...question } = JSON.parse(line, read);
  let answer;
  try {
    answer = { answer: ANSWERS[ask](question) };
  } catch (error) {
    answer = { error: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(answer, spell)}\n`);
}
