import { describe, expect, it } from 'vitest';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { describeGguf, GgufHyperparameterError, hyperparametersOf } from '../../src/plan/gguf-model.ts';
import { parseOverrides } from '../../src/plan/overrides.ts';
import { makePlan, TensorNameTooLongError } from '../../src/plan/plan.ts';
import { modelNameOf } from '../../src/plan/source.ts';
import { checkpoint, stored } from '../support/results.ts';

const text = (key: string, value: string): MetadataEntry => ({ key, type: 'STRING', value });
const count = (key: string, value: number): MetadataEntry => ({ key, type: 'UINT32', value });
const list = (key: string, value: readonly number[]): MetadataEntry => ({
  key,
  type: 'ARRAY',
  elementType: 'UINT32',
  value,
});

const llama = [
  text('general.architecture', 'llama'),
  count('llama.block_count', 3),
  count('llama.attention.head_count', 8),
];

describe('hyperparameters', () => {
  const of = (metadata: readonly MetadataEntry[], ...overrides: string[]) =>
    hyperparametersOf(metadata, parseOverrides(overrides), 'm.gguf');

  it('come from the metadata, with llama.cpp’s defaults', () => {
    const dense = { architecture: 'llama', layers: 3, heads: 8, kvHeads: 8, experts: 0 };
    expect(of(llama)).toEqual(dense);
    const more = [count('llama.attention.head_count_kv', 2), count('llama.expert_count', 4)];
    expect(of([...llama, ...more])).toEqual({ ...dense, kvHeads: 2, experts: 4 });
  });

  it('are those of layer 0 where each layer has its own', () => {
    const keys = [list('deci.attention.head_count', [32, 0]), list('deci.attention.head_count_kv', [4, 0])];
    const metadata = [text('general.architecture', 'deci'), count('deci.block_count', 2), ...keys];
    expect(of(metadata)).toMatchObject({ heads: 32, kvHeads: 4 });
    // The loader reads the array whatever an override says.
    expect(of(metadata, 'deci.attention.head_count=int:7')).toMatchObject({ heads: 32 });
    expect(of(llama, 'llama.attention.head_count_kv=int:2')).toMatchObject({ kvHeads: 8 });
  });

  it('may be overridden, by a value of the expected type', () => {
    expect(of(llama, 'llama.block_count=int:80', 'llama.expert_count=int:8')).toMatchObject({
      layers: 80,
      experts: 8,
    });
    expect(of(llama, 'llama.block_count=float:80')).toMatchObject({ layers: 3 });
    expect(of(llama, 'general.architecture=str:qwen2')).toBeNull();
  });

  it('are absent without architecture or layers; a vision part has none', () => {
    expect(of([])).toBeNull();
    expect(of([text('general.architecture', 'llama')])).toBeNull();
    expect(of([text('general.architecture', 'clip')])).toMatchObject({ architecture: 'clip', layers: 0 });
  });

  it.each([
    [text('llama.block_count', '3')],
    [list('llama.block_count', [3])],
    [{ key: 'llama.block_count', type: 'FLOAT32', value: 1.5 } as const],
    [{ key: 'llama.block_count', type: 'INT32', value: -1 } as const],
  ])('refuse %j', (entry) => {
    const metadata = [llama[0], entry];
    expect(() => of(metadata)).toThrow(GgufHyperparameterError);
    expect(() => of(metadata)).toThrow(/llama\.block_count[\s\S]*--override-kv llama\.block_count=int:N/);
  });
});

describe('describeGguf', () => {
  it('carries metadata over, but for split.*; version and file type come last', () => {
    const metadata = [
      count('general.file_type', 1),
      ...llama,
      { key: 'split.no', type: 'UINT16', value: 0 } as const,
      { key: 'split.count', type: 'UINT16', value: 2 } as const,
      count('general.quantization_version', 1),
      { key: 'split.tensors.count', type: 'INT32', value: 9 } as const,
      text('split.other', 'mine'),
    ];
    expect(describeGguf(checkpoint({ format: 'gguf', metadata }), 15).metadata).toEqual([
      ...llama,
      text('split.other', 'mine'),
      count('general.quantization_version', 2),
      count('general.file_type', 15),
    ]);
  });

  it.each([
    [
      [4, 256],
      [256, 4],
    ],
    [
      [1, 1, 4, 256],
      [256, 4],
    ],
    [
      [2, 1, 256],
      [256, 1, 2],
    ],
    [[1, 1], [1]],
    [[], [1]],
  ])('shape %j becomes %j', (shape, expected) => {
    const tensors = new Map([['w', stored({ shape, type: 'F32' })]]);
    expect(describeGguf(checkpoint({ format: 'gguf', tensors }), 0).tensors[0].shape).toEqual(expected);
  });
});

describe('the name of a model', () => {
  it.each([
    ['a/Llama-3.2-1B-BF16.gguf', 'Llama-3.2-1B'],
    ['a/Llama-3.2-1B.Q4_K_M.gguf', 'Llama-3.2-1B'],
    ['a/Some-F16-00002-of-00003.gguf', 'Some'],
    ['a/Some-Model.gguf', 'Some-Model'],
    ['a/Q8_0.gguf', 'Q8_0'],
    ['tiny/model-f16.gguf', 'tiny'],
  ])('%s is %s', (path, name) => {
    const directory = path.slice(0, path.indexOf('/'));
    const files = [{ path, size: 1 }];
    expect(modelNameOf(checkpoint({ format: 'gguf', path, directory, files }))).toBe(name);
  });
});

describe('names that llama.cpp cannot hold', () => {
  const planOf = (name: string) => {
    const tensor = stored({ name, type: 'F32', shape: [2, 256], byteLength: 2048 });
    const model = checkpoint({ format: 'gguf', metadata: llama, tensors: new Map([[name, tensor]]) });
    return () => makePlan(model, null, { type: 'Q8_0' });
  };

  it('64 bytes and more are refused, by name; fewer are not', () => {
    expect(planOf(`blk.0.${'a'.repeat(58)}`)).toThrow(TensorNameTooLongError);
    expect(planOf(`blk.0.${'ä'.repeat(29)}`)).toThrow('64 bytes');
    expect(planOf(`blk.0.${'a'.repeat(57)}`)).not.toThrow();
  });
});
