import { describe, expect, it } from 'vitest';
import { conversions } from '../support/conversions.ts';
import {
  firstDifference,
  type GoldenFile,
  type GoldenQuant,
  goldenModels,
  summaryOf,
} from '../support/golden.ts';

/** Whole files against those that the official converter and llama-quantize made of the same checkpoints. */

/** Type of the converter's --outtype that a golden file is named after. */
const outtypes: Readonly<Record<string, string>> = {
  'golden.json': 'F32',
  'golden-f16.json': 'F16',
  'golden-bf16.json': 'BF16',
};

for (const model of goldenModels) {
  describe.skipIf(!model.there)(`golden files of ${model.name}`, () => {
    const convert = conversions(model.checkpoint);
    const converted = model.files.filter((file) => file in outtypes);

    it.each(converted.map((file) => [outtypes[file], file]))('--type %s, %s', async (type, file) => {
      const { path } = await convert({ type });
      expect(firstDifference(summaryOf(path), model.read<GoldenFile>(file))).toBeNull();
    });

    const quantized = model.files.includes('golden-quant.json')
      ? Object.entries(model.read<GoldenQuant>('golden-quant.json').types)
      : [];
    it.each(quantized)('--type %s, golden-quant.json', async (type, { kv_order, ...expected }) => {
      const { path } = await convert({ type });
      const kv = kv_order.map((key) => ({ key }));
      expect(firstDifference(summaryOf(path), { ...expected, kv })).toBeNull();
    });
  });
}

it('a difference is named by its key or tensor', () => {
  const tensor = { name: 'w', shape: [256, 2], type: 'F32', sha256: 'aa' };
  const kv = [
    { key: 'a', type: 'UINT32', value: 1 },
    { key: 'b', type: 'STRING', value: 'x' },
  ];
  const file = { kv, tensors: [tensor], file_sha256: '0' };
  const other = { ...file, file_sha256: '1' };
  expect(firstDifference(file, file)).toBeNull();
  expect(firstDifference(file, other)).toMatch(/^all keys and tensors are equal/);
  expect(firstDifference({ ...file, kv: [kv[0], { ...kv[1], value: 'y' }] }, other)).toBe(
    'metadata key 1: {"key":"b","type":"STRING","value":"y"}\n  instead of {"key":"b","type":"STRING","value":"x"}',
  );
  expect(firstDifference({ ...file, kv: kv.slice(1) }, { ...other, kv: [{ key: 'a' }] })).toBe(
    'metadata key 0: {"key":"b"}\n  instead of {"key":"a"}',
  );
  expect(firstDifference({ ...file, tensors: [{ ...tensor, sha256: 'bb' }] }, other)).toMatch(
    /^tensor 0: .*"bb"/,
  );
  expect(firstDifference({ ...file, tensors: [] }, other)).toMatch(
    /^tensor 0: nothing\n {2}instead of .*"w"/,
  );
});
