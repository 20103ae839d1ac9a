import type { MetadataEntry } from '../../src/core/metadata.ts';
import { type GgufTensorToWrite, ggufBytes } from './gguf-writer.ts';

/** An entry as llama-imatrix collects it: sums of squares by expert and column, and the inputs each expert saw. */
export interface CollectedEntry {
  readonly name: string;
  readonly sums: Float32Array;
  readonly counts: readonly number[];
}

/** Keys of a GGUF importance matrix, in llama-imatrix's order. */
export const imatrixKeys = (
  datasets: readonly string[],
  chunks: number,
  chunkSize = 512,
): MetadataEntry[] => [
  { key: 'general.type', type: 'STRING', value: 'imatrix' },
  { key: 'imatrix.datasets', type: 'ARRAY', elementType: 'STRING', value: datasets },
  { key: 'imatrix.chunk_count', type: 'UINT32', value: chunks },
  { key: 'imatrix.chunk_size', type: 'UINT32', value: chunkSize },
];

const floats = (values: ArrayLike<number>) => new Uint8Array(Float32Array.from(values).buffer);

/** The two tensors of each entry (`save_imatrix`). */
export const imatrixTensors = (entries: readonly CollectedEntry[]): GgufTensorToWrite[] =>
  entries.flatMap(({ name, sums, counts }) => [
    {
      name: `${name}.in_sum2`,
      type: 'F32' as const,
      shape: [counts.length, sums.length / counts.length],
      data: floats(sums),
    },
    { name: `${name}.counts`, type: 'F32' as const, shape: [counts.length, 1], data: floats(counts) },
  ]);

/** A file as llama-imatrix writes it today. */
export const imatrixBytes = (
  entries: readonly CollectedEntry[],
  datasets: readonly string[] = ['calibration.txt'],
  chunks = 40,
): Buffer => ggufBytes(imatrixKeys(datasets, chunks), imatrixTensors(entries));

/** An entry of the .dat form: values are stored times calls. */
export interface LegacyEntry {
  readonly name: string | Uint8Array;
  readonly calls: number;
  readonly values: ArrayLike<number>;
}

/** A file of the form before GGUF (`save_imatrix_legacy`); without chunks it ends behind the entries, as the oldest do. */
export function legacyImatrixBytes(
  entries: readonly LegacyEntry[],
  trailer?: { chunks: number; dataset?: string },
): Buffer {
  const parts = [i32(entries.length)];
  for (const { name, calls, values } of entries) {
    const bytes = Buffer.from(name);
    parts.push(i32(bytes.length), bytes, i32(calls), i32(values.length), Buffer.from(floats(values)));
  }
  if (trailer !== undefined) {
    parts.push(i32(trailer.chunks));
    if (trailer.dataset !== undefined) {
      const dataset = Buffer.from(trailer.dataset);
      parts.push(i32(dataset.length), dataset);
    }
  }
  return Buffer.concat(parts);
}

/** 32 bits, little-endian. */
export function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
