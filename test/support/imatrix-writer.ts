import type { CollectedImportance } from '../../src/core/calibration.ts';
import { imatrixFile, imatrixKeys as keysOf, imatrixTensors as tensorsOf } from '../../src/write/imatrix.ts';
import type { GgufTensorToWrite } from './gguf-writer.ts';

/**
 * Importance matrices for tests: by the real writer, which test/engine/imatrix-file.test.ts holds to the real ggml; in
 * pieces, to be spoilt; and in llama.cpp's older form, which nothing writes any more.
 */

export const imatrixKeys = (datasets: readonly string[], chunks: number) =>
  keysOf({ datasets, chunks, chunkSize: 512 });

/** Shapes slowest axis first, as the tests' own GGUF writer takes them. */
export const imatrixTensors = (entries: readonly CollectedImportance[]): GgufTensorToWrite[] =>
  tensorsOf(entries).map((tensor) => ({ ...tensor, shape: tensor.shape.toReversed() }));

export const imatrixBytes = (
  entries: readonly CollectedImportance[],
  datasets: readonly string[] = ['calibration.txt'],
  chunks = 40,
): Uint8Array => imatrixFile(entries, { datasets, chunks, chunkSize: 512 });

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
    parts.push(
      i32(bytes.length),
      bytes,
      i32(calls),
      i32(values.length),
      Buffer.from(Float32Array.from(values).buffer),
    );
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
