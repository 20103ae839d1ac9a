import type { Plan, PlannedTensor } from '../core/plan.ts';
import type { Job } from './job.ts';
import type { WasmModule } from './kernels.ts';
import { type Found, jobOf, nothingFound, rangedTensors } from './planned-job.ts';
import { surveyRanges } from './range/survey.ts';
import { findRowRanges } from './row-ranges.ts';

/**
 * Every range that must be known before weights are coded: of the rows of 8-bit zero-point tensors, of tensors that have one
 * range, and, for all whose ranges are chosen, what an outlier is. Nothing of use is returned when the signal aborts.
 *
 * @throws PoolFailure
 */
export async function findRanges(
  { tensors, checkpoint: { files } }: Plan,
  made: readonly PlannedTensor[],
  options: {
    chunk: number;
    threads: number;
    module: WasmModule | null;
    signal: AbortSignal | undefined;
  },
): Promise<Found> {
  const jobFor = (some: readonly PlannedTensor[]): Job => ({
    files,
    chunk: options.chunk,
    tensors: some.map((tensor) => jobOf(tensor, { file: 0, offset: 0 }, nothingFound)),
  });
  const ranged = rangedTensors(tensors, made);
  const rows = await findRowRanges({ ...options, job: jobFor(ranged) });
  const chosen = made.filter(({ range }) => range !== undefined);
  const surveyed = options.signal?.aborted ? [] : await surveyRanges({ ...options, job: jobFor(chosen) });
  return {
    rows: new Map(ranged.map(({ name }, i) => [name, rows[i]])),
    surveyed: new Map(surveyed.map((found, i) => [chosen[i].name, found])),
  };
}
