import { ChunkIndex, type Job, type RowRanges } from './job.ts';
import type { WasmModule } from './kernels.ts';
import { newControl, runPool } from './pool.ts';
import { zeroPointOf } from './zero-point.ts';

/**
 * Scale and zero point of each row of each tensor of a job, from the row's minimum and maximum. Reads every weight
 * once; a row may span chunks.
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
  const extremes = job.tensors.map(({ elements, rowLength }) => ({
    low: new Float32Array(elements / rowLength).fill(Number.POSITIVE_INFINITY),
    high: new Float32Array(elements / rowLength).fill(Number.NEGATIVE_INFINITY),
  }));

  await runPool({
    ...options,
    phase: 'range',
    target: null,
    control: newControl(),
    onDone(number, { sums }) {
      const { tensor, start } = index.locate(number);
      const { low, high } = extremes[tensor];
      let row = Math.floor(start / job.tensors[tensor].rowLength);
      for (let at = 0; at < sums.length; at += 2, row++) {
        low[row] = Math.min(low[row], sums[at]);
        high[row] = Math.max(high[row], sums[at + 1]);
      }
    },
  });

  return extremes.map(({ low, high }) => {
    const ranges = { scales: new Float32Array(low.length), zeroPoints: new Int32Array(low.length) };
    for (let row = 0; row < low.length; row++) {
      const { scale, zeroPoint } = zeroPointOf(low[row], high[row]);
      ranges.scales[row] = scale;
      ranges.zeroPoints[row] = zeroPoint;
    }
    return ranges;
  });
}
