import {
  type MetadataEntry,
  metadataTypes,
  type ScalarType,
  type ScalarValue,
} from '../../src/core/metadata.ts';
import { dataTypes, type TypeName } from '../../src/core/types.ts';

/** A tensor to write, its bytes as they are to lie in the file. */
export interface GgufTensorToWrite {
  readonly name: string;
  readonly type: TypeName;
  /** Slowest axis first; the file gets it reversed. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * A GGUF file with one byte order, one buffer and no checks: a second opinion for tests of the reader and the real
 * writer, written from the format's specification.
 */
export function ggufBytes(
  metadata: readonly MetadataEntry[],
  tensors: readonly GgufTensorToWrite[],
  { version = 3, alignment = 32 }: { version?: number; alignment?: number } = {},
): Buffer {
  const parts: Buffer[] = [Buffer.from('GGUF'), u32(version), u64(tensors.length), u64(metadata.length)];
  for (const entry of metadata) {
    parts.push(text(entry.key), u32(metadataTypes[entry.type]));
    if (entry.type === 'ARRAY') {
      parts.push(u32(metadataTypes[entry.elementType]), u64(entry.value.length));
      for (const item of entry.value) parts.push(scalar(entry.elementType, item));
    } else {
      parts.push(scalar(entry.type, entry.value));
    }
  }
  let offset = 0;
  for (const { name, type, shape, data } of tensors) {
    parts.push(text(name), u32(shape.length), ...[...shape].reverse().map(u64));
    parts.push(u32(dataTypes[type].ggmlId!), u64(offset));
    offset += data.length + padding(data.length, alignment);
  }
  const headerLength = parts.reduce((sum, { length }) => sum + length, 0);
  parts.push(Buffer.alloc(padding(headerLength, alignment)));
  for (const { data } of tensors)
    parts.push(Buffer.from(data), Buffer.alloc(padding(data.length, alignment)));
  return Buffer.concat(parts);
}

const padding = (length: number, alignment: number): number => (alignment - (length % alignment)) % alignment;

function scalar(type: ScalarType, value: ScalarValue): Buffer {
  if (type === 'STRING') return text(value as string);
  const bytes = new DataView(new ArrayBuffer(8));
  const [size, write] = numbers[type];
  write(bytes, value);
  return Buffer.from(bytes.buffer, 0, size);
}

const numbers: Record<
  Exclude<ScalarType, 'STRING'>,
  [number, (view: DataView, value: ScalarValue) => void]
> = {
  UINT8: [1, (view, value) => view.setUint8(0, value as number)],
  INT8: [1, (view, value) => view.setInt8(0, value as number)],
  BOOL: [1, (view, value) => view.setUint8(0, value ? 1 : 0)],
  UINT16: [2, (view, value) => view.setUint16(0, value as number, true)],
  INT16: [2, (view, value) => view.setInt16(0, value as number, true)],
  UINT32: [4, (view, value) => view.setUint32(0, value as number, true)],
  INT32: [4, (view, value) => view.setInt32(0, value as number, true)],
  FLOAT32: [4, (view, value) => view.setFloat32(0, value as number, true)],
  UINT64: [8, (view, value) => view.setBigUint64(0, value as bigint, true)],
  INT64: [8, (view, value) => view.setBigInt64(0, value as bigint, true)],
  FLOAT64: [8, (view, value) => view.setFloat64(0, value as number, true)],
};

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}
