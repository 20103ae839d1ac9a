import { describe, expect, it } from 'vitest';
import { describeModel } from '../../src/plan/model.ts';
import type { FloatType } from '../../src/plan/tensors.ts';
import { openTrusted, valuesOf } from '../support/checkpoints.ts';
import { packGguf, packTensor } from '../support/gguf.ts';
import { firstDifference, type GoldenFile, goldenModels, sha256, summaryOfEntry } from '../support/golden.ts';

/**
 * The converter's `--outtype auto`: each tensor keeps its own type. No `--type` asks for this, so it is judged by the
 * plan alone, with an encoder and a writer that are not ours; test/pipeline judges the other golden files whole.
 */
for (const model of goldenModels.filter(({ name }) => name === 'llama_256' || name === 'llama_spm_f16')) {
  describe.skipIf(!model.there)(`plan of ${model.name}`, () => {
    it('golden-auto.json', () => {
      const expected = model.read<GoldenFile>('golden-auto.json');
      const fileType = expected.kv.find(({ key }) => key === 'general.file_type')!.value as number;
      const { checkpoint, files } = openTrusted(model.checkpoint);
      const described = describeModel(checkpoint, files, { fileType })!;
      const tensors = described.tensors.map((tensor) => ({
        name: tensor.name,
        shape: tensor.shape,
        type: tensor.keep as FloatType,
        values: valuesOf(checkpoint, tensor),
      }));
      const got = {
        kv: described.metadata.map(summaryOfEntry),
        tensors: tensors.map(({ values, ...tensor }) => ({
          ...tensor,
          sha256: sha256(packTensor({ ...tensor, values })),
        })),
        file_sha256: sha256(packGguf(described.metadata, tensors)),
      };
      expect(firstDifference(got, expected)).toBeNull();
    });
  });
}
