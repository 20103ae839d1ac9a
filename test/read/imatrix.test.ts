import { describe, expect, it } from 'vitest';
import { QuantizeError } from '../../src/core/errors.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { FileMissingError, NotARegularFileError } from '../../src/read/byte-source.ts';
import { GgufBeyondFileError, GgufDuplicateTensorError } from '../../src/read/gguf.ts';
import { GgufTruncatedError } from '../../src/read/gguf-header.ts';
import {
  ImatrixCountError,
  ImatrixEmptyError,
  ImatrixMetadataError,
  ImatrixPairError,
  ImatrixShapeError,
  ImatrixTypeError,
  readImatrix,
} from '../../src/read/imatrix.ts';
import {
  ImatrixDuplicateError,
  ImatrixFormatError,
  ImatrixLengthError,
  ImatrixNameError,
  ImatrixTrailerError,
  ImatrixTruncatedError,
} from '../../src/read/imatrix-legacy.ts';
import { type GgufTensorToWrite, ggufBytes } from '../support/gguf-writer.ts';
import {
  i32,
  imatrixBytes,
  imatrixKeys,
  imatrixTensors,
  legacyImatrixBytes,
} from '../support/imatrix-writer.ts';
import { uniform } from '../support/random.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
let number = 0;
const read = (bytes: Uint8Array) => readImatrix(put(directory, `${number++}`, bytes));

const random = (n: number, seed: number) => Float32Array.from({ length: n }, uniform(seed));
const f = Math.fround;

describe('GGUF', () => {
  it('divides the sums of each expert by its count, in float32', () => {
    const sums = random(6, 1);
    const entries = [
      { name: 'blk.0.ffn_up_exps.weight', sums, counts: [7, 3] },
      { name: 'blk.0.attn_q.weight', sums: random(4, 2), counts: [12_345] },
    ];
    const matrix = read(imatrixBytes(entries, ['a.txt', 'b.txt'], 17));
    expect(matrix).toMatchObject({ datasets: ['a.txt', 'b.txt'], chunks: 17 });
    expect([...matrix.entries.keys()].sort()).toEqual(['blk.0.attn_q.weight', 'blk.0.ffn_up_exps.weight']);
    const experts = matrix.entries.get('blk.0.ffn_up_exps.weight')!;
    expect([...experts.values]).toEqual([...sums].map((sum, i) => f(sum / (i < 3 ? 7 : 3))));
    expect(experts.counts).toEqual([7, 3]);
    expect(experts.values.buffer).toBeInstanceOf(SharedArrayBuffer);
  });

  it('takes 1 for an expert that saw nothing, and rounds counts', () => {
    const entry = { name: 'e', sums: Float32Array.of(1, 2, 3, 4, 5, 6), counts: [0, 2.5, 0.25] };
    const { values, counts } = read(imatrixBytes([entry])).entries.get('e')!;
    expect([...values]).toEqual([1, 1, 1, f(4 / 3), 1, 1]);
    expect(counts).toEqual([0, 3, 0]);
  });

  it('ignores tensors of other names, and any shape', () => {
    const [sums, counts] = imatrixTensors([{ name: 'e', sums: Float32Array.of(2, 4), counts: [2] }]);
    const other: GgufTensorToWrite = { name: 'e.in_max', type: 'F32', shape: [1], data: new Uint8Array(4) };
    const matrix = read(ggufBytes(imatrixKeys([], 0), [other, { ...sums, shape: [2] }, counts]));
    expect([...matrix.entries.keys()]).toEqual(['e']);
    expect([...matrix.entries.get('e')!.values]).toEqual([1, 2]);
    expect(matrix).toMatchObject({ datasets: [], chunks: 0 });
  });
});

