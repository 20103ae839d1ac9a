/**
 * The stages on one page: read -> plan -> calibrate -> quantize -> write; then src/report makes the report.
 *
 * Reading and planning (planned-run.ts) touch headers only. Calibrating finds ranges of rows and of tensors, or runs the
 * model over a text (calibrated-run.ts), where it alternates with the two stages behind it. Quantizing runs over the worker
 * pool; writing ends with a rename. The report is built by src/report from the result.
 */
import { CalibratedRun } from './calibrated-run.ts';
import type { ErrorSums } from './core/error-sums.ts';
import { UsageError } from './core/errors.ts';
import type { Plan } from './core/plan.ts';
import type { RunResult, Stage } from './core/result.ts';
import { InterruptedError, namedFailure } from './failures.ts';
import {
  type CalibrationEvent,
  evaluateOn,
  evaluationWindows,
  modelIn,
  requireSchemes,
} from './model-runs.ts';
import { peakResidentBytes } from './peak-memory.ts';
import { planQuantization, type QuantizeOptions } from './planned-run.ts';
import { encodeTensors, verifyProgress } from './quantize/encode.ts';
import { HistogramCollector } from './quantize/histogram.ts';
import { chunkBytes, type Job, type TensorJob } from './quantize/job.ts';
import { jobOf } from './quantize/planned-job.ts';
import { announceEmitted, newControl, stopPool } from './quantize/pool.ts';
import { noProgress } from './quantize/progress.ts';
import { findRanges } from './quantize/ranges.ts';
import { isQuantized } from './report/report.ts';
import { resolveResources } from './resources.ts';
import { filesOf, hashesBeside, hashesOf, hostFacts, tensorResult } from './run-result.ts';
import { Stopwatch } from './stopwatch.ts';
import type { Layout } from './write/gguf.ts';
import { partialPath } from './write/journal.ts';
import { openOutput } from './write/output.ts';
import { resumeKey, sha256OfFile } from './write/resume-key.ts';
import { fileNames } from './write/split.ts';
import { type OutputTargets, resolveTargets } from './write/target.ts';

export type { RunFacts, RunResult, Stage, TensorResult } from './core/result.ts';
export type { PlannedRun, QuantizeOptions } from './planned-run.ts';
export { planQuantization } from './planned-run.ts';

export type PipelineEvent =
  | { readonly kind: 'stage'; readonly stage: Stage }
  | { readonly kind: 'plan'; readonly plan: Plan; readonly layout: Layout; readonly output: string }
  /** Weights that an earlier run had done, checked against what is on the disk. */
  | { readonly kind: 'resumed'; readonly doneWeights: number; readonly totalWeights: number }
  | {
      readonly kind: 'progress';
      readonly doneWeights: number;
      readonly totalWeights: number;
      readonly tensor: string;
    }
  /** A run over the calibration or evaluation text. */
  | CalibrationEvent
  /** The run failed; these files stay for a run that resumes, and any other run to the same output replaces them. */
  | { readonly kind: 'kept'; readonly paths: readonly string[] };

/**
 * The main job: turns a checkpoint into a quantized GGUF file and says what that cost.
 *
 * @throws UsageError, the errors of each stage, InterruptedError when the signal aborts. The output path then holds
 *   what it held before; `<output>.partial` and its journal stay.
 */
