import { expect, it } from 'vitest';
import type { MappedTensor } from '../../src/core/model.ts';
import { pruneLayers, pruneWarnings } from '../../src/plan/prune.ts';

const tensors = (...names: string[]): MappedTensor[] =>
  names.map((name) => ({ name, shape: [1], source: { kind: 'values', values: [0] }, keep: 'F32' }));

it('numbers what is left anew, and remembers the old names', () => {
  const names = Array.from({ length: 12 }, (_, i) => `blk.${i}.attn_q.weight`);
  const { tensors: left, layers } = pruneLayers(tensors('token_embd.weight', ...names), [2, 5, 10]);
  expect(layers).toBe(9);
  expect(left.map(({ name, unprunedName }) => [name, unprunedName])).toEqual([
    ['token_embd.weight', undefined],
    ...[0, 1, 3, 4, 6, 7, 8, 9, 11].map((old, i) => [`blk.${i}.attn_q.weight`, `blk.${old}.attn_q.weight`]),
  ]);
});

it('finds layers anywhere in a name, and numbers them by number, not by letter', () => {
  const names = Array.from({ length: 12 }, (_, i) => `dec.blk.${i}.attn_q.weight`).sort();
  const { tensors: left } = pruneLayers(tensors(...names), [0]);
  for (const { name, unprunedName } of left) {
    expect(Number(/\d+/.exec(name)![0])).toBe(Number(/\d+/.exec(unprunedName!)![0]) - 1);
  }
});

it('keeps gaps below the first layer left out, as llama-quantize does, and closes those above', () => {
  const { tensors: left, layers } = pruneLayers(tensors('blk.1.a', 'blk.3.a', 'blk.4.a', 'blk.9.a'), [3]);
  expect(left.map(({ name }) => name)).toEqual(['blk.1.a', 'blk.2.a', 'blk.3.a']);
  expect(layers).toBe(4);
});

it('names keys that may hold a value for each layer', () => {
  const array = (key: string, length: number) =>
    ({ key, type: 'ARRAY', elementType: 'UINT32', value: new Array<number>(length).fill(1) }) as const;
  const metadata = [array('deci.attention.head_count', 4), array('deci.x', 3), array('tokenizer.y', 4)];
  expect(pruneWarnings(metadata, 'deci', 4)).toEqual([
    expect.stringContaining('deci.attention.head_count has 4'),
  ]);
});
