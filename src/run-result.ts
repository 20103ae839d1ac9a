/** Parts of a run's result, from what its stages leave. */
import { statSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { basename } from 'node:path';
import type { ErrorSums } from './core/error-sums.ts';
import type { Histogram } from './core/histogram.ts';
import type { TensorProgress } from './core/output.ts';
import type { PlannedTensor } from './core/plan.ts';
import type { RunFacts, RunHashes, RunResult, TensorResult } from './core/result.ts';
import { bytesOf, elementsOf } from './core/types.ts';
import { version } from './core/version.ts';
import type { QuantizeOptions } from './planned-run.ts';
import type { Layout } from './write/gguf.ts';
import { type ResumeKey, sha256, sha256OfFile } from './write/resume-key.ts';
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
  sums: ErrorSums,
  { calibration }: TensorProgress,
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

/** Files that decide what is written beside the model's, by their whole contents; a pipe, which is gone once read, is left out. */
export const hashesBeside = ({ imatrix, inputScales }: QuantizeOptions): Promise<RunHashes['inputs']> =>
  Promise.all(
    [imatrix, inputScales]
      .filter((path) => path !== undefined)
      .map((path) => ({ path, stats: statSync(path) }))
      .filter(({ stats }) => stats.isFile())
      .map(async ({ path, stats }) => ({
        name: basename(path),
        bytes: stats.size,
        headerSha256: null,
        sha256: await sha256OfFile(path),
      })),
  );

/** `beside`: of inputs that are not of the model; `ofFiles`: SHA-256 of the whole files, those that were asked for. */
export const hashesOf = (
  { inputs, planSha256 }: Pick<ResumeKey, 'inputs' | 'planSha256'>,
  beside: RunHashes['inputs'],
  { files }: Layout,
  ofFiles: readonly string[],
): RunHashes => ({
  inputs: [
    ...inputs.map(({ name, bytes, headerSha256 }) => ({ name, bytes, headerSha256, sha256: null })),
    ...beside,
  ],
  planSha256,
  outputs: files.map(({ fileBytes, header }, i) => ({
    bytes: fileBytes,
    headerSha256: sha256(header),
    sha256: ofFiles[i] ?? null,
  })),
});

/** The machine that runs this. */
export const hostFacts = (): RunFacts['host'] => ({
  platform: process.platform,
  arch: process.arch,
  processor: cpus()[0]?.model ?? 'unknown',
  cpus: availableParallelism(),
  node: process.version,
  version,
});