export async function quantize(
  options: QuantizeOptions,
  onEvent: (event: PipelineEvent) => void = () => {},
): Promise<RunResult> {
  const startedAt = new Date();
  const { threads, chunk, module } = resolveResources(options);
  const stopwatch = new Stopwatch();
  const enter = (stage: Stage) => {
    stopwatch.enter(stage);
    onEvent({ kind: 'stage', stage });
  };
  const { signal } = options;

  const { plan, layout, output, inputs, activations, activationsFrom } = planQuantization(options, enter);
  const { force = false, resume = false } = options;
  const target = resolveTargets(output, layout, inputs, { force, resume });
  const inputHashes = await hashesBeside(options);
  const evalWindows = readEvalText(options, target, plan, output);
  const { files } = plan.checkpoint;
  const checkInterrupted = (opened: OutputTargets | null) => {
    if (signal?.aborted) throw new InterruptedError(opened, signal.reason);
  };
  const places = layout.files.flatMap(({ offsets }, file) => offsets.map((offset) => ({ file, offset })));
  const first = layout.files[0].first;
  const planned = plan.tensors.slice(first, first + places.length);
  const failure = (error: unknown) =>
    namedFailure(error, plan.tensors, files, (tensor) =>
      partialPath(target.kind === 'files' ? target.paths[places[tensor - first].file] : output),
    );

  enter('calibrate');
  const calibrated = plan.calibration ? new CalibratedRun(plan, options) : null;
  const key = resumeKey(plan, chunk, { ...decisiveOptions(options), ...calibrated?.text }, calibrated);
  const found = await findRanges(plan, planned, { chunk, threads, module, signal }).catch((error) => {
    throw failure(error);
  });
  checkInterrupted(null);

  enter('quantize');
  const tensors = planned.map((tensor, i) => ({
    ...jobOf(tensor, places[i], found),
    counted: options.histograms === true && isQuantized(tensor),
  }));
  const job: Job = { files, chunk, tensors };
  const totalWeights = tensors.reduce((sum, { elements }) => sum + elements, 0);
  const progress = planned.map(noProgress);
  const histograms = new HistogramCollector(tensors);
  const control = newControl();
  // A file is opened or refused at once; a stream may wait long for its reader.
  const announce = () => onEvent({ kind: 'plan', plan, layout, output });
  if (target.kind === 'stream') announce();
  const out = await openOutput(target, {
    layout,
    key,
    resume,
    progress,
    slotBytes: chunkBytes(job).encoded,
    slots: 2 * threads,
    signal,
    onEmitted: (count) => announceEmitted(control, count),
    onBroken: () => stopPool(control),
  }).catch((error) => {
    checkInterrupted(null);
    throw error;
  });
  if (target.kind === 'files') announce();
  let sums: ErrorSums[];
  try {
    const pool = { job, threads, module, target: out.target, progress, histograms, signal };
    if (resume) {
      onEvent({ kind: 'resumed', doneWeights: await verifyProgress(pool), totalWeights });
      checkInterrupted(target);
    }
    const encode = (blocks: ReadonlyMap<number, Uint8Array>, only?: ReadonlySet<number>) =>
      encodeTensors({
        ...pool,
        job: { ...job, tensors: tensors.map((tensor, i) => withBlocks(tensor, blocks.get(i))) },
        ...(only && { only }),
        control,
        onChunk: (encoded) => out.take(encoded),
        onProgress: (doneWeights, tensor) => onEvent({ kind: 'progress', doneWeights, totalWeights, tensor }),
      });
    let coded: ReadonlyMap<number, Uint8Array> = new Map();
    if (calibrated) {
      enter('calibrate'); // and quantize, and write: they alternate
      coded = await calibrated.run({
        planned,
        places,
        target: out.target,
        progress,
        threads,
        signal,
        onEvent,
        encode,
      });
      checkInterrupted(target);
      enter('quantize');
    }
    sums = await encode(coded);
    checkInterrupted(target);
    enter('write');
    await out.finish();
  } catch (error) {
    await out.abandon();
    if (out.kept.length > 0) onEvent({ kind: 'kept', paths: out.kept });
    checkInterrupted(target);
    throw failure(error);
  }
  stopwatch.stop();
  const written = target.kind === 'files' && options.hashOutput ? target.paths : [];
  const outputHashes = await Promise.all(written.map(sha256OfFile));
  const evaluated = await evaluateIfAsked(options, fileNames(output, layout)[0], evalWindows, onEvent);

  return {
    plan,
    ...(calibrated && { textWarnings: calibrated.warnings }),
    ...filesOf(layout, output),
    tensors: planned.map((tensor, i) => tensorResult(tensor, sums[i], progress[i], histograms.of(i))),
    calibration: calibrated?.facts() ?? null,
    ...evaluated,
    ...(activations && { activations }),
    ...(activationsFrom && { activationsFrom }),
    hashes: hashesOf(key, inputHashes, layout, outputHashes),
    run: {
      startedAt: startedAt.toISOString(),
      seconds: stopwatch.seconds(),
      threads,
      kernels: module ? 'simd' : 'scalar',
      input: options.input,
      output,
      host: hostFacts(),
      ...(calibrated?.times && { calibrationSeconds: calibrated.times }),
      peakRssBytes: peakResidentBytes(),
    },
  };
}

/**
 * The text of `--eval`, before any work; null without one.
 *
 * @throws UsageError where the output cannot be read again; the errors of requireSchemes and evaluationWindows
 */
function readEvalText(
  { evalText, context, ...options }: QuantizeOptions,
  { kind }: OutputTargets,
  plan: Plan,
  output: string,
): readonly Int32Array[] | null {
  if (evalText === undefined) return null;
  if (kind === 'files') {
    requireSchemes(plan, output, options);
    return evaluationWindows(plan, { text: evalText, ...(context !== undefined && { context }) });
  }
  throw new UsageError('--eval reads the output again, and a stream is gone', {
    advice: 'write a file by -o, or leave out --eval',
  });
}

/** The file is whole: whatever keeps it from being evaluated must not take the report of its making away. */
async function evaluateIfAsked(
  { input, evalText = '', activations, stats, threads, memory, gemm, signal }: QuantizeOptions,
  output: string,
  windows: readonly Int32Array[] | null,
  onEvent: (event: PipelineEvent) => void,
): Promise<Pick<RunResult, 'evaluation' | 'evaluationError'>> {
  if (windows === null) return { evaluation: null };
  const options = {
    ...{ base: input, text: evalText },
    ...(activations && { activations }),
    ...(stats !== undefined && { stats }),
    ...(threads !== undefined && { threads }),
    ...(memory !== undefined && { memory }),
    ...(gemm !== undefined && { gemm }),
    ...(signal && { signal }),
  };
  try {
    return { evaluation: await evaluateOn(modelIn(output), windows, options, onEvent) };
  } catch (evaluationError) {
    return { evaluation: null, evaluationError };
  }
}

/** A tensor's job with its blocks, where calibration coded them. */
const withBlocks = (tensor: TensorJob, blocks: Uint8Array | undefined): TensorJob =>
  blocks === undefined ? tensor : { ...tensor, blocks };

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
    ...rest
  } = options;
  const { signal: _s, ...decisive } = rest;
  return decisive;
}
