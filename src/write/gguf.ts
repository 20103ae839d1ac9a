import type { MetadataEntry, ScalarType, ScalarValue } from '../core/metadata.ts';
import { metadataTypes } from '../core/metadata.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../core/types.ts';

/** What the header says of a tensor. Shape in GGUF order, row length first. */
export interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: TypeName;
}

/** The whole output file, known before its first byte. */
export interface Layout {
  /** Everything before the tensor data, padded to the alignment. */
  readonly header: Uint8Array;
  /** Absolute byte offset of each tensor's data, in tensor order. */
  readonly offsets: readonly number[];
  readonly fileBytes: number;
}

const VERSION = 3;
const DEFAULT_ALIGNMENT = 32;

const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;

/**
 * Lays out a GGUF v3 file (little-endian): magic, version, counts, key-value pairs, tensor infos, then each tensor's
 * data at a multiple of `general.alignment` (32 unless the metadata says otherwise), the last one padded too.
 */
export function layOut(metadata: readonly MetadataEntry[], tensors: readonly TensorInfo[]): Layout {
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

  uint32(value: number): void {
    this.#view.setUint32(this.#room(4), value, true);
  }

  uint64(value: number | bigint): void {
    this.#view.setBigUint64(this.#room(8), BigInt(value), true);
  }

  string(text: string): void {
    const bytes = Buffer.byteLength(text, 'utf8');
    this.uint64(bytes);
    const at = this.#room(bytes);
    Buffer.from(this.#buffer.buffer).write(text, at, bytes, 'utf8');
  }

  scalar(type: ScalarType, value: ScalarValue): void {
    switch (type) {
      case 'STRING':
        this.string(value as string);
        return;
      case 'BOOL':
        this.#view.setUint8(this.#room(1), value ? 1 : 0);
        return;
      case 'UINT8':
        this.#view.setUint8(this.#room(1), value as number);
        return;
      case 'INT8':
        this.#view.setInt8(this.#room(1), value as number);
        return;
      case 'UINT16':
        this.#view.setUint16(this.#room(2), value as number, true);
        return;
      case 'INT16':
        this.#view.setInt16(this.#room(2), value as number, true);
        return;
      case 'UINT32':
        this.uint32(value as number);
        return;
      case 'INT32':
        this.#view.setInt32(this.#room(4), value as number, true);
        return;
      case 'FLOAT32':
        this.#view.setFloat32(this.#room(4), value as number, true);
        return;
      case 'UINT64':
        this.uint64(value as number | bigint);
        return;
      case 'INT64':
        this.#view.setBigInt64(this.#room(8), BigInt(value as number | bigint), true);
        return;
      case 'FLOAT64':
        this.#view.setFloat64(this.#room(8), value as number, true);
        return;
    }
  }

  /** The bytes so far, zero-padded to a multiple of the alignment. */
  finish(alignment: number): Uint8Array {
    this.#room(alignUp(this.#length, alignment) - this.#length);
    return this.#buffer.subarray(0, this.#length);
  }
}
