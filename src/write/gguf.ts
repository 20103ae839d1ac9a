import type { MetadataEntry, ScalarType, ScalarValue } from '../core/metadata.ts';
import { metadataTypes } from '../core/metadata.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../core/types.ts';

/** What the header says of a tensor. Shape in GGUF order, row length first. */
export interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: TypeName;
}

/** A file, known before its first byte. */
export interface LaidOut {
  /** Everything before the tensor data, padded to the alignment. */
  readonly header: Uint8Array;
  /** Absolute byte offset of each tensor's data, in tensor order. */
  readonly offsets: readonly number[];
  readonly fileBytes: number;
}

/** One file of the output. Its tensors are those of the plan from `first` up to `end`. */
export interface FileLayout extends LaidOut {
  readonly first: number;
  readonly end: number;
}

/** The files a run makes. */
export interface Layout {
  readonly files: readonly FileLayout[];
  /** Of all of them. */
  readonly fileBytes: number;
  /** Set when the model is split: how many files it has, and the number (from 0) of the first that this run makes. */
  readonly split: { readonly count: number; readonly first: number } | null;
}

const VERSION = 3;
export const DEFAULT_ALIGNMENT = 32;

export const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;

/**
 * Lays out a GGUF v3 file (little-endian): magic, version, counts, key-value pairs, tensor infos, then each tensor's
 * data at a multiple of `general.alignment` (32 unless the metadata says otherwise), the last one padded too.
 */
export function layOutFile(metadata: readonly MetadataEntry[], tensors: readonly TensorInfo[]): LaidOut {
  const alignment = Number(
    metadata.find(({ key }) => key === 'general.alignment')?.value ?? DEFAULT_ALIGNMENT,
  );

  const writer = new ByteWriter(headerBound(metadata, tensors, alignment));
  writer.bytes(new TextEncoder().encode('GGUF'));
  writer.uint32(VERSION);
  writer.uint64(tensors.length);
  writer.uint64(metadata.length);
  for (const entry of metadata) {
    writer.string(entry.key);
    writer.uint32(metadataTypes[entry.type]);
    if (entry.type === 'ARRAY') {
      writer.uint32(metadataTypes[entry.elementType]);
      writer.uint64(entry.value.length);
      for (const value of entry.value) writer.scalar(entry.elementType, value);
    } else {
      writer.scalar(entry.type, entry.value);
    }
  }

  let relative = 0; // from the start of the tensor data
  const relativeOffsets = tensors.map((tensor) => {
    const offset = relative;
    relative += alignUp(bytesOf(tensor.type, elementsOf(tensor.shape)), alignment);
    writer.string(tensor.name);
    writer.uint32(tensor.shape.length);
    for (const extent of tensor.shape) writer.uint64(extent);
    writer.uint32(dataTypes[tensor.type].ggmlId!);
    writer.uint64(offset);
    return offset;
  });

  const header = writer.finish(alignment);
  return {
    header,
    offsets: relativeOffsets.map((offset) => header.length + offset),
    fileBytes: header.length + relative,
  };
}

/** Bytes that the header takes at most: with a vocabulary they are many, and a buffer that grows would double them. */
function headerBound(
  metadata: readonly MetadataEntry[],
  tensors: readonly TensorInfo[],
  alignment: number,
): number {
  const text = (value: string) => 8 + Buffer.byteLength(value);
  const scalar = (type: ScalarType, value: ScalarValue) =>
    type === 'STRING' ? text(value as string) : scalarBytes[type];
  let bytes = 24 + alignment;
  for (const entry of metadata) {
    bytes += text(entry.key) + 16; // type, and for arrays their elements' type and number
    if (entry.type !== 'ARRAY') bytes += scalar(entry.type, entry.value);
    else if (entry.elementType !== 'STRING') bytes += entry.value.length * scalarBytes[entry.elementType];
    else for (const value of entry.value) bytes += text(value as string);
  }
  for (const { name, shape } of tensors) bytes += text(name) + 16 + 8 * shape.length;
  return bytes;
}

type FixedType = Exclude<ScalarType, 'STRING'>;

const scalarBytes: Readonly<Record<FixedType, number>> = {
  ...{ BOOL: 1, UINT8: 1, INT8: 1, UINT16: 2, INT16: 2, UINT32: 4, INT32: 4, FLOAT32: 4 },
  ...{ UINT64: 8, INT64: 8, FLOAT64: 8 },
};

/** Writes one scalar at an offset, little-endian. */
const setScalar = {
  BOOL: (view: DataView, at: number, value: boolean) => view.setUint8(at, value ? 1 : 0),
  UINT8: (view: DataView, at: number, value: number) => view.setUint8(at, value),
  INT8: (view: DataView, at: number, value: number) => view.setInt8(at, value),
  UINT16: (view: DataView, at: number, value: number) => view.setUint16(at, value, true),
  INT16: (view: DataView, at: number, value: number) => view.setInt16(at, value, true),
  UINT32: (view: DataView, at: number, value: number) => view.setUint32(at, value, true),
  INT32: (view: DataView, at: number, value: number) => view.setInt32(at, value, true),
  FLOAT32: (view: DataView, at: number, value: number) => view.setFloat32(at, value, true),
  UINT64: (view: DataView, at: number, value: number | bigint) => view.setBigUint64(at, BigInt(value), true),
  INT64: (view: DataView, at: number, value: number | bigint) => view.setBigInt64(at, BigInt(value), true),
  FLOAT64: (view: DataView, at: number, value: number) => view.setFloat64(at, value, true),
};

/** Little-endian values, one after another, into a buffer of a size known to be enough. */
class ByteWriter {
  readonly #buffer: Buffer;
  readonly #view: DataView;
  #length = 0;

  constructor(capacity: number) {
    this.#buffer = Buffer.alloc(capacity);
    this.#view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset, capacity);
  }

  #room(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    return at;
  }

  bytes(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#room(bytes.length));
  }

  uint32(value: number): void {
    this.#view.setUint32(this.#room(4), value, true);
  }

  uint64(value: number | bigint): void {
    this.#view.setBigUint64(this.#room(8), BigInt(value), true);
  }

  string(text: string): void {
    const bytes = Buffer.byteLength(text, 'utf8');
    this.uint64(bytes);
    this.#buffer.write(text, this.#room(bytes), bytes, 'utf8');
  }

  scalar(type: ScalarType, value: ScalarValue): void {
    if (type === 'STRING') this.string(value as string);
    else setScalar[type](this.#view, this.#room(scalarBytes[type]), value as never);
  }

  /** The bytes so far, zero-padded to a multiple of the alignment. */
  finish(alignment: number): Uint8Array {
    this.#room(alignUp(this.#length, alignment) - this.#length);
    return this.#buffer.subarray(0, this.#length);
  }
}
