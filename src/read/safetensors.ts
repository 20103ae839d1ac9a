import { type ErrorDetails, QuantizeError } from '../core/errors.ts';
import { type DataType, typeBySafetensorsName } from '../core/types.ts';
import { type ByteSource, withSource } from './byte-source.ts';
import { Cursor } from './cursor.ts';
import { compareCodePoints } from './order.ts';
import { parseStrictJson, type StrictJson, type StrictJsonObject, showJson } from './strict-json.ts';

/** The file is too short to hold even the length of a header. */
export class SafetensorsTooShortError extends QuantizeError {}

/** The header claims to be larger than the format allows. */
export class SafetensorsHeaderTooLargeError extends QuantizeError {}

/** The header claims to be longer than the file. */
export class SafetensorsHeaderLengthError extends QuantizeError {}

/** The header does not begin with "{", so this is some other kind of file. */
export class SafetensorsHeaderStartError extends QuantizeError {}

/** `__metadata__` is not an object of strings. */
export class SafetensorsMetadataError extends QuantizeError {}

/** A tensor is not described by an object, or its dtype, shape or data_offsets is missing. */
export class SafetensorsEntryError extends QuantizeError {}

/** A dtype is unknown, or one that no weights of a model come in. */
export class SafetensorsDtypeError extends QuantizeError {}

/** A shape is not a list of whole, non-negative numbers. */
export class SafetensorsShapeError extends QuantizeError {}

/** A shape has more values, or bytes, than a number can count exactly. */
export class SafetensorsShapeOverflowError extends QuantizeError {}

/** data_offsets is not a pair of whole numbers in ascending order. */
export class SafetensorsOffsetsError extends QuantizeError {}

/** A tensor's data reaches beyond the end of the file. */
export class SafetensorsBeyondFileError extends QuantizeError {}

/** data_offsets span another number of bytes than dtype and shape need. */
export class SafetensorsByteLengthError extends QuantizeError {}

/** Two tensors share bytes. */
export class SafetensorsOverlapError extends QuantizeError {}

/** Bytes between two tensors belong to none. */
export class SafetensorsHoleError extends QuantizeError {}

/** Bytes behind the last tensor belong to none. */
export class SafetensorsTrailingBytesError extends QuantizeError {}

/** Largest header in bytes, as the reference implementation (safetensors' `MAX_HEADER_SIZE`). */
export const MAX_HEADER_SIZE = 100_000_000;

export interface SafetensorsTensor {
  readonly name: string;
  readonly type: DataType;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  /** Absolute offset in the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface SafetensorsFile {
  readonly path: string;
  readonly size: number;
  /** Bytes of JSON, the length field before it not counted. */
  readonly headerLength: number;
  /** `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Sorted by name, the order in which the safetensors library and llama.cpp's converter give them. */
  readonly tensors: readonly SafetensorsTensor[];
}

/**
 * Reads and checks the header of one safetensors file: u64 length, JSON, then tensor data that must cover the rest
 * of the file without gap or overlap. No tensor data is read.
 */
export function readSafetensors(path: string): SafetensorsFile {
  return withSource(path, (source) => {
    const headerLength = headerLengthOf(source);
    const locate = ([name]: readonly string[]): ErrorDetails =>
      name === '__metadata__' ? { file: path } : { file: path, tensor: name };
    const header = parseStrictJson(new Cursor(source, 8, 8 + headerLength), locate) as StrictJsonObject;
    const dataStart = 8 + headerLength;
    const metadata = metadataOf(header.get('__metadata__'), path);
    header.delete('__metadata__');
    const tensors: SafetensorsTensor[] = [];
    for (const [name, entry] of header) tensors.push(tensorOf(path, name, entry, dataStart, source.size));
    checkCoverage(path, tensors, dataStart, source.size);
    tensors.sort((a, b) => compareCodePoints(a.name, b.name));
    return { path, size: source.size, headerLength, metadata, tensors };
  });
}

/** Checks the length field against the file before anything of that length is read. */
function headerLengthOf(source: ByteSource): number {
  const { path: file, size } = source;
  if (size < 8) {
    throw new SafetensorsTooShortError('the file is too short to be a safetensors file', {
      file,
      expected: 'at least 8 bytes',
      got: `${size} bytes`,
      advice: 'download it again',
    });
  }
  const start = new Cursor(source, 0, size);
  const length = start.u64();
  if (length > MAX_HEADER_SIZE) {
    throw new SafetensorsHeaderTooLargeError('the safetensors header claims an impossible size', {
      file,
      expected: `at most ${MAX_HEADER_SIZE} bytes`,
      got: `${length} bytes`,
      advice: 'check that this is a safetensors file',
    });
  }
  if (length > size - 8) {
    throw new SafetensorsHeaderLengthError('the safetensors header is longer than the file', {
      file,
      expected: `at most ${size - 8} bytes`,
      got: `${length} bytes`,
      advice: 'download the file again: it was cut short',
    });
  }
  const first = length > 0 ? start.u8() : -1;
  if (first !== 0x7b) {
    throw new SafetensorsHeaderStartError('the safetensors header does not begin with "{"', {
      file,
      expected: '"{" at byte 8',
      got: first < 0 ? 'an empty header' : `byte 0x${first.toString(16).padStart(2, '0')}`,
      advice: 'check that this is a safetensors file',
    });
  }
  return length;
}

