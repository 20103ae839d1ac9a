import { endianness } from 'node:os';
import { QuantizeError } from '../core/errors.ts';
import {
  type MetadataArray,
  type MetadataEntry,
  type MetadataType,
  metadataTypes,
  type ScalarType,
  type ScalarValue,
} from '../core/metadata.ts';
import type { GgufHeaderReader } from './gguf-header.ts';

/** A key is empty or longer than the format allows. */
export class GgufKeyError extends QuantizeError {}

/** A key occurs twice. */
export class GgufDuplicateKeyError extends QuantizeError {}

/** A value or an array's elements are of a type that GGUF does not have. */
export class GgufValueTypeError extends QuantizeError {}

/** An array holds arrays, which llama.cpp does not read either. */
export class GgufNestedArrayError extends QuantizeError {}

/** A boolean is neither 0 nor 1. */
export class GgufBooleanError extends QuantizeError {}

/** Longest key in bytes: the GGUF specification's 2^16 - 1. */
const MAX_KEY = 65_535;

/** Most elements of an array that has no typed array to be kept in: several times the largest vocabulary. */
const MAX_BOXED_ELEMENTS = 2 ** 21;

/** Fewest bytes a key with its value can take: length, one character, type, one byte. */
export const MIN_ENTRY_BYTES = 8 + 1 + 4 + 1;

const typeNames = new Map(
  Object.entries(metadataTypes).map(([name, id]) => [id as number, name as MetadataType]),
);

/** How a value of each type other than STRING lies in the file. */
const scalars: Readonly<
  Record<
    Exclude<ScalarType, 'STRING'>,
    { readonly size: number; readonly read: (bytes: Buffer, at: number) => ScalarValue }
  >
> = {
  UINT8: { size: 1, read: (bytes, at) => bytes.readUInt8(at) },
  INT8: { size: 1, read: (bytes, at) => bytes.readInt8(at) },
  BOOL: { size: 1, read: (bytes, at) => bytes[at] === 1 },
  UINT16: { size: 2, read: (bytes, at) => bytes.readUInt16LE(at) },
  INT16: { size: 2, read: (bytes, at) => bytes.readInt16LE(at) },
  UINT32: { size: 4, read: (bytes, at) => bytes.readUInt32LE(at) },
  INT32: { size: 4, read: (bytes, at) => bytes.readInt32LE(at) },
  FLOAT32: { size: 4, read: (bytes, at) => bytes.readFloatLE(at) },
  UINT64: { size: 8, read: (bytes, at) => bytes.readBigUInt64LE(at) },
  INT64: { size: 8, read: (bytes, at) => bytes.readBigInt64LE(at) },
  FLOAT64: { size: 8, read: (bytes, at) => bytes.readDoubleLE(at) },
};

export interface GgufMetadata {
  readonly entries: readonly MetadataEntry[];
  /** Full lengths of the arrays that were cut to `maxItems`. */
  readonly cutArrays: ReadonlyMap<string, number>;
}

/**
 * Reads `count` key-value pairs, keeping at most `maxItems` elements of each array. The caller has checked `count`
 * against the size of the file.
 */
export function readMetadata(reader: GgufHeaderReader, count: number, maxItems: number): GgufMetadata {
  const keys = new Set<string>();
  const entries: MetadataEntry[] = [];
  const cutArrays = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    const key = readKey(reader, i);
    if (keys.has(key)) {
      throw new GgufDuplicateKeyError('a metadata key occurs twice', {
        file: reader.path,
        expected: 'every key once',
        got: JSON.stringify(key),
      });
    }
    keys.add(key);
    const type = readType(reader, key);
    if (type === 'ARRAY') {
      const { length, ...entry } = readArray(reader, key, maxItems);
      entries.push(entry);
      if (length > maxItems) cutArrays.set(key, length);
    } else {
      entries.push({ key, type, value: readItem(reader, key, type) });
    }
  }
  return { entries, cutArrays };
}

