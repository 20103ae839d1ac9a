import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { offeredSchemes } from '../../scripts/golden/schemes.js';
import { dataTypes } from '../../src/core/types.ts';
import { planQuantization } from '../../src/pipeline.ts';
import { type Mixture, mixtures } from '../../src/plan/mixtures.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { firstDifference, summaryOf } from '../support/golden.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { quantizeModel } from './quantize.ts';

const offered = offeredSchemes({ mixtures, methods: [], planQuantization }, sotu).map(
  ({ type }) => mixtures[type as keyof typeof mixtures] as Mixture,
);
const ofKind = (kind: 'float' | 'quantized', types: readonly string[]) =>
  offered
    .filter(({ base, name }) => dataTypes[base].kind === kind && types.includes(name))
    .map(({ name, fileType }) => [name, fileType!] as const);

/**
 * Tests the bundled model whole in these types, or in all: what we make of the checkpoint against what llama-quantize
 * makes of our BF16 file, which holds the same values, bf16 being the checkpoint's own type.
 */
export function describeWholeFiles(types: readonly string[] = offered.map(({ name }) => name)): void {
  describe.skipIf(engineDirectory === null)(
    'files of the bundled model are those of llama_model_quantize',
    () => {
      const convert = conversions(sotu);
      const directory = temporaryDirectory();
      let input = '';
      beforeAll(async () => {
        input = (await convert({ type: 'BF16' })).path;
      });

      const engine = (ftype: number): ReturnType<typeof summaryOf> => {
        const output = join(directory, `engine-${ftype}.gguf`);
        quantizeModel(input, output, { ftype, threads: 2 });
        return summaryOf(output);
      };

      it.each(ofKind('quantized', types))('%s', async (type, ftype) => {
        const { path } = await convert({ type });
        expect(firstDifference(summaryOf(path), engine(ftype))).toBeNull();
      });

      // Unquantized files follow the converter, whose order of tensors and keys is another.
      it.each(ofKind('float', types))('%s, tensor by tensor', async (type, ftype) => {
        const inNameOrder = ({ kv, tensors }: ReturnType<typeof summaryOf>) => ({
          kv: [...kv].sort((a, b) => (a.key < b.key ? -1 : 1)),
          tensors: [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1)),
        });
        const { path } = await convert({ type });
        expect(inNameOrder(summaryOf(path))).toEqual(inNameOrder(engine(ftype)));
      });

      it.each([
        { type: 'Q4_K_M', pure: true },
        { type: 'Q3_K_M', tensorTypes: [{ pattern: 'ffn_(down|up)', type: 'Q8_0' as const }] },
        { type: 'Q2_K', tokenEmbeddingType: 'Q5_0' as const },
        { type: 'Q4_K_M', outputTensorType: 'Q8_0' as const },
      ])('with options: %j', async (options) => {
        const { path } = await convert(options);
        const output = join(directory, 'engine-options.gguf');
        const { fileType } = mixtures[options.type as 'Q4_K_M'];
        quantizeModel(input, output, { ...options, ftype: fileType!, threads: 2 });
        expect(firstDifference(summaryOf(path), summaryOf(output))).toBeNull();
      });
    },
  );
}