function metadataOf(value: StrictJson | undefined, file: string): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  if (value === undefined) return metadata;
  const fail = (got: string) =>
    new SafetensorsMetadataError('__metadata__ of the safetensors header is malformed', {
      file,
      expected: 'an object whose values are all strings',
      got,
    });
  if (!(value instanceof Map)) throw fail(showJson(value));
  for (const [key, item] of value) {
    if (typeof item !== 'string') throw fail(`${showJson(item)} for ${showJson(key)}`);
    metadata.set(key, item);
  }
  return metadata;
}

function tensorOf(
  file: string,
  name: string,
  entry: StrictJson,
  dataStart: number,
  fileSize: number,
): SafetensorsTensor {
  const at = { file, tensor: name };
  if (!(entry instanceof Map)) {
    throw new SafetensorsEntryError('a tensor in the safetensors header is not described by an object', {
      ...at,
      expected: 'an object with dtype, shape and data_offsets',
      got: showJson(entry),
    });
  }
  for (const field of ['dtype', 'shape', 'data_offsets']) {
    if (!entry.has(field)) {
      throw new SafetensorsEntryError('a tensor in the safetensors header is described incompletely', {
        ...at,
        expected: 'dtype, shape and data_offsets',
        got: `no ${field}`,
      });
    }
  }
  const type = dtypeOf(entry.get('dtype'), at);
  const shape = shapeOf(entry.get('shape'), at);
  const byteLength = byteLengthOf(type, shape, at);
  const [begin, end] = offsetsOf(entry.get('data_offsets'), at);
  if (end > fileSize - dataStart) {
    throw new SafetensorsBeyondFileError('a tensor lies beyond the end of the file', {
      ...at,
      expected: `data_offsets up to ${fileSize - dataStart}`,
      got: `${end}`,
      advice: 'download the file again: it was cut short',
    });
  }
  if (end - begin !== byteLength) {
    throw new SafetensorsByteLengthError('a tensor does not fill its place in the file', {
      ...at,
      expected: `${byteLength} bytes for ${type.name} [${shape.join(', ')}]`,
      got: `${end - begin} bytes between data_offsets ${begin} and ${end}`,
    });
  }
  return { name, type, shape, offset: dataStart + begin, byteLength };
}

function dtypeOf(value: StrictJson | undefined, at: ErrorDetails): DataType {
  const type = typeof value === 'string' ? typeBySafetensorsName(value) : undefined;
  if (type !== undefined) return type;
  throw new SafetensorsDtypeError('unknown or unsupported dtype', {
    ...at,
    expected: 'F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I8 to I64, U8 to U64 or BOOL',
    got: showJson(value),
  });
}

function shapeOf(value: StrictJson | undefined, at: ErrorDetails): number[] {
  if (Array.isArray(value) && value.every(isNatural)) return value;
  throw new SafetensorsShapeError('a shape is not a list of extents', {
    ...at,
    expected: 'whole numbers from 0 to 2^53 - 1',
    got: showJson(value),
  });
}

function byteLengthOf(type: DataType, shape: readonly number[], at: ErrorDetails): number {
  let bytes = type.typeSize;
  for (const extent of shape) {
    bytes *= extent;
    if (!Number.isSafeInteger(bytes)) {
      throw new SafetensorsShapeOverflowError('a tensor has more bytes than can be counted', {
        ...at,
        expected: 'at most 2^53 - 1 bytes',
        got: `${type.name} [${shape.join(', ')}]`,
      });
    }
  }
  return bytes;
}

function offsetsOf(value: StrictJson | undefined, at: ErrorDetails): [number, number] {
  if (Array.isArray(value) && value.length === 2 && value.every(isNatural) && value[0] <= value[1]) {
    return [value[0], value[1]];
  }
  throw new SafetensorsOffsetsError('data_offsets are malformed', {
    ...at,
    expected: 'two whole numbers, begin and end, not descending',
    got: showJson(value),
  });
}

const isNatural = (value: StrictJson): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);

/** The tensors, sorted by where they lie, must follow each other from the first data byte to the last. */
function checkCoverage(
  file: string,
  tensors: readonly SafetensorsTensor[],
  dataStart: number,
  fileSize: number,
): void {
  const inFileOrder = [...tensors].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let end = dataStart;
  let previous = 'the header';
  for (const { name, offset, byteLength } of inFileOrder) {
    const expected = `data from ${end - dataStart} on, where ${previous} ends`;
    const got = `data from ${offset - dataStart} on`;
    if (offset < end) {
      throw new SafetensorsOverlapError('two tensors share bytes', { file, tensor: name, expected, got });
    }
    if (offset > end) {
      throw new SafetensorsHoleError('bytes before a tensor belong to none', {
        file,
        tensor: name,
        expected,
        got,
      });
    }
    end = offset + byteLength;
    previous = JSON.stringify(name);
  }
  if (end !== fileSize) {
    throw new SafetensorsTrailingBytesError('bytes at the end of the file belong to no tensor', {
      file,
      expected: `a file of ${end} bytes`,
      got: `${fileSize} bytes`,
    });
  }
}