function readKey(reader: GgufHeaderReader, index: number): string {
  const key = reader.string(`metadata key ${index}`);
  const length = Buffer.byteLength(key);
  if (length > 0 && length <= MAX_KEY) return key;
  throw new GgufKeyError('a metadata key is empty or too long', {
    file: reader.path,
    expected: `1 to ${MAX_KEY} bytes`,
    got: `${length} for key ${index}`,
  });
}

function readType(reader: GgufHeaderReader, key: string): MetadataType {
  const id = reader.u32(`the type of ${key}`);
  const type = typeNames.get(id);
  if (type !== undefined) return type;
  throw new GgufValueTypeError('a metadata value is of an unknown type', {
    file: reader.path,
    expected: `a type number from 0 to ${metadataTypes.FLOAT64} for ${key}`,
    got: `${id}`,
  });
}

function readItem(reader: GgufHeaderReader, key: string, type: ScalarType): ScalarValue {
  if (type === 'STRING') return reader.string(key);
  const { size, read } = scalars[type];
  reader.need(size, key);
  const bytes = reader.cursor.bytes(size);
  if (type === 'BOOL') checkBoolean(reader, key, bytes[0]);
  return read(bytes, 0);
}

function readArray(
  reader: GgufHeaderReader,
  key: string,
  maxItems: number,
): Extract<MetadataEntry, { type: 'ARRAY' }> & { length: number } {
  const elementType = readType(reader, key);
  if (elementType === 'ARRAY') {
    throw new GgufNestedArrayError('a metadata array holds arrays', {
      file: reader.path,
      expected: `an array of numbers, booleans or strings for ${key}`,
      got: 'an array of arrays',
    });
  }
  const length = reader.u64(`the length of ${key}`);
  const size = elementType === 'STRING' ? 8 : scalars[elementType].size;
  reader.need(length * size, `${length} elements of ${key}`);
  const kept = Math.min(length, maxItems);
  const value =
    elementType === 'STRING'
      ? readStrings(reader, key, length, kept)
      : readNumbers(reader, key, elementType, kept);
  if (elementType !== 'STRING') reader.cursor.skip((length - kept) * size);
  return { key, type: 'ARRAY', elementType, value, length };
}

function readStrings(reader: GgufHeaderReader, key: string, length: number, kept: number): string[] {
  checkBoxed(reader, key, kept);
  const strings: string[] = [];
  for (let i = 0; i < kept; i++) strings.push(reader.string(key));
  for (let i = kept; i < length; i++) reader.skipString(key);
  return strings;
}

function readNumbers(
  reader: GgufHeaderReader,
  key: string,
  type: Exclude<ScalarType, 'STRING'>,
  length: number,
): MetadataArray {
  if (type === 'UINT8' || (littleEndianHost && (type === 'INT32' || type === 'FLOAT32'))) {
    const array =
      type === 'UINT8'
        ? new Uint8Array(length)
        : type === 'INT32'
          ? new Int32Array(length)
          : new Float32Array(length);
    reader.cursor.into(new Uint8Array(array.buffer));
    return array;
  }
  checkBoxed(reader, key, length);
  const { size, read } = scalars[type];
  const bytes = reader.cursor.bytes(length * size);
  const values: ScalarValue[] = [];
  for (let i = 0; i < length; i++) {
    if (type === 'BOOL') checkBoolean(reader, key, bytes[i]);
    values.push(read(bytes, i * size));
  }
  return values;
}

const littleEndianHost = endianness() === 'LE';

function checkBoxed(reader: GgufHeaderReader, key: string, length: number): void {
  if (length > MAX_BOXED_ELEMENTS) {
    throw reader.tooLarge(
      `${MAX_BOXED_ELEMENTS} elements in an array of this type`,
      `${length} in ${key}`,
      {},
    );
  }
}

function checkBoolean(reader: GgufHeaderReader, key: string, byte: number): void {
  if (byte > 1) {
    throw new GgufBooleanError('a boolean in the metadata is neither 0 nor 1', {
      file: reader.path,
      expected: `0 or 1 for ${key}`,
      got: `${byte}`,
    });
  }
}
