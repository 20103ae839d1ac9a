import { existsSync } from 'node:fs';
import { describe, it } from 'vitest';
import { splittingNames } from '../../src/calibrate/splits.ts';
import { conversions } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';
import { engineDirectory } from './ggml.ts';
import { compare, evalText, models, open, splittingTests } from './tokens.ts';

const { checkpoint } = goldenModels.find(({ name }) => name === 'qwen2')!;

// A vocabulary of 150k words shows where a text is cut better than one of 2048.
describe.skipIf(engineDirectory === null || !existsSync(checkpoint))(
  'splitting by every tokenizer.ggml.pre, a large vocabulary',
  () => splittingTests(checkpoint, splittingNames),
);

for (const { name, directory } of models) {
  describe.skipIf(engineDirectory === null || !existsSync(directory))(`tokens of ${name}`, () => {
    const convert = conversions(directory);

    it('the whole of fixtures/text/eval.txt', async () => {
      const both = open((await convert({ type: 'Q8_0' })).path);
      compare(both, evalText);
      both.engine.free();
    });
  });
}
