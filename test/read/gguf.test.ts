import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { gguf } from '@huggingface/gguf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { QuantizeError } from '../../src/core/errors.ts';
import { type MetadataEntry, metadataTypes } from '../../src/core/metadata.ts';
import { bytesOf, dataTypes, elementsOf } from '../../src/core/types.ts';
import { withSource } from '../../src/read/byte-source.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { ggufFile, ggufFiles, ggufTypes } from '../support/gguf-arbitrary.ts';
import type { GgufTensorToWrite } from '../support/gguf-writer.ts';
import { mutate, mutations } from '../support/mutations.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
const path = join(directory, 'model.gguf');

/** An entry with its array, of whatever kind, as a plain one. */
const plain = (given: MetadataEntry): unknown =>
  given.type === 'ARRAY' ? { ...given, value: [...given.value] } : given;

function writeFile(
  entries: readonly MetadataEntry[],
  written: readonly GgufTensorToWrite[],
  alignment: number,
  version = 3,
): Buffer {
  const bytes = ggufFile({ entries, written, alignment, version });
  put(directory, 'model.gguf', bytes);
  return bytes;
}

describe('GGUF', () => {
  it('gives back whatever was written, in its order', () => {
    fc.assert(
      fc.property(ggufFiles, ({ entries, written, alignment, version }) => {
        writeFile(entries, written, alignment, version);
        const file = readGguf(path);
        expect([file.version, file.alignment]).toEqual([version, alignment]);
        expect(file.metadata.filter(({ key }) => key !== 'general.alignment').map(plain)).toEqual(
          entries.map(plain),
        );
        expect(file.tensors.map(({ name, type, shape }) => ({ name, type, shape }))).toEqual(
          written.map(({ name, type, shape }) => ({ name, type, shape })),
        );
        withSource(path, (source) => {
          file.tensors.forEach(({ offset, byteLength }, i) => {
            expect(source.read(offset, byteLength).equals(written[i].data)).toBe(true);
          });
        });
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('ends a damaged header in an error of its own, never in a crash', () => {
    let refused = 0;
    fc.assert(
      fc.property(ggufFiles, mutations, ({ entries, written, alignment, version }, changes) => {
        const bytes = writeFile(entries, written, alignment, version);
        const { dataOffset } = readGguf(path);
        put(directory, 'model.gguf', mutate(bytes, dataOffset, changes));
        try {
          readGguf(path);
        } catch (error) {
          if (!(error instanceof QuantizeError)) throw error;
          expect(error.details.file).toBe(path);
          refused++;
        }
      }),
      { seed: 2, numRuns: 800 },
    );
    expect(refused).toBeGreaterThan(600);
  });

  it('reads what Hugging Face reads', async () => {
    const entries: MetadataEntry[] = [
      { key: 'general.architecture', type: 'STRING', value: 'llama' },
      { key: 'general.name', type: 'STRING', value: 'Ünïcode \u{1f600}' },
      { key: 'llama.rope.freq_base', type: 'FLOAT32', value: 10_000 },
      { key: 'a.u8', type: 'UINT8', value: 200 },
      { key: 'a.i8', type: 'INT8', value: -100 },
      { key: 'a.u16', type: 'UINT16', value: 60_000 },
      { key: 'a.i16', type: 'INT16', value: -30_000 },
      { key: 'a.u32', type: 'UINT32', value: 4_000_000_000 },
      { key: 'a.i32', type: 'INT32', value: -2_000_000_000 },
      { key: 'a.u64', type: 'UINT64', value: 2n ** 64n - 1n },
      { key: 'a.i64', type: 'INT64', value: -(2n ** 63n) },
      { key: 'a.f64', type: 'FLOAT64', value: Math.PI },
      { key: 'a.bool', type: 'BOOL', value: true },
      {
        key: 'tokenizer.ggml.tokens',
        type: 'ARRAY',
        elementType: 'STRING',
        value: ['a', 'é', '\u{1f600}', ''],
      },
      { key: 'tokenizer.ggml.scores', type: 'ARRAY', elementType: 'FLOAT32', value: [0.5, -1, 0, 3] },
      { key: 'tokenizer.ggml.token_type', type: 'ARRAY', elementType: 'INT32', value: [1, 2, 3, -4] },
      { key: 'a.bools', type: 'ARRAY', elementType: 'BOOL', value: [true, false] },
      { key: 'a.longs', type: 'ARRAY', elementType: 'INT64', value: [-1n, 2n ** 62n] },
      { key: 'a.none', type: 'ARRAY', elementType: 'UINT8', value: [] },
    ];
    const written = ggufTypes.map((type, i): GgufTensorToWrite => {
      const shape = [i + 1, type.blockSize * (1 + (i % 3))];
      return {
        name: `blk.${i}.w`,
        type: type.name,
        shape,
        data: new Uint8Array(bytesOf(type.name, elementsOf(shape))),
      };
    });
    writeFile(entries, written, 64);
    const theirs = await gguf(path, { allowLocalFile: true, typedMetadata: true });
    const ours = readGguf(path);

    expect(BigInt(ours.dataOffset)).toBe(theirs.tensorDataOffset);
    expect(ours.alignment).toBe(theirs.metadata['general.alignment' as never]);
    expect(
      ours.tensors.map((t) => [t.name, dataTypes[t.type].ggmlId, t.shape, t.offset - ours.dataOffset]),
    ).toEqual(
      theirs.tensorInfos.map((t) => [t.name, t.dtype, t.shape.map(Number).reverse(), Number(t.offset)]),
    );
    const { version, tensor_count, kv_count, ...typed } = theirs.typedMetadata;
    expect([ours.version, ours.tensors.length, ours.metadata.length]).toEqual([
      version.value,
      Number(tensor_count.value),
      Number(kv_count.value),
    ]);
    expect(
      ours.metadata.map((own) => [
        own.key,
        metadataTypes[own.type],
        own.type === 'ARRAY' ? [metadataTypes[own.elementType], [...own.value]] : own.value,
      ]),
    ).toEqual(
      Object.entries(typed as Record<string, { type: number; subType?: number; value: unknown }>).map(
        ([key, { type, subType, value }]) => [key, type, Array.isArray(value) ? [subType, value] : value],
      ),
    );
  });

  it('keeps long arrays of numbers typed, and cuts arrays where asked', () => {
    const n = 20_000;
    const entries: MetadataEntry[] = [
      {
        key: 'tokens',
        type: 'ARRAY',
        elementType: 'STRING',
        value: Array.from({ length: n }, (_, i) => `t${i}`),
      },
      { key: 'scores', type: 'ARRAY', elementType: 'FLOAT32', value: new Float32Array(n).fill(0.1) },
      { key: 'kinds', type: 'ARRAY', elementType: 'INT32', value: new Int32Array(n).fill(-7) },
      { key: 'map', type: 'ARRAY', elementType: 'UINT8', value: new Uint8Array(n).fill(255) },
      { key: 'ids', type: 'ARRAY', elementType: 'UINT32', value: new Array<number>(n).fill(2 ** 31) },
      { key: 'last', type: 'STRING', value: 'still found' },
    ];
    writeFile(entries, [], 32);
    const whole = readGguf(path);
    expect(whole.metadata).toEqual(entries);
    expect(whole.cutArrays.size).toBe(0);

    const short = readGguf(path, { maxItems: 3 });
    expect(short.metadata).toEqual(
      entries.map((e) => (e.type === 'ARRAY' ? { ...e, value: e.value.slice(0, 3) } : e)),
    );
    expect([...short.cutArrays]).toEqual(['tokens', 'scores', 'kinds', 'map', 'ids'].map((key) => [key, n]));
  });

  it('accepts a last tensor without padding, and ignores what follows it', () => {
    const written: GgufTensorToWrite[] = [{ name: 'w', type: 'F32', shape: [3], data: new Uint8Array(12) }];
    const bytes = writeFile([], written, 32);
    truncateSync(path, bytes.length - 20);
    expect(readGguf(path).tensors).toHaveLength(1);
    put(directory, 'model.gguf', Buffer.concat([bytes, Buffer.alloc(1000)]));
    expect(readGguf(path).tensors).toHaveLength(1);
  });
});
