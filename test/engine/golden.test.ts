import { describe, expect, it } from 'vitest';
import { conversions } from '../support/conversions.ts';
import { type GoldenFile, goldenModels } from '../support/golden.ts';
import { engineDirectory } from './ggml.ts';
import { Llama } from './llama.ts';

/** What the real engine said to a prompt when the golden files were made, it says with our F32 files. */
for (const model of goldenModels) {
  describe.skipIf(engineDirectory === null || !model.there)(`greedy tokens of ${model.name}`, () => {
    const convert = conversions(model.checkpoint);

    it('the prompt and eight more', async () => {
      const { prompt, prompt_ids, ids, min_top2_gap } = model.read<GoldenFile>('golden.json').greedy!;
      const llama = Llama.load((await convert({ type: 'F32' })).path, { context: 64 });
      const tokens = [...llama.tokenize(prompt, { addSpecial: true })];
      const greedy = llama.greedy(tokens, ids.length);
      llama.free();
      expect(tokens).toEqual(prompt_ids);
      expect(greedy.ids).toEqual(ids);
      // Another order of additions, as other processors have it, moves logits by far less than this.
      expect(Math.abs(greedy.minGap - min_top2_gap)).toBeLessThan(0.01);
    });
  });
}
