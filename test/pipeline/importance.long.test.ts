import { describe, it } from 'vitest';
import { engineDirectory } from '../engine/ggml.ts';
import { expectSame, type ModelName, models, quantizing, written } from '../support/importance-runs.ts';

/** Every mixture under an importance matrix, whole files against llama_model_quantize. */
describe.skipIf(engineDirectory === null)('whole files equal llama-quantize', () => {
  for (const model of Object.keys(models) as ModelName[]) {
    for (const name of quantizing) {
      it.skipIf(!written(model, name))(`${model}: ${name}`, () => expectSame(model, name));
    }
  }
});
