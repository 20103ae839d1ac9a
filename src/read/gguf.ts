import type { StoredTensor } from '../core/checkpoint.ts';
import { type ErrorDetails, QuantizeError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import { type DataType, typeByGgmlId } from '../core/types.ts';
import { withSource } from './byte-source.ts';
import { GgufHeaderReader } from './gguf-header.ts';
import { MIN_ENTRY_BYTES, readMetadata } from './gguf-metadata.ts';

/** The file does not begin with "GGUF". */
export class GgufMagicError extends QuantizeError {}

/** The file was written for big-endian machines. */
export class GgufByteOrderError extends QuantizeError {}

/** The version of the format is not one that can be read. */
export class GgufVersionError extends QuantizeError {}

/** The header claims more keys or tensors than the file has room for. */
export class GgufCountError extends QuantizeError {}

/** `general.alignment` is not an unsigned 32-bit power of two. */
export class GgufAlignmentError extends QuantizeError {}

/** Two tensors have the same name. */
export class GgufDuplicateTensorError extends QuantizeError {}

/** A tensor has more dimensions than ggml knows. */
export class GgufDimensionsError extends QuantizeError {}

/** A tensor has more values, or bytes, than a number can count exactly. */
export class GgufShapeOverflowError extends QuantizeError {}

/** A tensor's type is unknown. */
export class GgufTensorTypeError extends QuantizeError {}

/** A tensor's rows are not whole blocks of its type. */
export class GgufRowLengthError extends QuantizeError {}

/** A tensor's offset is not a multiple of the alignment. */
export class GgufMisalignedError extends QuantizeError {}

/** A tensor's data reaches beyond the end of the file. */
export class GgufBeyondFileError extends QuantizeError {}

/** A tensor begins before the tensor listed before it ends. */
export class GgufOverlapError extends QuantizeError {}

/** Bytes between two tensors belong to none. */
export class GgufHoleError extends QuantizeError {}

export interface GgufFile {
  readonly path: string;
  readonly size: number;
  readonly version: number;
  /** Tensor data begins at multiples of this many bytes. */
  readonly alignment: number;
  /** In file order. */
  readonly metadata: readonly MetadataEntry[];
  /** Full lengths of the arrays that `maxItems` cut, by key. */
  readonly cutArrays: ReadonlyMap<string, number>;
  /** In file order, their offsets absolute. */
  readonly tensors: readonly StoredTensor[];
  /** Absolute offset of the tensor data. */
  readonly dataOffset: number;
}

export interface GgufReadOptions {
  /** Elements kept of each metadata array, for a reader that only shows them. All by default. */
  readonly maxItems?: number;
}

const MAX_DIMENSIONS = 4; // GGML_MAX_DIMS
const DEFAULT_ALIGNMENT = 32;
/** Fewest bytes a tensor's entry can take: name length, dimension count, type, offset. */
const MIN_TENSOR_BYTES = 8 + 4 + 4 + 8;

/**
 * Reads and checks the header of a GGUF file, version 2 or 3, little-endian. No tensor data is read.
 *
 * What ggml's `gguf_init_from_file` refuses is refused, so tensor data must follow in the order of the list, each
 * tensor at the first aligned offset behind the one before. Tensor names of 64 bytes or more are the exception:
 * they do a reader no harm. Bytes behind the last tensor are ignored, as ggml does.
 */
export function readGguf(path: string, options: GgufReadOptions = {}): GgufFile {
  return withSource(path, (source) => {
    const reader = new GgufHeaderReader(source);
    checkMagic(reader);
    const version = readVersion(reader);
    const tensorCount = reader.u64('the number of tensors');
    const keyCount = reader.u64('the number of metadata keys');
    checkCount(reader, tensorCount, MIN_TENSOR_BYTES, 'tensors');
    checkCount(reader, keyCount, MIN_ENTRY_BYTES, 'metadata keys');
    const metadata = readMetadata(reader, keyCount, options.maxItems ?? Number.POSITIVE_INFINITY);
    const alignment = alignmentOf(metadata.entries, path);

    const names = new Set<string>();
    const listed: ListedTensor[] = [];
    for (let i = 0; i < tensorCount; i++) listed.push(readTensor(reader, i, names));
    const dataOffset = padded(reader.cursor.position, alignment);
    return {
      path,
      size: source.size,
      version,
      alignment,
      metadata: metadata.entries,
      cutArrays: metadata.cutArrays,
      tensors: placeTensors(listed, dataOffset, alignment, path, source.size),
      dataOffset,
    };
  });
}

function checkMagic(reader: GgufHeaderReader): void {
  const { cursor } = reader;
  const magic = cursor.bytes(Math.min(4, cursor.remaining)).toString('latin1');
  if (magic === 'GGUF') return;
  throw new GgufMagicError('this is not a GGUF file', {
    file: reader.path,
    expected: '"GGUF" as the first four bytes',
    got: magic === '' ? 'an empty file' : JSON.stringify(magic),
    advice: ['ggml', 'lmgg', 'ggjt', 'tjgg'].includes(magic)
      ? 'this is a format from before GGUF: get the model anew'
      : 'check the path, or download the file again',
  });
}

function readVersion(reader: GgufHeaderReader): number {
  const version = reader.u32('the version');
  if (version === 2 || version === 3) return version;
  const file = reader.path;
  if (version > 0 && (version & 0xffff) === 0) {
    throw new GgufByteOrderError('the GGUF file is big-endian', {
      file,
      expected: 'a little-endian file',
      got: 'version bytes in big-endian order',
      advice: "swap it with llama.cpp's gguf_convert_endian.py, or get the little-endian file",
    });
  }
  throw new GgufVersionError('the GGUF file is of a version that cannot be read', {
    file,
    expected: 'version 2 or 3',
    got: `version ${version}`,
    advice: version === 1 ? 'version 1 was replaced in 2023: get the model anew' : 'update this program',
  });
}

function checkCount(reader: GgufHeaderReader, count: number, minimum: number, what: string): void {
  const room = Math.floor(reader.cursor.remaining / minimum);
  if (count > room) {
    throw new GgufCountError(`the GGUF header claims an impossible number of ${what}`, {
      file: reader.path,
      expected: `at most ${room} in a file of this size`,
      got: `${count}`,
      advice: 'download the file again',
    });
  }
}

function alignmentOf(metadata: readonly MetadataEntry[], file: string): number {
  const entry = metadata.find(({ key }) => key === 'general.alignment');
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const alignment = entry.value;
  if (entry.type === 'UINT32' && Number.isInteger(Math.log2(alignment as number))) return alignment as number;
  throw new GgufAlignmentError('general.alignment is not a power of two', {
    file,
    expected: 'a power of two of type UINT32',
    got: entry.type === 'ARRAY' ? 'an array' : `${alignment} of type ${entry.type}`,
  });
}

const padded = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment;

/** A tensor's entry, its offset still relative to the data. */
interface ListedTensor {
  readonly name: string;
  readonly type: DataType;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  readonly byteLength: number;
  readonly offset: number;
}

function readTensor(reader: GgufHeaderReader, index: number, names: Set<string>): ListedTensor {
  const name = reader.string(`the name of tensor ${index}`);
  const at = { file: reader.path, tensor: name };
  if (names.has(name)) {
    throw new GgufDuplicateTensorError('two tensors have the same name', {
      ...at,
      expected: 'every name once',
    });
  }
  names.add(name);
  const dimensions = reader.u32('the number of dimensions', at);
  if (dimensions > MAX_DIMENSIONS) {
    throw new GgufDimensionsError('a tensor has too many dimensions', {
      ...at,
      expected: `at most ${MAX_DIMENSIONS}`,
      got: `${dimensions}`,
    });
  }
  const extents: number[] = [];
  for (let i = 0; i < dimensions; i++) extents.push(reader.u64('an extent', at));
  const id = reader.u32('the type', at);
  const type = typeByGgmlId(id);
  if (type === undefined) {
    throw new GgufTensorTypeError('a tensor is of an unknown type', {
      ...at,
      expected: 'a type of ggml that files hold',
      got: `type number ${id}`,
    });
  }
  const byteLength = byteLengthOf(type, extents, at);
  const offset = reader.u64('the offset', at);
  return { name, type, shape: extents.reverse(), byteLength, offset };
}

/** Bytes of a tensor with these extents, row length first. */
function byteLengthOf(type: DataType, extents: readonly number[], at: ErrorDetails): number {
  const rowLength = extents[0] ?? 1;
  const tooMany = () =>
    new GgufShapeOverflowError('a tensor has more values than can be counted', {
      ...at,
      expected: 'at most 2^53 - 1 values and bytes',
      got: `[${extents.join(', ')}] (row length first)`,
    });
  let values = 1;
  for (const extent of extents) {
    values *= extent;
    if (!Number.isSafeInteger(extent) || !Number.isSafeInteger(values)) throw tooMany();
  }
  if (rowLength % type.blockSize !== 0) {
    throw new GgufRowLengthError('the rows of a tensor are not whole blocks of its type', {
      ...at,
      expected: `a multiple of ${type.blockSize} values for ${type.name}`,
      got: `${rowLength} values`,
    });
  }
  const bytes = (values / type.blockSize) * type.typeSize;
  if (!Number.isSafeInteger(bytes)) throw tooMany();
  return bytes;
}

/** Checks that the tensors' data follow each other within the file. */
function placeTensors(
  listed: readonly ListedTensor[],
  dataOffset: number,
  alignment: number,
  file: string,
  fileSize: number,
): StoredTensor[] {
  let next = 0;
  return listed.map(({ name, type, shape, byteLength, offset }) => {
    const details = { file, tensor: name, expected: `offset ${next}`, got: `offset ${offset}` };
    if (offset % alignment !== 0) {
      throw new GgufMisalignedError('a tensor is not aligned', {
        ...details,
        expected: `a multiple of ${alignment}`,
      });
    }
    if (byteLength > fileSize - dataOffset - offset) {
      throw new GgufBeyondFileError('a tensor lies beyond the end of the file', {
        ...details,
        expected: `at most ${fileSize} bytes in the file`,
        got: `${byteLength} bytes at ${dataOffset + offset}`,
        advice: 'download the file again: it was cut short',
      });
    }
    if (offset < next) throw new GgufOverlapError('a tensor begins before the previous one ends', details);
    if (offset > next) throw new GgufHoleError('bytes before a tensor belong to none', details);
    next = padded(offset + byteLength, alignment);
    return { name, type: type.name, shape, file: 0, offset: dataOffset + offset, byteLength };
  });
}
