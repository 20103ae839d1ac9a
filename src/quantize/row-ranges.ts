import { ChunkIndex, type Job, type RowRanges } from './job.ts';
import type { WasmModule } from './kernels.ts';
import { newControl, runPool } from './pool.ts';
import { zeroPointOf } from './zero-point.ts';

/**
 * Scale and zero point of each row of each tensor of a job, from the row's minimum and maximum. Reads every weight
 * once; a row may span chunks. Takes 8 bytes of memory for each row, 5 of which stay, shared by all threads.
 *
 * @throws PoolFailure
 */
export async function findRowRanges(options: {
  job: Job;
  threads: number;
  module: WasmModule | null;
  signal: AbortSignal | undefined;
}): Promise<RowRanges[]> {
  const { job } = options;
  const index = new ChunkIndex(job);
  // The minima; in the end, the scales.
  const lows = job.tensors.map(({ elements, rowLength }) => {
    const rows = elements === 0 ? 0 : elements / rowLength;
    return new Float32Array(new SharedArrayBuffer(4 * rows)).fill(Number.POSITIVE_INFINITY);
  });
  const highs = lows.map(({ length }) => new Float32Array(length).fill(Number.NEGATIVE_INFINITY));

  await runPool({
    ...options,
    phase: 'range',
    target: null,
    control: newControl(),
    onDone(number, { sums }) {
      const { tensor, start } = index.locate(number);
      const [low, high] = [lows[tensor], highs[tensor]];
      let row = Math.floor(start / job.tensors[tensor].rowLength);
      for (let at = 0; at < sums.length; at += 2, row++) {
        low[row] = Math.min(low[row], sums[at]);
        high[row] = Math.max(high[row], sums[at + 1]);
      }
    },
  });

  return lows.map((scales, tensor) => {
    const high = highs[tensor];
    const zeroPoints = new Int8Array(new SharedArrayBuffer(scales.length));
    for (let row = 0; row < scales.length; row++) {
      const { scale, zeroPoint } = zeroPointOf(scales[row], high[row]);
      scales[row] = scale;
      zeroPoints[row] = zeroPoint;
    }
    return { scales, zeroPoints };
  });
}
