import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Activations } from '../../src/calibrate/forward/activations.ts';
import type { Team } from '../../src/compute/team.ts';
import { parseActivations } from '../../src/core/activations.ts';
import { evaluate } from '../../src/evaluate/evaluate.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { forwardModel, forwardTeam, logitsOf } from '../support/forward.ts';
import { evalText } from '../support/short-text.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

/** Root of the summed squares of the difference over that of the first. */
function difference(expected: Float32Array, got: Float32Array): number {
  let [error, square] = [0, 0];
  for (const [i, value] of expected.entries()) {
    error += (value - got[i]) ** 2;
    square += value * value;
  }
  return Math.sqrt(error / square);
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Tests activations of files of these types as the engine's CPU code quantizes them: the same model, the same text. */
export function describeActivations(types: {
  readonly logits: readonly string[];
  readonly perplexity: readonly string[];
}): void {
  describe.skipIf(engineDirectory === null)('dynamic-block, against llama.cpp', () => {
    const text = evalText(2560);
    const scheme = parseActivations('dynamic-block');
    const convert = conversions(sotu);
    let team: Team;
    beforeAll(() => {
      team = forwardTeam(2);
    });
    afterAll(() => team.close());

    // Where no value lies so near the middle of two codes that float32 sums decide, logits are equal but for these sums:
    // by 3e-7. A code that does not agree makes them differ by 1e-2 for the rest of the window, so windows are short, and
    // most have none.
    it.each(types.logits)('logits of %s', async (type) => {
      const { path } = await convert({ type });
      const context = 3;
      const llama = Llama.load(path, { context, exact: true });
      const tokens = llama.tokenize(text);
      const windows = Array.from({ length: 60 }, (_, w) => tokens.slice(w * context, (w + 1) * context));
      const expected = windows.flatMap((window) => llama.logits(window));
      llama.free();
      const model = forwardModel(path);
      const differences = (activations: Activations | null) => {
        const got = logitsOf(team, model, windows, undefined, activations);
        return expected.map((row, i) => difference(row, got[i]));
      };
      expect(median(differences(new Activations(team, scheme, null)))).toBeLessThan(2e-6);
      expect(median(differences(null))).toBeGreaterThan(1e-3);
    });

    it.each(types.perplexity)('perplexity of %s', async (type) => {
      const [count, context] = [10, 256];
      const { path } = await convert({ type });
      const llama = Llama.load(path, { context, exact: true });
      const tokens = llama.tokenize(text);
      const expected = llama.perplexity(tokens, { context, windows: count });
      llama.free();
      const found = evaluate({
        ...{ team, model: forwardModel(path), base: null, activations: [scheme] },
        windows: Array.from({ length: count }, (_, w) => tokens.slice(w * context, (w + 1) * context)),
        ...{ stateBytes: 1 << 28, scratchDirectory: tmpdir() },
      });
      // At most 4.3e-4 was measured: codes that do not agree.
      expect(Math.abs(found.activations![0].perplexity / expected - 1)).toBeLessThan(1e-3);
    });
  });
}
