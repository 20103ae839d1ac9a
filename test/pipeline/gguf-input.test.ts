import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { type QuantizeOptions as EngineOptions, quantizeModel } from '../engine/quantize.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** GGUF as input: whole files against llama_model_quantize of the same input. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);

/** Mixtures that this version writes. */
const written: readonly MixtureName[] = [
  ...(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q1_0', 'Q2_0'] as const),
  ...(['Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K'] as const),
  ...(['IQ4_NL', 'IQ4_XS', 'TQ1_0', 'TQ2_0'] as const),
];

/** A model of `shared` or of the fixtures in a type, as a GGUF of our own. */
async function converted(model: string, type: string): Promise<string> {
  const output = at(`${model.replaceAll('/', '_')}-${type}.gguf`);
  if (!existsSync(output)) await quantize({ input: join(root, model), output, type, threads: 2 });
  return output;
}

/** Both files; the engine's first. */
async function both(
  input: string,
  options: Partial<QuantizeOptions>,
  engine: EngineOptions,
): Promise<[Buffer, Buffer]> {
  const [theirs, ours] = [at('theirs.gguf'), at('ours.gguf')];
  quantizeModel(input, theirs, { ...engine, threads: 2 });
  await quantize({ input, output: ours, threads: 2, force: true, ...options });
  const files: [Buffer, Buffer] = [readFileSync(theirs), readFileSync(ours)];
  for (const file of [theirs, ours]) rmSync(file);
  return files;
}

async function expectSame(
  input: string,
  options: Partial<QuantizeOptions>,
  engine: EngineOptions,
): Promise<void> {
  const [theirs, ours] = await both(input, options, engine);
  expect(ours.length).toBe(theirs.length);
  expect(ours.equals(theirs)).toBe(true);
}

const golden = '../shared/golden/visible';
const models: readonly (readonly [string, readonly string[], readonly MixtureName[]])[] = [
  ['fixtures/sotu-3m', ['F32', 'F16', 'BF16'], written],
  [`${golden}/llama_256/checkpoint`, ['F32', 'F16', 'BF16'], ['F16', 'Q8_0', 'Q4_K_M']],
  [`${golden}/mixtral_256/checkpoint`, ['BF16'], ['F32', 'Q2_K', 'Q3_K_M', 'Q4_K_M', 'IQ4_XS']],
  [`${golden}/qwen2/checkpoint`, ['BF16'], ['BF16', 'Q4_0', 'Q5_K_M']],
  [`${golden}/qwen3/checkpoint`, ['F32'], ['F16', 'Q6_K']],
  [`${golden}/llama3_tied/checkpoint`, ['BF16'], ['Q3_K_L', 'IQ4_NL']],
];

for (const [model, inputs, outputs] of models) {
  const missing = engineDirectory === null || !existsSync(join(root, model));
  describe.skipIf(missing)(`${model} equals llama-quantize`, () => {
    for (const from of inputs) {
      it.each(outputs.map((name) => [from, name] as const))('%s -> %s', async (type, name) => {
        const input = await converted(model, type);
        await expectSame(input, { type: name }, { ftype: mixtures[name].fileType! });
      });
    }
    for (const from of ['Q8_0', 'Q4_K_M'].filter(() => model.startsWith('fixtures'))) {
      it.each(outputs.map((name) => [from, name] as const))('again: %s -> %s', async (type, name) => {
        const input = await converted(model, type);
        const ftype = mixtures[name].fileType!;
        await expectSame(input, { type: name, allowRequantize: true }, { ftype, allowRequantize: true });
      });
    }
  });
}
