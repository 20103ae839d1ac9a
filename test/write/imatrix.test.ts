import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readImatrix } from '../../src/read/imatrix.ts';
import { imatrixFile } from '../../src/write/imatrix.ts';
import { ggufBytes } from '../support/gguf-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
const entries = [
  { name: 'blk.1.ffn_down.weight', sums: Float32Array.of(1, 2, 3), counts: [2] },
  { name: 'blk.0.ffn_up_exps.weight', sums: Float32Array.of(4, 6, 0, 0, 1, 3), counts: [2, 0, 1] },
  { name: 'Output', sums: Float32Array.of(9), counts: [3] },
];
const facts = { datasets: ['a.txt', 'b.txt'], chunks: 7, chunkSize: 256 };

it('is what the reader reads', () => {
  const path = put(directory, 'read.gguf', imatrixFile(entries, facts));
  const matrix = readImatrix(path);
  expect(matrix).toMatchObject({ path: join(directory, 'read.gguf'), datasets: facts.datasets, chunks: 7 });
  expect(Object.fromEntries([...matrix.entries].map(([name, { values }]) => [name, [...values]]))).toEqual({
    'blk.1.ffn_down.weight': [0.5, 1, 1.5],
    'blk.0.ffn_up_exps.weight': [2, 3, 1, 1, 1, 3], // nothing seen counts as 1
    Output: [3],
  });
  expect(matrix.entries.get('blk.0.ffn_up_exps.weight')?.counts).toEqual([2, 0, 1]);
});

it('has keys and tensors in order, by an independent writer', () => {
  const f32 = (name: string, shape: number[], values: number[]) => ({
    name,
    type: 'F32' as const,
    shape, // slowest axis first
    data: new Uint8Array(Float32Array.from(values).buffer),
  });
  const expected = ggufBytes(
    [
      { key: 'general.type', type: 'STRING', value: 'imatrix' },
      { key: 'imatrix.datasets', type: 'ARRAY', elementType: 'STRING', value: facts.datasets },
      { key: 'imatrix.chunk_count', type: 'UINT32', value: 7 },
      { key: 'imatrix.chunk_size', type: 'UINT32', value: 256 },
    ],
    [
      f32('Output.in_sum2', [1], [9]),
      f32('Output.counts', [1], [3]),
      f32('blk.0.ffn_up_exps.weight.in_sum2', [3, 2], [4, 6, 0, 0, 1, 3]),
      f32('blk.0.ffn_up_exps.weight.counts', [3, 1], [2, 0, 1]),
      f32('blk.1.ffn_down.weight.in_sum2', [3], [1, 2, 3]),
      f32('blk.1.ffn_down.weight.counts', [1], [2]),
    ],
  );
  expect(expected.equals(imatrixFile(entries, facts))).toBe(true);
});