describe('.dat', () => {
  it('divides by calls where there were any', () => {
    const values = random(5, 3);
    const entries = [
      { name: 'blk.0.attn_k.weight', calls: 7, values },
      { name: 'blk.1.attn_k.weight', calls: 0, values },
      { name: 'blk.2.attn_k.weight', calls: 2 ** 24 + 1, values },
    ];
    const matrix = read(legacyImatrixBytes(entries, { chunks: 40, dataset: 'wiki.train.raw' }));
    expect(matrix).toMatchObject({ datasets: ['wiki.train.raw'], chunks: 40 });
    const [seven, none, many] = [...matrix.entries.values()].map((entry) => [...entry.values]);
    expect(seven).toEqual([...values].map((value) => f(value / 7)));
    expect(none).toEqual([...values]);
    expect(many).toEqual([...values].map((value) => f(value / 2 ** 24))); // calls as float32
    expect(matrix.entries.get('blk.0.attn_k.weight')!.counts).toBeNull();
  });

  it.each([
    ['nothing', undefined, [], 0],
    ['a chunk count', { chunks: 12 }, [], 12],
    ['an empty name', { chunks: 12, dataset: '' }, [], 12],
  ] as const)('may end in %s', (_, trailer, datasets, chunks) => {
    const bytes = legacyImatrixBytes([{ name: 'w', calls: 1, values: [1, 2] }], trailer);
    expect(read(bytes)).toMatchObject({ datasets, chunks });
  });
});

const sound = { name: 'blk.0.attn_q.weight', sums: Float32Array.of(1, 2, 3, 4), counts: [2] };
const [sums, counts] = imatrixTensors([sound]);
const keys = imatrixKeys(['text'], 3);
const tensor = (name: string, length: number, value = 1): GgufTensorToWrite => {
  const data = new Uint8Array(new Float32Array(length).fill(value).buffer);
  return { name, type: 'F32', shape: [length], data };
};
const withKey = (entry: MetadataEntry): MetadataEntry[] =>
  keys.map((each) => (each.key === entry.key ? entry : each));
const legacy = { name: 'blk.0.attn_q.weight', calls: 3, values: [1, 2, 3] };
const whole = legacyImatrixBytes([legacy], { chunks: 3, dataset: 'text' });

