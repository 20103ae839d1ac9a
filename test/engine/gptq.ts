import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ReferenceLogits } from '../../scripts/reference-logits.ts';
import { quantize } from '../../src/pipeline.ts';
import { parseMixture } from '../../src/plan/mixtures.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { repository } from '../support/checkpoints.ts';
import { sotu } from '../support/conversions.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { collectImportance } from './imatrix.ts';
import { Llama } from './llama.ts';
import { quantizeModel } from './quantize.ts';

const CONTEXT = 256;

/**
 * Tests that a GPTQ file of the bundled model is nearer to F32 than llama-quantize's under importance, both from so many
 * tokens of the same text, on text that neither saw; and that all its tensors have the types and sizes of that.
 */
export function describeGptq({
  types,
  tokens,
  windows,
}: {
  /** Largest share of llama-quantize's divergence, by type. */
  types: Readonly<Record<string, number>>;
  tokens: number;
  windows: number;
}): void {
  describe.skipIf(engineDirectory === null)(`GPTQ in llama.cpp, ${tokens} tokens`, () => {
    const directory = temporaryDirectory();
    const at = (name: string) => join(directory, name);
    const calibration = join(repository, 'data/calibration.txt');
    const whole = at('F32.gguf');
    let importance: Record<string, Float32Array>;
    let reference: ReferenceLogits;

    beforeAll(async () => {
      await quantize({ input: sotu, type: 'F32', output: whole });
      const text = readFileSync(calibration, 'utf8').slice(0, 8 * tokens);
      const llama = Llama.load(whole);
      const ids = llama.tokenize(text).slice(0, tokens);
      llama.free();
      writeFileSync(at('calibration.txt'), text);
      const { entries } = collectImportance(whole, ids, { context: CONTEXT, threads: 2 });
      importance = Object.fromEntries(
        [...entries].map(([name, { sums, counts }]) => [name, sums.map((sum) => sum / counts[0])]),
      );
      const heldOut = readFileSync(join(repository, 'fixtures/text/eval.txt'), 'utf8').slice(
        0,
        1500 * windows,
      );
      reference = new ReferenceLogits(whole, heldOut, { context: CONTEXT, windows }, at('logits'));
      return () => reference.close();
    });

    const form = (path: string) =>
      [...openCheckpoint(path).tensors.values()].map(
        ({ name, type, shape, byteLength }) => `${name} ${type} ${shape} ${byteLength}`,
      );

    it.each(Object.entries(types))('%s: at most %f of the divergence', async (type, bound) => {
      const [ours, theirs] = [at('ours.gguf'), at('theirs.gguf')];
      await quantize({
        ...{ input: sotu, method: 'gptq', type, output: ours, force: true, threads: 2, gemm: 'wasm' },
        ...{ calibration: [at('calibration.txt')], calibrationTokens: tokens, context: CONTEXT },
      });
      quantizeModel(whole, theirs, { ftype: parseMixture(type).fileType!, importance });
      expect(form(ours)).toEqual(form(theirs));
      const [own, other] = [ours, theirs].map((path) => reference.compare(path));
      process.stdout.write(
        `${type}: KL ${own.divergence.toPrecision(4)} against ${other.divergence.toPrecision(4)}, ` +
          `ratio ${(own.divergence / other.divergence).toFixed(3)}\n`,
      );
      expect(own.divergence / other.divergence).toBeLessThan(bound);
      expect(own.perplexity / reference.perplexity).toBeLessThan(1.2);
    });
  });
}
