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

  const writer = new ByteWriter();
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

/** Little-endian values into a buffer that doubles. */
class ByteWriter {
  #buffer = new Uint8Array(65_536);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  #room(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(this.#length, 2 * this.#buffer.length));
      grown.set(this.#buffer.subarray(0, at));
      this.#buffer = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  bytes(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#room(bytes.length));
  }

  /** Makes room and lets `set` write there; the view is looked up after the buffer may have grown. */
  #put(bytes: number, set: (view: DataView, at: number) => void): void {
    const at = this.#room(bytes);
    set(this.#view, at);
  }

  uint32(value: number): void {
    this.#put(4, (view, at) => view.setUint32(at, value, true));
  }

  uint64(value: number | bigint): void {
    this.#put(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  }

  string(text: string): void {
    const bytes = Buffer.byteLength(text, 'utf8');
    this.uint64(bytes);
    this.#put(bytes, ({ buffer }, at) => Buffer.from(buffer).write(text, at, bytes, 'utf8'));
  }

  scalar(type: ScalarType, value: ScalarValue): void {
    if (type === 'STRING') this.string(value as string);
    else this.#put(scalarBytes[type], (view, at) => setScalar[type](view, at, value as never));
  }

  /** The bytes so far, zero-padded to a multiple of the alignment. */
  finish(alignment: number): Uint8Array {
    this.#room(alignUp(this.#length, alignment) - this.#length);
    return this.#buffer.subarray(0, this.#length);
  }
}
