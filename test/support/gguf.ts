import { toBfloat16, toFloat16 } from '../../src/core/float.ts';
import {
  type MetadataEntry,
  metadataTypes,
  type ScalarType,
  type ScalarValue,
} from '../../src/core/metadata.ts';
import { dataTypes } from '../../src/core/types.ts';

export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: 'F32' | 'F16' | 'BF16';
  readonly values: Float32Array;
}

const ALIGNMENT = 32;

/** A metadata value as it lies in a GGUF file. */
export function packScalar(type: ScalarType, value: ScalarValue): Buffer {
  const out = Buffer.alloc(type === 'BOOL' ? 1 : 4);
  if (type === 'STRING') {
    const text = Buffer.from(value as string, 'utf8');
    return Buffer.concat([u64(text.length), text]);
  }
  if (type === 'BOOL') out.writeUInt8(value ? 1 : 0);
  else if (type === 'UINT32') out.writeUInt32LE(value as number);
  else if (type === 'INT32') out.writeInt32LE(value as number);
  else if (type === 'FLOAT32') out.writeFloatLE(value as number);
  else throw new Error(`no test needs ${type}`);
  return out;
}

/** Items of an array as they lie in a GGUF file, after type and length. */
export const packItems = (entry: MetadataEntry & { type: 'ARRAY' }): Buffer =>
  Buffer.concat(Array.from(entry.value, (item) => packScalar(entry.elementType, item)));

export function packTensor({ type, values }: GgufTensor): Buffer {
  if (type === 'F32') return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const halves = Uint16Array.from(values, type === 'F16' ? toFloat16 : toBfloat16);
  return Buffer.from(halves.buffer);
}

/** A whole GGUF v3 file, as gguf-py lays it out. */
export function packGguf(metadata: readonly MetadataEntry[], tensors: readonly GgufTensor[]): Buffer {
  const parts = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(metadata.length)];
  for (const entry of metadata) {
    parts.push(packScalar('STRING', entry.key), u32(metadataTypes[entry.type]));
    if (entry.type === 'ARRAY') {
      parts.push(u32(metadataTypes[entry.elementType]), u64(entry.value.length), packItems(entry));
    } else {
      parts.push(packScalar(entry.type, entry.value));
    }
  }
  const payloads = tensors.map(packTensor);
  let offset = 0;
  for (const [i, { name, shape, type }] of tensors.entries()) {
    parts.push(packScalar('STRING', name), u32(shape.length), ...shape.map(u64));
    parts.push(u32(dataTypes[type].ggmlId!), u64(offset));
    offset += padded(payloads[i].length);
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, filler(header.length), ...payloads.flatMap((p) => [p, filler(p.length)])]);
}

const padded = (length: number): number => Math.ceil(length / ALIGNMENT) * ALIGNMENT;
const filler = (length: number): Buffer => Buffer.alloc(padded(length) - length);

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

function u64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
}
