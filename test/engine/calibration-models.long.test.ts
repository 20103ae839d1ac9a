import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCorpus } from '../../src/calibrate/corpus.ts';
import { splittingNamed, splittingNames } from '../../src/calibrate/splits.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { type Both, compare, evalText, models, open, splittingTests, texts } from './tokens.ts';

/** Calibration sees the tokens that the engine will see: ours against its own, on the same files. */
for (const { name, directory: model } of models) {
  describe.skipIf(engineDirectory === null || !existsSync(model))(`tokens of ${name}`, () => {
    const directory = temporaryDirectory();
    const convert = conversions(model);
    let both: Both;
    beforeAll(async () => {
      both = open((await convert({ type: 'Q8_0' })).path);
    });
    afterAll(() => both.engine.free());

    it('as many, and BOS as the engine adds it', () => {
      const { ours, engine } = both;
      expect(ours.size).toBe(engine.vocabularySize);
      expect(ours.addsBos).toBe(engine.addsBos);
      const [first] = engine.tokenize('x', { addSpecial: true });
      if (ours.addsBos) expect(ours.bos).toBe(first);
    });

    it('100 kB of prose', () => compare(both, evalText.slice(0, 100_000)));

    it.each(texts.map((text) => [JSON.stringify(text).slice(0, 60), text]))('%s', (_label, text) => {
      compare(both, text);
    });

    it('windows as llama-imatrix cuts them', () => {
      const { ours, engine, metadata, readable } = both;
      const text = readable(evalText.slice(0, 50_000));
      put(directory, 'text.txt', text);
      const options = {
        sources: [join(directory, 'text.txt')],
        field: null,
        tokens: null,
        context: 64,
        seed: 0,
      };
      const { windows, context } = readCorpus(metadata, ours, options);
      const all = engine.tokenize(text, { addSpecial: true });
      expect(windows.length).toBe(Math.floor(all.length / context));
      for (const [i, window] of windows.entries()) {
        const expected = all.slice(i * context, (i + 1) * context);
        if (engine.addsBos) expected[0] = all[0];
        expect(window).toEqual(expected);
      }
    });

    it('any text', () => {
      const pieces = fc.constantFrom(...texts, ' ', '\n', "'", 'the', '1', '\t', 'ÄÖ', '.');
      const any = fc.array(fc.oneof(pieces, fc.string({ unit: 'binary', maxLength: 8 })), { maxLength: 12 });
      fc.assert(
        // Lone surrogates cannot be UTF-8.
        fc.property(any, (parts) => compare(both, Buffer.from(parts.join('')).toString())),
        { numRuns: 50 },
      );
    });
  });
}

// Names that split alike share their expressions: one of each. calibration-tokens.long.test.ts has all of them.
const kinds = [...new Map(splittingNames.map((name) => [splittingNamed(name)!.expressions, name])).values()];

describe.skipIf(engineDirectory === null)('splitting by each tokenizer.ggml.pre', () => {
  splittingTests(sotu, kinds);
});
