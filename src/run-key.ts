/** What a run is known by: to a run that resumes it, and in its report. */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import type { CalibratedRun } from './calibrated-run.ts';
import type { RunHashes } from './core/result.ts';
import type { QuantizeOptions } from './planned-run.ts';
import type { Run } from './run.ts';
import { type ResumeKey, resumeKey, sha256, sha256OfFile } from './write/resume-key.ts';

/** What two runs must share for one to resume the other, the header of each output file apart. */
export type RunKey = Omit<ResumeKey, 'headerSha256'>;

/**
 * The key of a planned run. Reads the headers of the inputs.
 *
 * @param calibrated of a run that calibrates
 */
export const runKey = ({ plan, resources, options }: Run, calibrated: CalibratedRun | null): RunKey =>
  resumeKey(plan, resources.chunk, { ...decisiveOptions(options), ...calibrated?.text }, calibrated);

/** Options that may decide what is written, to say in which of them two runs differ. */
function decisiveOptions(options: QuantizeOptions): Record<string, unknown> {
  const {
    input: _i,
    output: _o,
    threads: _t,
    chunkSize: _c,
    kernels: _k,
    force: _f,
    resume: _r,
    memory: _m,
    gemm: _g,
    evalText: _e,
    activations: _a,
    stats: _s2,
    histograms: _h,
    hashOutput: _h2,
    signal: _s,
    ...decisive
  } = options;
  return decisive;
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

/**
 * Of a run whose output is whole. Files are read once more where that was asked for.
 *
 * @param beside of inputs that are not of the model
 */
export async function hashesOf(
  { layout, target, options }: Run,
  { inputs, planSha256 }: RunKey,
  beside: RunHashes['inputs'],
): Promise<RunHashes> {
  const read = target.kind === 'files' && options.hashOutput ? target.paths : [];
  const ofFiles = await Promise.all(read.map(sha256OfFile));
  return {
    inputs: [
      ...inputs.map(({ name, bytes, headerSha256 }) => ({ name, bytes, headerSha256, sha256: null })),
      ...beside,
    ],
    planSha256,
    outputs: layout.files.map(({ fileBytes, header }, i) => ({
      bytes: fileBytes,
      headerSha256: sha256(header),
      sha256: ofFiles[i] ?? null,
    })),
  };
}
