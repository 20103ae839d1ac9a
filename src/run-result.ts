/** Parts of a run's result, from what its stages leave. */
import { availableParallelism, cpus } from 'node:os';
import type { Histogram } from './core/histogram.ts';
import type { TensorProgress } from './core/output.ts';
import type { PlannedTensor } from './core/plan.ts';
import type { RunFacts, RunResult, TensorResult } from './core/result.ts';
import { bytesOf, elementsOf } from './core/types.ts';
import { version } from './core/version.ts';
import type { Layout } from './write/gguf.ts';
import { fileNames } from './write/split.ts';

/** The files that were written. */
export const filesOf = (
  layout: Layout,
  output: string,
): Pick<RunResult, 'output' | 'fileBytes' | 'split'> => ({
  output: output === '-' ? null : fileNames(output, layout)[0],
  fileBytes: layout.fileBytes,
  split: layout.split && {
    count: layout.split.count,
    parts: layout.files.map((file, i) => ({
      number: layout.split!.first + i + 1,
      tensors: file.end - file.first,
      fileBytes: file.fileBytes,
    })),
  },
});

/** What became of a tensor. */
export const tensorResult = (
  tensor: PlannedTensor,
  { sums, calibration }: TensorProgress,
  histogram: Histogram | undefined,
): TensorResult => ({
  tensor,
  bytesBefore: storedBytes(tensor),
  bytesAfter: bytesOf(tensor.type, elementsOf(tensor.shape)),
  sums,
  ...(calibration && { calibration }),
  histogram,
});

/** Bytes a tensor's source takes in the checkpoint; 0 for values the plan computed. */
function storedBytes({ source }: PlannedTensor): number {
  return source.kind === 'stored' ? source.parts.reduce((sum, { byteLength }) => sum + byteLength, 0) : 0;
}

/** The machine that runs this. */
export const hostFacts = (): RunFacts['host'] => ({
  platform: process.platform,
  arch: process.arch,
  processor: cpus()[0]?.model ?? 'unknown',
  cpus: availableParallelism(),
  node: process.version,
  version,
});