describe('malformed files are refused by name', () => {
  it.each<[string, Uint8Array, new (...args: never[]) => QuantizeError]>([
    // GGUF
    ['no tensors', ggufBytes(keys, []), ImatrixEmptyError],
    ['tensors of other names only', ggufBytes(keys, [tensor('w.weight', 4)]), ImatrixEmptyError],
    ['no datasets key', ggufBytes([keys[0], ...keys.slice(2)], [sums, counts]), ImatrixMetadataError],
    ['no chunk count', ggufBytes([...keys.slice(0, 2), keys[3]], [sums, counts]), ImatrixMetadataError],
    ['no chunk size', ggufBytes(keys.slice(0, 3), [sums, counts]), ImatrixMetadataError],
    [
      'datasets that are one string',
      ggufBytes(withKey({ key: 'imatrix.datasets', type: 'STRING', value: 'text' }), [sums, counts]),
      ImatrixMetadataError,
    ],
    [
      'datasets that are numbers',
      ggufBytes(withKey({ key: 'imatrix.datasets', type: 'ARRAY', elementType: 'UINT32', value: [1] }), [
        sums,
        counts,
      ]),
      ImatrixMetadataError,
    ],
    [
      'a chunk count of another type',
      ggufBytes(withKey({ key: 'imatrix.chunk_count', type: 'UINT64', value: 3n }), [sums, counts]),
      ImatrixMetadataError,
    ],
    ['sums without counts', ggufBytes(keys, [sums]), ImatrixPairError],
    ['counts without sums', ggufBytes(keys, [counts]), ImatrixPairError],
    [
      'sums as float16',
      ggufBytes(keys, [{ ...sums, type: 'F16', data: new Uint8Array(8) }, counts]),
      ImatrixTypeError,
    ],
    ['counts as integers', ggufBytes(keys, [sums, { ...counts, type: 'I32' }]), ImatrixTypeError],
    [
      'sums that do not divide',
      ggufBytes(keys, [tensor('w.in_sum2', 4), tensor('w.counts', 3)]),
      ImatrixShapeError,
    ],
    [
      'no counts in the counts',
      ggufBytes(keys, [tensor('w.in_sum2', 4), tensor('w.counts', 0)]),
      ImatrixShapeError,
    ],
    [
      'no sums in the sums',
      ggufBytes(keys, [tensor('w.in_sum2', 0), tensor('w.counts', 1)]),
      ImatrixShapeError,
    ],
    ['a count of NaN', ggufBytes(keys, [sums, tensor(counts.name, 1, Number.NaN)]), ImatrixCountError],
    [
      'an infinite count',
      ggufBytes(keys, [sums, tensor(counts.name, 1, Number.POSITIVE_INFINITY)]),
      ImatrixCountError,
    ],
    ['a negative count', ggufBytes(keys, [sums, tensor(counts.name, 1, -3)]), ImatrixCountError],
    ['an entry twice', ggufBytes(keys, [sums, counts, sums, counts]), GgufDuplicateTensorError],
    ['data cut short', imatrixBytes([sound]).subarray(0, -40), GgufBeyondFileError],
    ['a header cut short', imatrixBytes([sound]).subarray(0, 150), GgufTruncatedError],
    // .dat
    ['an empty file', new Uint8Array(), ImatrixFormatError],
    ['three bytes', Uint8Array.of(1, 0, 0), ImatrixFormatError],
    ['no entries', i32(0), ImatrixFormatError],
    ['a negative number of entries', Buffer.concat([i32(-1), Buffer.alloc(100)]), ImatrixFormatError],
    ['more entries than fit', Buffer.concat([i32(1e6), whole]), ImatrixFormatError],
    ['a text file', Buffer.from('#!/bin/sh\necho this is no matrix\n'), ImatrixFormatError],
    [
      'one entry fewer than counted',
      legacyFile(2, legacyImatrixBytes([legacy]).subarray(4)),
      ImatrixTruncatedError,
    ],
    ['a name of no length', legacyImatrixBytes([{ ...legacy, name: '' }]), ImatrixNameError],
    ['a name of negative length', legacyFile(1, i32(-5), Buffer.alloc(40)), ImatrixNameError],
    ['a name that passes the end', legacyFile(1, i32(1 << 30), Buffer.alloc(40)), ImatrixTruncatedError],
    ['a name with a zero byte', legacyImatrixBytes([{ ...legacy, name: 'a\0b' }]), ImatrixNameError],
    [
      'a name that is not UTF-8',
      legacyImatrixBytes([{ ...legacy, name: Uint8Array.of(0xff, 0xfe) }]),
      ImatrixNameError,
    ],
    ['an entry without values', legacyImatrixBytes([{ ...legacy, values: [] }, legacy]), ImatrixLengthError],
    [
      'a negative number of values',
      legacyFile(1, i32(1), Buffer.from('w'), i32(1), i32(-4), Buffer.alloc(9)),
      ImatrixLengthError,
    ],
    [
      'values that pass the end',
      legacyFile(1, i32(1), Buffer.from('w'), i32(1), i32(1 << 30), Buffer.alloc(9)),
      ImatrixTruncatedError,
    ],
    ['values cut short', whole.subarray(0, -20), ImatrixTruncatedError],
    ['an entry twice (.dat)', legacyImatrixBytes([legacy, legacy]), ImatrixDuplicateError],
    ['half a chunk count', whole.subarray(0, -10), ImatrixTruncatedError],
    ['a text name cut short', whole.subarray(0, -1), ImatrixTrailerError],
    ['bytes behind the end', Buffer.concat([whole, Buffer.alloc(1)]), ImatrixTrailerError],
    [
      'a negative text name',
      Buffer.concat([legacyImatrixBytes([legacy], { chunks: 1 }), i32(-1)]),
      ImatrixTrailerError,
    ],
  ])('%s', (_, bytes, kind) => {
    let caught: unknown;
    try {
      read(bytes);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(kind);
    expect((caught as QuantizeError).details.file).toBe(`${directory}/${number - 1}`);
  });

  it('paths that are no file', () => {
    expect(() => readImatrix(`${directory}/none.gguf`)).toThrow(FileMissingError);
    expect(() => readImatrix(directory)).toThrow(NotARegularFileError);
  });

  it('every beginning of a sound file, by an error of its own', () => {
    for (const bytes of [whole, imatrixBytes([sound])]) {
      // Two beginnings of the .dat are older forms of it.
      const oldest = [whole.length - 12, whole.length - 8];
      for (let length = 0; length < bytes.length; length++) {
        if (bytes === whole && oldest.includes(length)) continue;
        if (bytes !== whole && length >= bytes.length - 28) continue; // padding behind the last tensor
        expect(() => read(bytes.subarray(0, length)), `${length} bytes`).toThrow(QuantizeError);
      }
    }
  });
});

/** A .dat file of this many entries, as the first field says. */
function legacyFile(entries: number, ...parts: Uint8Array[]): Buffer {
  return Buffer.concat([i32(entries), ...parts]);
}
