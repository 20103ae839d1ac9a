import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { cut, fileNames, layOut, SplitCountError, splitWarnings } from '../../src/write/split.ts';

const sizesOf = fc.array(fc.integer({ min: 32, max: 5000 }), { minLength: 1, maxLength: 40 });
const sum = (sizes: readonly number[], [first, end]: readonly [number, number]) =>
  sizes.slice(first, end).reduce((total, size) => total + size, 0);
const largest = (sizes: readonly number[], cuts: readonly [number, number][]) =>
  Math.max(...cuts.map((range) => sum(sizes, range)));

/** Every tensor is in exactly one file, in order, and no file is empty. */
function expectPartition(count: number, cuts: readonly [number, number][]) {
  expect(cuts[0][0]).toBe(0);
  expect(cuts.at(-1)![1]).toBe(count);
  cuts.forEach(([first, end], i) => {
    expect(end).toBeGreaterThan(first);
    if (i > 0) expect(first).toBe(cuts[i - 1][1]);
  });
}

describe('cut', () => {
  it('fills files up to a size, a larger tensor alone', () => {
    const sizes = [10, 20, 30, 100, 5, 25, 30];
    expect(cut(sizes, { splitMaxSize: 60 })).toEqual([
      [0, 3],
      [3, 4],
      [4, 7],
    ]);
    expect(cut([100, 10], { splitMaxSize: 60 })).toEqual([
      [0, 1],
      [1, 2],
    ]);
    expect(cut(sizes, { splitMaxSize: 1000 })).toEqual([[0, 7]]);
  });

  it('fills files up to a number of tensors, or whichever limit comes first', () => {
    expect(cut([1, 1, 1, 1, 1], { splitMaxTensors: 2 })).toEqual([
      [0, 2],
      [2, 4],
      [4, 5],
    ]);
    expect(cut([5, 1, 1, 1, 1], { splitMaxTensors: 3, splitMaxSize: 5 })).toEqual([
      [0, 1],
      [1, 4],
      [4, 5],
    ]);
  });

  it('makes any number of files, the largest as small as it can be', () => {
    fc.assert(
      fc.property(sizesOf, fc.double({ min: 0, max: 1, noNaN: true }), (sizes, share) => {
        const of = 1 + Math.floor(share * (sizes.length - 1));
        const cuts = cut(sizes, { split: { part: 1, of } });
        expectPartition(sizes.length, cuts);
        expect(cuts).toHaveLength(of);
        const bound = largest(sizes, cuts);
        if (bound > Math.max(...sizes)) {
          expect(cut(sizes, { splitMaxSize: bound - 1 }).length).toBeGreaterThan(of);
        }
        for (let part = 1; part <= of; part++) expect(cut(sizes, { split: { part, of } })).toEqual(cuts);
      }),
      { seed: 1 },
    );
  });

  it('refuses what makes no sense', () => {
    expect(() => cut([1, 1], { split: { part: 1, of: 3 } })).toThrow(SplitCountError);
    expect(() => cut([1, 1], { split: { part: 3, of: 2 } })).toThrow(UsageError);
    expect(() => cut([1, 1], { split: { part: 0, of: 2 } })).toThrow(UsageError);
    expect(() => cut([1, 1], { split: { part: 1, of: 2 }, splitMaxTensors: 1 })).toThrow('contradict');
    expect(() => cut([1, 1], { splitMaxTensors: 0 })).toThrow(UsageError);
    expect(() => cut([1, 1], { splitMaxSize: Number.NaN })).toThrow(UsageError);
  });
});

describe('layOut', () => {
  const metadata: MetadataEntry[] = [
    { key: 'general.architecture', type: 'STRING', value: 'llama' },
    { key: 'split.count', type: 'UINT16', value: 9 },
  ];
  const tensors = [10, 20, 30].map((length, i) => ({ name: `t${i}`, shape: [length], type: 'F32' as const }));

  it('lays out the same part alone and among all', () => {
    const all = layOut(metadata, tensors, { splitMaxTensors: 1 });
    expect(all.split).toEqual({ count: 3, first: 0 });
    for (const part of [1, 2, 3]) {
      const { files, fileBytes, split } = layOut(metadata, tensors, { split: { part, of: 3 } });
      expect(split).toEqual({ count: 3, first: part - 1 });
      expect(files).toEqual([all.files[part - 1]]);
      expect(fileBytes).toBe(files[0].fileBytes);
    }
    expect(fileNames('a/m.gguf', all)).toEqual([1, 2, 3].map((n) => `a/m-0000${n}-of-00003.gguf`));
    expect(fileNames('a/m', all)[0]).toBe('a/m-00001-of-00003.gguf');
  });

  it('leaves a model that is not split as it is', () => {
    const layout = layOut(metadata, tensors);
    expect(layout).toMatchObject({ split: null, files: [{ first: 0, end: 3 }] });
    expect(fileNames('m', layout)).toEqual(['m']);
  });

  it('counts no further than the format does', () => {
    const many = Array.from({ length: 65_536 }, (_, i) => ({
      name: `t${i}`,
      shape: [1],
      type: 'F32' as const,
    }));
    expect(() => layOut(metadata, many, { splitMaxTensors: 1 })).toThrow(SplitCountError);
  });

  it('says which tensors are larger than a file may be', () => {
    expect(splitWarnings(tensors, { splitMaxSize: 100 })).toEqual([
      't2 alone is larger than --split-max-size; its file is too',
    ]);
    expect(splitWarnings(tensors, {})).toEqual([]);
  });
});
