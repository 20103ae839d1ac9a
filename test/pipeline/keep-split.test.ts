import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { planQuantization, quantize } from '../../src/pipeline.ts';
import { mixtures } from '../../src/plan/mixtures.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { quantizeModel } from '../engine/quantize.ts';
import { repository } from '../support/checkpoints.ts';
import { GgufRuns } from '../support/gguf-runs.ts';
import { outputsOf } from '../support/runs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** A split GGUF quantized part by part: every file against llama_model_quantize's with keep_split. */

const directory = temporaryDirectory();
const runs = new GgufRuns(directory);
const model = 'fixtures/sotu-3m';

/** The bundled model in parts that cut across its layers. */
const parts = async (): Promise<string[]> => {
  const whole = await runs.converted(model, 'BF16');
  return runs.split(whole, 'input', [3, 13, 9, 13]);
};

describe.skipIf(engineDirectory === null)('--keep-split equals llama-quantize', () => {
  it.each([
    ['Q4_K_M', {}],
    ['Q3_K_M', {}],
    ['Q8_0', { pruneLayers: [1] }],
  ] as const)('%s %j', async (type, options) => {
    const [input] = await parts();
    const { fileType: ftype } = mixtures[type];
    quantizeModel(input, runs.at(`theirs-${type}`), { ftype: ftype!, keepSplit: true, ...options });
    const output = runs.at(`ours-${type}.gguf`);
    const { split } = await quantize({ input, output, type, keepSplit: true, threads: 2, ...options });
    expect(outputsOf(output)).toEqual(outputsOf(runs.at(`theirs-${type}`)));
    expect(split).toMatchObject({ count: 4, parts: [{ number: 1, tensors: 3 }, {}, {}, { number: 4 }] });
  });

  it('COPY, and a file that is its only part', async () => {
    const [input] = await parts();
    quantizeModel(input, runs.at('theirs-copy'), {
      ftype: mixtures.BF16.fileType!,
      keepSplit: true,
      onlyCopy: true,
    });
    await quantize({ input, output: runs.at('ours-copy'), type: 'COPY', keepSplit: true });
    expect(outputsOf(runs.at('ours-copy'))).toEqual(outputsOf(runs.at('theirs-copy')));

    const whole = await runs.converted(model, 'BF16');
    const { fileType: ftype } = mixtures.Q8_0;
    quantizeModel(whole, runs.at('theirs-single'), { ftype: ftype!, keepSplit: true });
    await quantize({ input: whole, output: runs.at('ours-single'), type: 'Q8_0', keepSplit: true });
    expect(Object.keys(outputsOf(runs.at('ours-single')))).toEqual(['-00001-of-00001.gguf']);
    expect(outputsOf(runs.at('ours-single'))).toEqual(outputsOf(runs.at('theirs-single')));
  });
});

describe('--keep-split', () => {
  it('is for split GGUF files, and for one way to split', async () => {
    const plan = (options: object) => () =>
      planQuantization({ input: join(repository, model), type: 'Q8_0', ...options });
    expect(plan({ keepSplit: true })).toThrow(UsageError);
    const [input] = await parts();
    expect(plan({ input, keepSplit: true, splitMaxTensors: 4 })).toThrow(UsageError);
    expect(plan({ input, keepSplit: true, split: { part: 1, of: 4 } })).toThrow(UsageError);
  });
});
