import type { TensorCalibration } from './calibration.ts';
import type { ErrorSums } from './error-sums.ts';

/** How workers hand encoded chunks over: at their place in the files, or in a window of slots emptied in order. */
export type ChunkTarget =
  | { readonly kind: 'files'; readonly paths: readonly string[] }
  | { readonly kind: 'window'; readonly window: Uint8Array; readonly slotBytes: number };

/** An encoded chunk that is ready (window) or written (files). */
export interface EncodedChunk {
  /** Chunks are numbered through the job. */
  readonly number: number;
  /** The output file, of those the run makes, and the absolute offset in it. */
  readonly file: number;
  readonly offset: number;
  readonly byteLength: number;
}

/** Checksum and sums of a chunk that was encoded. */
export interface EncodedSums {
  /** Of the encoded bytes. */
  readonly checksum: number;
  /** SUMS_PER_TILE sums of each tile. */
  readonly sums: Float64Array;
  /** Of a tensor with chosen ranges, the numbers of `rangeFields` of each tile; else empty. */
  readonly rangeSums: Float64Array;
  readonly maxError: number;
  /** Element of the tensor, in output order, that has the largest error. */
  readonly maxErrorAt: number;
}

/** Partial sums of a tile: sum x^2, sum q^2, sum x q, sum (x - q)^2. */
export const SUMS_PER_TILE = 4;

/**
 * How far a tensor is. Its first `chunks` chunks are added up, in order; chunks that came out of order wait. Small,
 * however large the tensor, so that it can be saved often.
 */
export interface TensorProgress {
  chunks: number;
  /** Of those chunks' checksums, folded in order from 0. */
  checksum: number;
  sums: ErrorSums;
  /** By number of the chunk within the tensor. */
  readonly waiting: Map<number, EncodedSums>;
  /** What calibration found, of a tensor that it coded. */
  calibration: TensorCalibration | null;
}
