import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { QuantizeError } from '../../src/core/errors.ts';
import { dataTypes } from '../../src/core/types.ts';
import { withSource } from '../../src/read/byte-source.ts';
import { compareCodePoints } from '../../src/read/order.ts';
import { readSafetensors } from '../../src/read/safetensors.ts';
import { mutate, mutations } from '../support/mutations.ts';
import { safetensorsBytes, type TensorToWrite, writeSafetensors } from '../support/safetensors-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
const path = join(directory, 'model.safetensors');

const dtypes = Object.values(dataTypes).filter((type) => type.safetensors !== null);

const tensor: fc.Arbitrary<TensorToWrite> = fc
  .tuple(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 20 }),
      fc.constantFrom('__proto__', 'constructor', '', '0', '12', 'a.b'),
    ),
    fc.constantFrom(...dtypes),
    fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 5 }),
    fc.integer({ min: 0, max: 255 }),
  )
  .filter(([name]) => name !== '__metadata__')
  .map(([name, type, shape, fill]) => {
    const bytes = shape.reduce((product, extent) => product * extent, type.typeSize);
    return { name, dtype: type.safetensors!, shape, data: new Uint8Array(bytes).fill(fill) };
  });

const tensors = fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 12 });

describe('safetensors', () => {
  it('gives back whatever was written, sorted by name', () => {
    const metadata = fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), {
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(tensors, metadata, (written, about) => {
        writeSafetensors(path, written, about);
        const file = readSafetensors(path);
        expect([...file.metadata]).toEqual(Object.entries(about));
        const sorted = [...written].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
        expect(file.tensors.map(({ name, type, shape }) => [name, type.safetensors, shape])).toEqual(
          sorted.map(({ name, dtype, shape }) => [name, dtype, shape]),
        );
        withSource(path, (source) => {
          file.tensors.forEach(({ offset, byteLength }, i) => {
            expect(source.read(offset, byteLength).equals(sorted[i].data)).toBe(true);
          });
        });
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('accepts data in another order than the header lists it', () => {
    const header = JSON.stringify({
      b: { dtype: 'U8', shape: [2], data_offsets: [1, 3] },
      a: {
        data_offsets: [0, 1],
        shape: [],
        dtype: 'U8',
        note: 'fields nobody knows are ignored, as by the library',
      },
    });
    const length = Buffer.alloc(8);
    length.writeUInt32LE(header.length);
    put(directory, 'model.safetensors', Buffer.concat([length, Buffer.from(`${header}abb`)]));
    const start = 8 + header.length;
    expect(
      readSafetensors(path).tensors.map(({ name, offset, shape }) => [name, offset - start, shape]),
    ).toEqual([
      ['a', 0, []],
      ['b', 1, [2]],
    ]);
  });

  it('accepts a file without tensors', () => {
    writeSafetensors(path, []);
    expect(readSafetensors(path).tensors).toEqual([]);
  });

  it('ends a damaged header in an error of its own, never in a crash', () => {
    let refused = 0;
    fc.assert(
      fc.property(tensors, mutations, (written, changes) => {
        const bytes = safetensorsBytes(written, { format: 'pt' });
        const headerLength = 8 + bytes.readUInt32LE(0);
        put(directory, 'model.safetensors', mutate(bytes, headerLength, changes));
        try {
          readSafetensors(path);
        } catch (error) {
          if (!(error instanceof QuantizeError)) throw error;
          expect(error.details.file).toBe(path);
          refused++;
        }
      }),
      { seed: 2, numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(700);
  });
});

describe('order of names', () => {
  it('is that of their UTF-8 bytes', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'b', '\u00e9', '\ud7ff', '\ue000', '\uffff', '😀'),
      maxLength: 4,
    });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareCodePoints(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
      { seed: 3, numRuns: 1000 },
    );
  });
});
