import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { layOutFile } from '../../src/write/gguf.ts';
import { ggufFile, ggufFiles, laidOut } from '../support/gguf-arbitrary.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** test/engine/gguf.test.ts has ggml read the same files. */
describe('layOutFile', () => {
  const directory = temporaryDirectory();

  it('gives the bytes of a writer made from the specification alone', () => {
    fc.assert(
      fc.property(ggufFiles, (given) => {
        expect(laidOut(given).equals(ggufFile({ ...given, version: 3 }))).toBe(true);
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  it('gives what the reader reads back', () => {
    fc.assert(
      fc.property(ggufFiles, (given) => {
        const file = readGguf(put(directory, 'model.gguf', laidOut(given)));
        const entries = file.metadata.filter(({ key }) => key !== 'general.alignment');
        expect(entries.map(plain)).toEqual(given.entries.map(plain));
        expect([file.version, file.alignment]).toEqual([3, given.alignment]);
        expect(file.tensors.map(({ name, type, shape }) => ({ name, type, shape }))).toEqual(
          given.written.map(({ name, type, shape }) => ({ name, type, shape })),
        );
      }),
      { seed: 4, numRuns: 300 },
    );
  });

  it('grows beyond its first buffer without losing a byte', () => {
    const tokens = Array.from({ length: 30_000 }, (_, i) => `token ${'é'.repeat(i % 7)}${i}`);
    const metadata: MetadataEntry[] = [
      { key: 'tokens', type: 'ARRAY', elementType: 'STRING', value: tokens },
      {
        key: 'scores',
        type: 'ARRAY',
        elementType: 'FLOAT32',
        value: Float32Array.from(tokens, (_, i) => i / 3),
      },
      { key: 'text', type: 'STRING', value: 'x'.repeat(300_000) },
      { key: 'last', type: 'UINT64', value: 2n ** 64n - 1n },
    ];
    const { header, fileBytes } = layOutFile(metadata, []);
    expect(fileBytes).toBe(header.length);
    expect(readGguf(put(directory, 'large.gguf', header)).metadata).toEqual(metadata);
  });
});

/** Arrays as plain ones; numbers told apart by their bits, so that NaN equals itself and -0 not 0. */
function plain(entry: MetadataEntry) {
  return entry.type === 'ARRAY' ? { ...entry, value: Array.from(entry.value) } : entry;
}
