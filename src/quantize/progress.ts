import { addErrorSums, emptyErrorSums, SUM_RANGE } from '../core/error-sums.ts';
import { type EncodedSums, SUMS_PER_TILE, type TensorProgress } from '../core/output.ts';
import { addRangeSums, rangeFields } from '../core/ranges.ts';
import { foldChecksum } from './checksum.ts';
import { ChunkIndex, type Job } from './job.ts';

/** A tensor none of whose chunks is done. */
export const noProgress = (): TensorProgress => ({
  chunks: 0,
  checksum: 0,
  sums: emptyErrorSums(),
  waiting: new Map(),
  calibration: null,
});

/**
 * Takes a chunk of a tensor of `elements` weights, in any order. Sums are added in the tensor's order, so they are the
 * same bits at any number of threads, any chunk size, and however often the run was interrupted.
 */
export function addChunk(progress: TensorProgress, chunk: number, done: EncodedSums, elements: number): void {
  const { waiting, sums } = progress;
  waiting.set(chunk, done);
  for (let next = waiting.get(progress.chunks); next !== undefined; next = waiting.get(progress.chunks)) {
    waiting.delete(progress.chunks);
    progress.chunks++;
    progress.checksum = foldChecksum(progress.checksum, next.checksum);
    const { maxError, maxErrorAt } = next;
    for (let at = 0; at < next.sums.length; at += SUMS_PER_TILE) {
      const [sumX2, sumQ2, sumXQ, sumE2] = next.sums.subarray(at, at + SUMS_PER_TILE);
      const count = Math.min(SUM_RANGE, elements - sums.count);
      addErrorSums(sums, { count, sumX2, sumQ2, sumXQ, sumE2, maxError, maxErrorAt, range: null });
    }
    for (let at = 0; at < next.rangeSums.length; at += rangeFields.length) {
      sums.range = addRangeSums(sums.range, next.rangeSums.subarray(at, at + rangeFields.length));
    }
  }
}

/** Makes it a tensor that was not begun. */
export function forget(progress: TensorProgress): void {
  progress.waiting.clear();
  Object.assign(progress, { ...noProgress(), waiting: progress.waiting });
}

/** A byte for each chunk of a job: 1 where it is done. Shared, so that workers need no copies. */
export function doneChunks(job: Job, progress: readonly TensorProgress[]): Uint8Array {
  const index = new ChunkIndex(job);
  const done = new Uint8Array(new SharedArrayBuffer(Math.max(1, index.count)));
  progress.forEach((tensor, i) => {
    done.fill(1, index.firstOf(i), index.firstOf(i) + tensor.chunks);
    for (const chunk of tensor.waiting.keys()) done[index.firstOf(i) + chunk] = 1;
  });
  return done;
}

/** Whether a tensor's chunks, read back, have the checksums that its progress remembers. */
export function agrees(progress: TensorProgress, checksums: ReadonlyMap<number, number>): boolean {
  let folded = 0;
  for (let chunk = 0; chunk < progress.chunks; chunk++)
    folded = foldChecksum(folded, checksums.get(chunk) ?? 0);
  return (
    folded === progress.checksum &&
    [...progress.waiting].every(([chunk, { checksum }]) => checksums.get(chunk) === checksum)
  );
}
