import fc from 'fast-check';
import type { MetadataEntry, ScalarType, ScalarValue } from '../../src/core/metadata.ts';
import { bytesOf, dataTypes, elementsOf } from '../../src/core/types.ts';
import { layOutFile } from '../../src/write/gguf.ts';
import { type GgufTensorToWrite, ggufBytes } from './gguf-writer.ts';

const text = fc.string({ unit: 'binary', maxLength: 12 });
const values: Record<ScalarType, fc.Arbitrary<ScalarValue>> = {
  UINT8: fc.integer({ min: 0, max: 255 }),
  INT8: fc.integer({ min: -128, max: 127 }),
  UINT16: fc.integer({ min: 0, max: 65_535 }),
  INT16: fc.integer({ min: -32_768, max: 32_767 }),
  UINT32: fc.nat({ max: 2 ** 32 - 1 }),
  INT32: fc.integer(),
  FLOAT32: fc.float(),
  BOOL: fc.boolean(),
  STRING: text,
  UINT64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  INT64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  FLOAT64: fc.double(),
};

const entry: fc.Arbitrary<MetadataEntry> = fc
  .tuple(
    fc.oneof(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), fc.constantFrom('__proto__', 'a.b')),
    fc.constantFrom(...(Object.keys(values) as ScalarType[])),
    fc.boolean(),
  )
  .filter(([key]) => key !== 'general.alignment')
  .chain(
    ([key, type, array]): fc.Arbitrary<MetadataEntry> =>
      array
        ? fc
            .array(values[type], { maxLength: 6 })
            .map((value) => ({ key, type: 'ARRAY', elementType: type, value }))
        : values[type].map((value) => ({ key, type, value })),
  );

/** Every type that a GGUF file can hold. */
export const ggufTypes = Object.values(dataTypes).filter((type) => type.ggmlId !== null);

const tensor: fc.Arbitrary<GgufTensorToWrite> = fc
  .tuple(
    text,
    fc.constantFrom(...ggufTypes),
    fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }),
    fc.integer({ min: 0, max: 255 }),
  )
  .map(([name, type, extents, fill]) => {
    const shape = extents.map((extent, i) => (i === extents.length - 1 ? extent * type.blockSize : extent));
    if (shape.length === 0 && type.blockSize > 1) shape.push(type.blockSize);
    return {
      name,
      type: type.name,
      shape,
      data: new Uint8Array(bytesOf(type.name, elementsOf(shape))).fill(fill),
    };
  });

const metadata = fc.uniqueArray(entry, { selector: ({ key }) => key, maxLength: 8 });
const tensors = fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 6 });
const alignments = fc.constantFrom(1, 8, 32, 64, 4096);

/** A valid GGUF file before it is bytes. */
export interface ArbitraryGguf {
  readonly entries: readonly MetadataEntry[];
  readonly written: readonly GgufTensorToWrite[];
  readonly alignment: number;
  readonly version: number;
}

/** Metadata of every type, tensors of every type and of up to 4 dimensions, some without values. */
export const ggufFiles: fc.Arbitrary<ArbitraryGguf> = fc.record({
  entries: metadata,
  written: tensors,
  alignment: alignments,
  version: fc.constantFrom(2, 3),
});

/** The file's bytes, by a writer that is not ours. */
export const ggufFile = (given: ArbitraryGguf): Buffer =>
  ggufBytes(metadataOf(given), given.written, { alignment: given.alignment, version: given.version });

/** The file's bytes as version 3, by the real writer: header and offsets its own, the data put where it says. */
export function laidOut(given: ArbitraryGguf): Buffer {
  const { header, offsets, fileBytes } = layOutFile(
    metadataOf(given),
    given.written.map(({ name, type, shape }) => ({ name, type, shape: [...shape].reverse() })),
  );
  const bytes = Buffer.alloc(fileBytes);
  bytes.set(header);
  for (const [i, { data }] of given.written.entries()) bytes.set(data, offsets[i]);
  return bytes;
}

/** An alignment other than the default becomes the last key. */
const metadataOf = ({ entries, alignment }: ArbitraryGguf): readonly MetadataEntry[] =>
  alignment === 32 ? entries : [...entries, { key: 'general.alignment', type: 'UINT32', value: alignment }];
