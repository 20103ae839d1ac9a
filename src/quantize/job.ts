import type { CheckpointFile } from '../core/checkpoint.ts';
import type { EncoderName, ReadableSource } from '../core/plan.ts';
import { storedType, typeOfEncoder } from '../core/plan.ts';
import type { CodedRange, RangedType, RangeSpec } from '../core/ranges.ts';
import { bytesOf } from '../core/types.ts';
import { longestSpan } from './span.ts';

/** Scale and zero point of each row of a tensor coded with `I8:zero-point`, in memory that threads share. */
export interface RowRanges {
  readonly scales: Float32Array;
  readonly zeroPoints: Int8Array;
}

/** How the ranges of a tensor are chosen. */
export interface TensorRange {
  readonly spec: RangeSpec;
  readonly type: RangedType;
  /** The range of all its weights; null where blocks or rows have their own, or before it is found. */
  readonly coded: CodedRange | null;
  /** Magnitude above which a weight is an outlier. */
  readonly outlierAbove: number;
}

/** One tensor as the workers see it. */
export interface TensorJob {
  readonly name: string;
  /** Values in it, and in one row. */
  readonly elements: number;
  readonly rowLength: number;
  readonly source: ReadableSource;
  readonly encoder: EncoderName;
  /** Output file, of those the run makes, and the absolute offset of its data in it. */
  readonly file: number;
  readonly offset: number;
  readonly ranges?: RowRanges;
  /** Importance of each column, expert after expert, in shared memory. */
  readonly importance?: Float32Array;
  /** Set for the encoders of `:range`, and where the ranges of ggml's own coding are measured. */
  readonly range?: TensorRange;
  /** Whether its weights are counted in a histogram. */
  readonly counted?: boolean;
  /** All its blocks, in shared memory, where calibration has coded it already: they are measured and written. */
  readonly blocks?: Uint8Array;
}

/** What a pool of workers does: every tensor, cut into chunks of `chunk` weights in file order. */
export interface Job {
  readonly files: readonly CheckpointFile[];
  readonly tensors: readonly TensorJob[];
  /** Weights in a chunk: a multiple of SUM_RANGE, and so of every block size. */
  readonly chunk: number;
}

/** Numbers the chunks of a job from 0 through all tensors. */
export class ChunkIndex {
  readonly #firsts: number[] = []; // number of each tensor's first chunk
  readonly #job: Job;
  readonly count: number;

  constructor(job: Job) {
    this.#job = job;
    let next = 0;
    for (const { elements } of job.tensors) {
      this.#firsts.push(next);
      next += Math.ceil(elements / job.chunk);
    }
    this.count = next;
  }

  /** Number of a tensor's first chunk. */
  firstOf(tensor: number): number {
    return this.#firsts[tensor];
  }

  /** Which weights chunk `number` covers. */
  locate(number: number): { tensor: number; start: number; count: number } {
    let low = 0;
    let high = this.#firsts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#firsts[middle] <= number) low = middle;
      else high = middle - 1;
    }
    const start = (number - this.#firsts[low]) * this.#job.chunk;
    return { tensor: low, start, count: Math.min(this.#job.chunk, this.#job.tensors[low].elements - start) };
  }

  /** Chunks of one tensor. */
  chunksOf(tensor: number): number {
    return Math.ceil(this.#job.tensors[tensor].elements / this.#job.chunk);
  }
}

/**
 * Largest sizes of a chunk in bytes, which fix a worker's arena: as stored, as coded (both with the rest of the rows it
 * touches where rows are coded whole), and as encoded and handed over.
 */
export function chunkBytes(job: Job): { stored: number; coded: number; encoded: number } {
  let [stored, coded, encoded] = [0, 0, 0];
  for (const tensor of job.tensors) {
    const type = typeOfEncoder(tensor.encoder);
    const span = longestSpan(tensor, job.chunk);
    stored = Math.max(stored, bytesOf(storedType(tensor.source), span));
    coded = Math.max(coded, bytesOf(type, span));
    encoded = Math.max(encoded, bytesOf(type, Math.min(tensor.elements, job.chunk)));
  }
  return { stored, coded, encoded };
}

/** Bytes a chunk of a tensor becomes. */
export const encodedBytes = (tensor: TensorJob, count: number): number =>
  bytesOf(typeOfEncoder(tensor.encoder), count);
