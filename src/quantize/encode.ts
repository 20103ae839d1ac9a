import { addErrorSums, type ErrorSums, emptyErrorSums, SUM_RANGE } from '../core/error-sums.ts';
import type { ChunkTarget, EncodedChunk } from '../core/output.ts';
import { typeOfEncoder } from '../core/plan.ts';
import { bytesOf } from '../core/types.ts';
import { ChunkIndex, encodedBytes, type Job } from './job.ts';
import type { WasmModule } from './kernels.ts';
import { type ChunkDone, runPool, SUMS_PER_TILE } from './pool.ts';

export interface EncodeOptions {
  readonly job: Job;
  readonly threads: number;
  readonly module: WasmModule | null;
  readonly target: ChunkTarget;
  readonly control: Int32Array;
  readonly signal: AbortSignal | undefined;
  onChunk(chunk: EncodedChunk): void;
  /** Weights encoded so far, and the tensor the last chunk belongs to. */
  onProgress(doneWeights: number, tensor: string): void;
}

/**
 * Quantizes every tensor of a job and returns the error sums of each. A tensor's partial sums are added in its own
 * order once its last chunk is in, so they are the same bits at any number of threads and any chunk size.
 *
 * @throws PoolFailure
 */
export async function encodeTensors(options: EncodeOptions): Promise<ErrorSums[]> {
  const { job } = options;
  const index = new ChunkIndex(job);
  const results = job.tensors.map(emptyErrorSums);
  const pending = job.tensors.map((_, tensor) => new Array<ChunkDone | undefined>(index.chunksOf(tensor)));
  const missing = pending.map((chunks) => chunks.length);
  let doneWeights = 0;

  await runPool({
    ...options,
    phase: 'encode',
    onDone(number, done) {
      const { tensor, start, count } = index.locate(number);
      const { name, encoder, offset } = job.tensors[tensor];
      options.onChunk({
        number,
        offset: offset + bytesOf(typeOfEncoder(encoder), start),
        byteLength: encodedBytes(job.tensors[tensor], count),
      });
      pending[tensor][start / job.chunk] = done;
      if (--missing[tensor] === 0) {
        results[tensor] = reduce(pending[tensor] as ChunkDone[], job.tensors[tensor].elements);
        pending[tensor] = [];
      }
      doneWeights += count;
      options.onProgress(doneWeights, name);
    },
  });
  return results;
}

function reduce(chunks: readonly ChunkDone[], elements: number): ErrorSums {
  const total = emptyErrorSums();
  for (const { sums, maxError, maxErrorAt } of chunks) {
    for (let at = 0; at < sums.length; at += SUMS_PER_TILE) {
      const [sumX2, sumQ2, sumXQ, sumE2] = sums.subarray(at, at + SUMS_PER_TILE);
      const count = Math.min(SUM_RANGE, elements - total.count);
      addErrorSums(total, { count, sumX2, sumQ2, sumXQ, sumE2, maxError, maxErrorAt });
    }
  }
  return total;
}
