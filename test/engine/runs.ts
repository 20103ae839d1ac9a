import { beforeAll, describe, expect, it } from 'vitest';
import { offeredSchemes, type Scheme, schemeName } from '../../scripts/golden/schemes.js';
import { planQuantization } from '../../src/pipeline.ts';
import { mixtures, uniformTypes } from '../../src/plan/mixtures.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { evalText } from '../support/short-text.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

/**
 * Perplexity of the bundled model's F32 file on fixtures/text/eval.txt: context 256, second halves of the first so many
 * windows. Whoever trained the model gives 18.73 for the second.
 */
export const F32_PERPLEXITY: Readonly<Record<4 | 10 | 100, number>> = {
  ...{ 4: 20.5013, 10: 22.1525, 100: 18.7317 },
};

/**
 * Largest perplexity of each type over that of F32, with about twice the excess that was measured at 10 and at 100
 * windows (in comments). The model is tiny: types of 2 bits and fewer ruin it, as they do with llama-quantize.
 */
const bounds: Readonly<Record<string, number>> = {
  F32: 1,
  F16: 1.001, // 1.0000, 1.0000
  BF16: 1.001, // 1.0002, 1.0000
  Q8_0: 1.002, // 1.0008, 1.0000
  MXFP4_MOE: 1.002, // Q8_0 but for experts
  Q6_K: 1.005, // 1.0022, 1.0014
  Q5_K_M: 1.006, // 0.9997, 1.0020
  Q5_K_S: 1.006, // 0.9997, 1.0019
  Q5_1: 1.01, // 1.0042, 1.0028
  Q5_0: 1.01, // 1.0031, 1.0026
  Q4_K_M: 1.02, // 1.0089, 1.0067
  Q4_K_S: 1.02, // 1.0081, 1.0054
  Q4_1: 1.02, // 1.0102, 1.0042
  Q4_0: 1.02, // 1.0092, 1.0071
  IQ4_NL: 1.02, // 1.0052, 1.0073
  IQ4_XS: 1.02, // 1.0061, 1.0079
  Q3_K_L: 1.025, // 1.0064, 1.0115
  Q3_K_M: 1.03, // 1.0102, 1.0138
  MXFP4: 1.065, // 1.0349, 1.0311
  NVFP4: 1.045, // 1.0172, 1.0216
  IQ3_S: 1.1, // 1.0573, 1.0435
  IQ3_M: 1.065, // 1.0325, 1.0307
  Q3_K_S: 1.05, // 1.0257, 1.0261
  Q2_K: 1.13, // 1.0695, 1.0641
  Q2_0: 6, // 4.24, 4.65
  Q1_0: 6, // 4.18, 4.64
  TQ1_0: 15, // 9.13, 10.74
  TQ2_0: 15, // the same codes
  '--method ternary': 7, // 4.36, 4.74
  '--method ternary --type TQ1_0': 7, // the same codes
  '--method ternary --granularity block': 5, // 3.39, 3.64
  '--method ternary --range mse': 3.5, // 2.27, 2.39
  '--method absmax --bits 8 --granularity tensor': 1.002, // 0.9999, 1.0002
  '--method absmax --bits 8 --granularity channel': 1.002, // 1.0005, 1.0004
  '--method absmax --bits 8 --symmetric full': 1.002, // 1.0002, 1.0002
  '--method absmax --bits 8 --granularity tensor --range entropy': 1.002, // 1.0004, 1.0008
  '--method absmax --bits 5 --granularity channel --range percentile=99.9': 1.02, // 1.0094, 1.0051
  '--method absmax --bits 4 --symmetric restricted': 1.02, // 1.0043, 1.0099
  '--method absmax --bits 4 --range mse': 1.015, // 1.0054, 1.0040
  '--method absmax --bits 4 --granularity tensor --range mse': 1.06, // 1.0243, 1.0165
  '--method zero-point --bits 4 --range mse': 1.02, // 1.0092, 1.0033
  '--method zero-point --bits 5 --granularity tensor --range mse': 1.025, // 1.0108, 1.0063
  '--method zero-point --bits 2': 1.5, // 1.2565, 1.2472
  '--method zero-point --bits 2 --range mse': 1.2, // 1.1027, 1.1044
  '--method binary --center true': 8, // 4.55, 5.06
};

/** Tests that the engine runs the bundled model in these schemes, named as in the bounds, or in all; and how well. */
export function describePerplexities({
  windows,
  names,
}: {
  windows: 10 | 100;
  names?: readonly string[];
}): void {
  describe.skipIf(engineDirectory === null)(`perplexity in llama.cpp, ${windows} windows`, () => {
    const convert = conversions(sotu);
    let tokens: ArrayLike<number> = [];
    let reference = 0;
    beforeAll(async () => {
      const llama = Llama.load((await convert({ type: 'F32' })).path);
      tokens = llama.tokenize(evalText(windows * 256));
      reference = llama.perplexity(tokens, { windows });
      llama.free();
    });

    it('F32', () => {
      expect(Math.abs(reference - F32_PERPLEXITY[windows])).toBeLessThan(0.005);
    });

    const schemes: Scheme[] = [
      ...offeredSchemes({ mixtures: { ...mixtures, ...uniformTypes }, methods: [], planQuantization }, sotu),
      { method: 'ternary' },
      ...([{ granularity: 'block' }, { range: 'mse' }] as const).map((range) => ({
        method: 'ternary',
        ...range,
      })),
      { method: 'absmax', bits: 8, granularity: 'tensor' },
      { method: 'absmax', bits: 8, granularity: 'channel' },
      { method: 'absmax', bits: 8, symmetric: 'full' },
      { method: 'absmax', bits: 8, granularity: 'tensor', range: 'entropy' },
      { method: 'absmax', bits: 5, granularity: 'channel', range: 'percentile=99.9' },
      { method: 'absmax', bits: 4, symmetric: 'restricted' },
      { method: 'absmax', bits: 4, range: 'mse' },
      { method: 'absmax', bits: 4, granularity: 'tensor', range: 'mse' },
      { method: 'zero-point', bits: 4, range: 'mse' },
      { method: 'zero-point', bits: 5, granularity: 'tensor', range: 'mse' },
      { method: 'zero-point', bits: 2 },
      { method: 'zero-point', bits: 2, range: 'mse' },
      { method: 'binary', center: true },
    ];
    const all = new Map(schemes.map((scheme) => [schemeName(scheme).replace(/^--type /, ''), scheme]));
    it.each(names ?? [...all.keys()])('%s', async (name) => {
      const [scheme, bound] = [all.get(name), bounds[name]];
      if (scheme === undefined) throw new Error(`no scheme is called ${name}`);
      if (bound === undefined) throw new Error(`no bound is known for ${name}: measure it`);
      const llama = Llama.load((await convert(scheme)).path);
      const ratio = llama.perplexity(tokens, { windows }) / reference;
      llama.free();
      expect(ratio).toBeLessThanOrEqual(bound);
      expect(ratio).toBeGreaterThan(0.995); // far less noise than would make any of them better
    });
  });
}
