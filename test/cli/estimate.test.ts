import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type Estimate, estimateCommand, estimateSizes, sizedModel } from '../../src/cli/estimate.ts';
import type { Pipeline } from '../../src/cli/quantize.ts';
import { dataTypes } from '../../src/core/types.ts';
import { fakeIo } from '../support/io.ts';
import { checkpoint, plan, planned, stored } from '../support/results.ts';

const somePath = fileURLToPath(import.meta.url);
const model = {
  headerBytes: 1000,
  alignment: 32,
  tensors: [
    { name: 'matrix', shape: [256, 3] },
    { name: 'odd', shape: [96, 5] },
    { name: 'norm', shape: [7] },
  ],
};
const named = (estimates: readonly Estimate[]) =>
  new Map(estimates.map((estimate) => [estimate.name, estimate]));

describe('estimateSizes', () => {
  const sizes = named(estimateSizes(model));

  it.each([
    ['FP32', 1000 + 3072 + 1920 + 32, 32],
    ['FP16', 1000 + 1536 + 960 + 32, (8 * (1536 + 960 + 28)) / 1255],
    ['BF16', 1000 + 1536 + 960 + 32, (8 * (1536 + 960 + 28)) / 1255],
    ['INT8', 1000 + 768 + 480 + 32, (8 * (768 + 480 + 28)) / 1255],
    ['Q8_0', 1000 + 832 + 512 + 32, (8 * (816 + 510 + 28)) / 1255],
    ['Q4_K', 1000 + 448 + 960 + 32, (8 * (432 + 960 + 28)) / 1255],
  ])('%s', (name, fileBytes, bitsPerWeight) => {
    expect(sizes.get(name)).toMatchObject({ fileBytes, bitsPerWeight, undivided: name === 'Q4_K' ? 1 : 0 });
  });

  it('knows every type once, and no mixture that nobody names', () => {
    const estimates = estimateSizes(model);
    const quantized = Object.values(dataTypes).filter(({ kind }) => kind === 'quantized');
    expect(estimates.map(({ name }) => name)).toEqual([
      ...['FP32', 'FP16', 'BF16', 'INT8'],
      ...quantized.map(({ name }) => name),
    ]);
    expect(estimates.every(({ kind }) => kind !== 'mixture')).toBe(true);
  });

  it('takes mixtures from the type policy', () => {
    const choice = [
      { shape: [96, 5], type: 'Q5_0' as const },
      { shape: [256, 3], type: 'Q6_K' as const },
      { shape: [7], type: 'F32' as const },
    ];
    const mixed = named(estimateSizes(model, new Map([['Q5_K_M', choice]])));
    expect(mixed.get('Q5_K_M')).toMatchObject({ kind: 'mixture', fileBytes: 1000 + 640 + 352 + 32 });
  });
});

const pipeline: Pipeline = {
  planQuantization: () => ({
    plan: plan({ tensors: [planned({ type: 'F16', encoder: 'F16', shape: [256, 3] })] }),
    layout: { fileBytes: 2536 },
  }),
  quantize: () => Promise.reject(new Error('nothing is to be quantized')),
};

describe('sizedModel', () => {
  it('takes the header of what a safetensors checkpoint would become', () => {
    expect(sizedModel(checkpoint(), pipeline)).toMatchObject({ headerBytes: 1000, alignment: 32 });
  });

  it('takes a GGUF as it is', () => {
    const gguf = checkpoint({
      format: 'gguf',
      tensors: new Map([
        ['b', stored({ name: 'b', offset: 640, shape: [3, 256] })],
        ['a', stored({ name: 'a', offset: 128 })],
      ]),
      metadata: [{ key: 'general.alignment', type: 'UINT32', value: 64 }],
    });
    const sized = sizedModel(gguf, pipeline);
    expect(sized).toMatchObject({ headerBytes: 128, alignment: 64 });
    expect(sized.tensors[0].shape).toEqual([256, 3]);
  });
});

it('prints a table, or JSON', async () => {
  const stages = { openCheckpoint: () => checkpoint(), pipeline };
  const table = fakeIo();
  await estimateCommand(somePath, {}, table.io, stages);
  expect(table.stdout()).toMatch(/^Q4_K +4\.50 +1\.41 KiB +1448$/m);
  expect(table.stderr()).toBe('');
  const json = fakeIo();
  await estimateCommand(somePath, { json: true }, json.io, stages);
  const parsed = JSON.parse(json.stdout());
  expect(parsed).toMatchObject({
    schema: 'gguf-quantize/estimate',
    version: 1,
    weights: 768,
    inputBytes: 4096,
  });
  expect(parsed.estimates[0]).toEqual({
    name: 'FP32',
    kind: 'number',
    fileBytes: 4072,
    bitsPerWeight: 32,
    undivided: 0,
  });
});
