// Text as a model itself would write it, for the calibration and the judging of models whose kind of text is not at hand.
// Usage (Node 24): node scripts/sample-text.ts MODEL.gguf OUTPUT.txt [--tokens 140000] [--seed 1] [--context 256]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Llama } from '../test/engine/llama.ts';
import { uniform } from '../test/support/random.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '140000' },
    seed: { type: 'string', default: '1' },
    context: { type: 'string', default: '256' },
  },
});
const [model, output] = positionals;
if (output === undefined) throw new Error('usage: sample-text.ts MODEL.gguf OUTPUT.txt');

const context = Number(options.context);
const random = uniform(Number(options.seed));
const llama = Llama.load(model, { context });
const prompt = llama.tokenize('', { addSpecial: true });
if (prompt.length === 0) throw new Error(`${model} has no token to begin with`);
const texts: string[] = [];
for (let left = Number(options.tokens); left > 0; ) {
  const ids = llama.sample(prompt, Math.min(left, context - prompt.length), random);
  left -= ids.length + 1; // a text may be empty
  texts.push(llama.detokenize(ids));
}
llama.free();
writeFileSync(output, texts.join('\n'));
