import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { repository } from './checkpoints.ts';
import type { GgufRuns } from './gguf-runs.ts';

/** Mixtures that are written without an importance matrix. */
export const writtenAlone: readonly MixtureName[] = [
  ...(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q1_0', 'Q2_0'] as const),
  ...(['Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K'] as const),
  ...(['IQ3_S', 'IQ3_M', 'IQ4_NL', 'IQ4_XS', 'MXFP4_MOE', 'TQ1_0', 'TQ2_0'] as const),
];

/** Models as GGUF of some types, quantized to some mixtures: whole files against llama_model_quantize of the same input. */
export function describeGgufInputs(
  runs: GgufRuns,
  models: readonly (readonly [model: string, inputs: readonly string[], outputs: readonly MixtureName[]])[],
): void {
  for (const [model, inputs, outputs] of models) {
    const missing = engineDirectory === null || !existsSync(join(repository, model));
    describe.skipIf(missing)(`${model} equals llama-quantize`, () => {
      const pairs = inputs.flatMap((type) => outputs.map((name) => [type, name] as const));
      it.each(pairs)('%s -> %s', async (type, name) => {
        const input = await runs.converted(model, type);
        const allowRequantize = type.startsWith('Q');
        const ftype = mixtures[name].fileType!;
        await runs.expectSame(input, { type: name, allowRequantize }, { ftype, allowRequantize });
      });
    });
  }
}

export const floats = ['F32', 'F16', 'BF16'] as const;

/** The bundled model as GGUF of one type, decoded to another: whole files against llama-quantize --allow-requantize. */
export function describeDecoding(
  runs: GgufRuns,
  pairs: readonly (readonly [from: string, to: (typeof floats)[number]])[],
): void {
  describe.skipIf(engineDirectory === null)('to GGUF: as llama-quantize --allow-requantize', () => {
    it.each(pairs)('%s to %s', async (from, to) => {
      const input = await runs.converted('fixtures/sotu-3m', from);
      const ftype = mixtures[to].fileType!;
      await runs.expectSame(input, { type: to, decode: true }, { ftype, allowRequantize: true });
    });
  });
}
