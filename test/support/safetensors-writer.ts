import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBfloat16, toFloat16 } from '../../src/core/float.ts';

/** A tensor to write, its bytes as they are to lie in the file. */
export interface TensorToWrite {
  readonly name: string;
  /** dtype as the header names it. */
  readonly dtype: string;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A safetensors file with the tensors in the order given, its header padded to 8 bytes as the library does. */
export function safetensorsBytes(
  tensors: readonly TensorToWrite[],
  metadata?: Readonly<Record<string, string>>,
): Buffer {
  const fields: string[] = metadata === undefined ? [] : [`"__metadata__":${JSON.stringify(metadata)}`];
  let offset = 0;
  for (const { name, dtype, shape, data } of tensors) {
    const entry = { dtype, shape, data_offsets: [offset, offset + data.length] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    offset += data.length;
  }
  // Put together as text because an object would lose "__proto__" and reorder names that look like numbers.
  const json = Buffer.from(`{${fields.join(',')}}`);
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  return Buffer.concat([header, ...tensors.map(({ data }) => data)]);
}

export function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): void {
  writeFileSync(path, safetensorsBytes(tensors, metadata));
}

/** Writes one shard for each list of tensors, and their index. Returns the path of the index. */
export function writeShards(directory: string, shards: readonly (readonly TensorToWrite[])[]): string {
  mkdirSync(directory, { recursive: true });
  const weightMap: [string, string][] = [];
  let total = 0;
  shards.forEach((tensors, i) => {
    const file = shardName(i + 1, shards.length);
    writeSafetensors(join(directory, file), tensors);
    for (const { name, data } of tensors) {
      weightMap.push([name, file]);
      total += data.length;
    }
  });
  const path = join(directory, 'model.safetensors.index.json');
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) };
  writeFileSync(path, JSON.stringify(index, null, 2));
  return path;
}

/** The name of a shard, counted from 1. */
export const shardName = (number: number, total: number): string =>
  `model-${pad(number)}-of-${pad(total)}.safetensors`;

const pad = (number: number): string => String(number).padStart(5, '0');

/** Values as the bytes of a floating-point dtype, rounded to nearest even. */
export function floatBytes(dtype: 'F64' | 'F32' | 'F16' | 'BF16', values: ArrayLike<number>): Uint8Array {
  const n = values.length;
  if (dtype === 'F64') return bytesOf(Float64Array.from(values));
  if (dtype === 'F32') return bytesOf(Float32Array.from(values));
  const round = dtype === 'F16' ? toFloat16 : toBfloat16;
  const rounded = new Uint16Array(n);
  for (let i = 0; i < n; i++) rounded[i] = round(Math.fround(values[i]));
  return bytesOf(rounded);
}

const bytesOf = (array: Float64Array | Float32Array | Uint16Array): Uint8Array =>
  new Uint8Array(array.buffer);

/** A tensor of floating-point values. */
export function floatTensor(
  name: string,
  dtype: 'F64' | 'F32' | 'F16' | 'BF16',
  shape: readonly number[],
  values: ArrayLike<number>,
): TensorToWrite {
  return { name, dtype, shape, data: floatBytes(dtype, values) };
}
