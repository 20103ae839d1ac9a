import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { splittingNamed, splittingNames } from '../../src/calibrate/splits.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';
import { engineDirectory } from './ggml.ts';
import { type Both, compare, evalText, open, splittingTests, texts } from './tokens.ts';

/** Calibration sees the tokens that the engine will see: ours against its own, on the same files. */
const models = [
  { name: 'sotu-3m', directory: sotu },
  { name: 'ts-656k', directory: join(repository, '../shared/models/ts-656k') },
  ...goldenModels.map(({ name, checkpoint }) => ({ name, directory: checkpoint })),
];

for (const { name, directory } of models) {
  describe.skipIf(engineDirectory === null || !existsSync(directory))(`tokens of ${name}`, () => {
    const convert = conversions(directory);
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

    it('the whole of fixtures/text/eval.txt', () => compare(both, evalText));

    it.each(texts.map((text) => [JSON.stringify(text).slice(0, 60), text]))('%s', (_label, text) => {
      compare(both, text);
    });

    it('any text', () => {
      const pieces = fc.constantFrom(...texts, ' ', '\n', "'", 'the', '1', '\t', 'ÄÖ', '.');
      const any = fc.array(fc.oneof(pieces, fc.string({ unit: 'binary', maxLength: 8 })), { maxLength: 12 });
      fc.assert(
        // Lone surrogates cannot be UTF-8.
        fc.property(any, (parts) => compare(both, Buffer.from(parts.join('')).toString())),
        { numRuns: 100 },
      );
    });
  });
}

// Names that split alike share their expressions: one of each. calibration-tokens.long.test.ts has all of them.
const kinds = [...new Map(splittingNames.map((name) => [splittingNamed(name)!.expressions, name])).values()];

describe.skipIf(engineDirectory === null)('splitting by each tokenizer.ggml.pre', () => {
  splittingTests(sotu, kinds);
});
