/**
 * The stages on one page: read -> plan -> calibrate -> quantize -> write; then src/report makes the report.
 *
 * Reading and planning touch headers only. Calibrating (ranges of rows and of tensors) and quantizing run over the
 * worker pool; writing ends with a rename. The report is built by src/report from the result.
 */
import { availableParallelism, cpus } from 'node:os';
import { type CalibrationOptions, requireCalibrationOptions } from './calibration-options.ts';
import type { ErrorSums } from './core/error-sums.ts';
import { UsageError } from './core/errors.ts';
import type { Plan, PlannedTensor } from './core/plan.ts';
import type { RunResult, Stage } from './core/result.ts';
import { bytesOf, elementsOf } from './core/types.ts';
import { version } from './core/version.ts';
import { InterruptedError, namedFailure } from './failures.ts';
import { type CalibrationEvent, refuseForwardPass } from './model-runs.ts';
import { peakResidentBytes } from './peak-memory.ts';
import type { ImportanceSource } from './plan/importance.ts';
import type { PlanOptions } from './plan/job.ts';
import { makePlan } from './plan/plan.ts';
import { encodeTensors, verifyProgress } from './quantize/encode.ts';
import { canWeigh } from './quantize/format/index.ts';
import { chunkBytes, type Job } from './quantize/job.ts';
import { jobOf } from './quantize/planned-job.ts';
import { announceEmitted, newControl, stopPool } from './quantize/pool.ts';
import { noProgress } from './quantize/progress.ts';
import { findRanges } from './quantize/ranges.ts';
import { canWrite, requireEncoders } from './quantize/supported.ts';
import { openCheckpoint } from './read/checkpoint.ts';
import { readImatrix } from './read/imatrix.ts';
import { modelFilePaths, readModelFiles } from './read/model-files.ts';
import { type ResourceOptions, resolveResources } from './resources.ts';
import { Stopwatch } from './stopwatch.ts';
import type { Layout } from './write/gguf.ts';
import { partialPath } from './write/journal.ts';
import { openOutput } from './write/output.ts';
import { resumeKey } from './write/resume-key.ts';
import { inOrderOf, layOutSafetensors, torchView } from './write/safetensors.ts';
import {
  fileNames,
  layOut,
  oneFile,
  requireNoSplit,
  type SplitOptions,
  splitWarnings,
} from './write/split.ts';
import { type OutputTargets, resolveTargets } from './write/target.ts';

export type { RunFacts, RunResult, Stage, TensorResult } from './core/result.ts';

/** Architectures there is a forward pass for, as llama.cpp names them; llama is mistral and mixtral too. */
const forwardPasses = ['llama', 'qwen2', 'qwen3'];

/** What to do. Everything but the input has a default. */
export interface QuantizeOptions
  extends ResourceOptions,
    Omit<PlanOptions, 'container' | 'canWrite' | 'canWeigh' | 'forwardPasses' | 'rounding'>,
    SplitOptions,
    CalibrationOptions {
  /** Hugging Face directory, .safetensors file, shard, index, or GGUF file. */
  readonly input: string;
  /** A path, or '-' for standard output. By default <model>-<TYPE>.gguf in the current directory. */
  readonly output?: string;
  /** Importance matrix of llama-imatrix, GGUF or .dat. */
  readonly imatrix?: string;
  /** Replace an existing output. */
  readonly force?: boolean;
  /** Go on where an interrupted run of the same job stopped; start over where there is nothing to go on with. */
  readonly resume?: boolean;
  readonly signal?: AbortSignal;
}

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

/** What a run would do, and the size of what it would write. */
export interface PlannedRun {
  readonly plan: Plan;
  readonly layout: Layout;
  /** Default or given output path. */
  readonly output: string;
  /** Every file that is read: the output may be none of them. */
  readonly inputs: readonly string[];
}

/**
 * The first two stages: reads headers and configuration and decides everything. Nothing is written.
 *
 * @throws UsageError, and the errors of the read and plan stages
 */
export function planQuantization(
  options: QuantizeOptions,
  onStage: (stage: Stage) => void = () => {},
): PlannedRun {
  requireCalibrationOptions(options);
  onStage('read');
  const checkpoint = openCheckpoint(options.input);
  const whole = checkpoint.format === 'gguf'; // what stands beside it is no part of the model
  const container = containerOf(options);
  // Safetensors keep their names and rows: nothing has to be known of the model.
  const modelFiles = whole || container === 'safetensors' ? null : readModelFiles(checkpoint.directory);
  const importance = readImportance(options);
  onStage('plan');
  const made = inOrderOf(
    container,
    makePlan(
      checkpoint,
      modelFiles,
      { ...options, container, canWrite, canWeigh, forwardPasses },
      importance,
    ),
  );
  requireEncoders(made);
  const layout =
    container === 'gguf'
      ? layOut(made.metadata, made.tensors, options, options.keepSplit ? made.tensors.map(partOf) : [])
      : oneFile(layOutSafetensors(...torchView(made)), made.tensors.length);
  const plan = { ...made, warnings: [...made.warnings, ...splitWarnings(made.tensors, options)] };
  const output = options.output ?? `${plan.modelName}-${plan.fileType}.gguf`;
  const beside = whole ? [] : modelFilePaths(checkpoint.directory);
  const { imatrix, evalText, calibration = [] } = options;
  const texts = [imatrix, evalText, ...calibration].filter((path) => path !== undefined);
  const inputs = [...checkpoint.files.map(({ path }) => path), ...beside, ...texts];
  return { plan, layout, output, inputs };
}

/** The part of a split GGUF that a tensor comes from. */
const partOf = ({ source }: PlannedTensor): number => (source.kind === 'stored' ? source.parts[0].file : 0);

/** What the output is, by its name. */
function containerOf(options: QuantizeOptions): 'gguf' | 'safetensors' {
  const { output, decode } = options;
  if (output === undefined || !/\.safetensors$/i.test(output)) return 'gguf';
  if (decode) {
    requireNoSplit(options);
    return 'safetensors';
  }
  throw new UsageError('the output is a GGUF file, and its name says safetensors', {
    file: output,
    advice: 'name it .gguf; safetensors are written by `quantize dequantize`',
  });
}

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

  const { plan, layout, output, inputs } = planQuantization(options, enter);
  if (plan.calibration || options.evalText) refuseForwardPass('calibrate or evaluate');
  const { force = false, resume = false } = options;
  const target = resolveTargets(output, layout, inputs, { force, resume });
  const key = resumeKey(plan, chunk, decisiveOptions(options));
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
  const found = await findRanges(plan, planned, { chunk, threads, module, signal }).catch((error) => {
    throw failure(error);
  });
  checkInterrupted(null);

  enter('quantize');
  const tensors = planned.map((tensor, i) => jobOf(tensor, places[i], found));
  const job: Job = { files, chunk, tensors };
  const totalWeights = tensors.reduce((sum, { elements }) => sum + elements, 0);
  const progress = planned.map(noProgress);
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
    const pool = { job, threads, module, target: out.target, progress, signal };
    if (resume) {
      onEvent({ kind: 'resumed', doneWeights: await verifyProgress(pool), totalWeights });
      checkInterrupted(target);
    }
    sums = await encodeTensors({
      ...pool,
      control,
      onChunk: (encoded) => out.take(encoded),
      onProgress: (doneWeights, tensor) => onEvent({ kind: 'progress', doneWeights, totalWeights, tensor }),
    });
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

  return {
    plan,
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
    tensors: planned.map((tensor, i) => ({
      tensor,
      bytesBefore: storedBytes(tensor),
      bytesAfter: bytesOf(tensor.type, elementsOf(tensor.shape)),
      sums: sums[i],
    })),
    calibration: null,
    evaluation: null,
    run: {
      startedAt: startedAt.toISOString(),
      seconds: stopwatch.seconds(),
      threads,
      kernels: module ? 'simd' : 'scalar',
      input: options.input,
      output,
      host: {
        platform: process.platform,
        arch: process.arch,
        processor: cpus()[0]?.model ?? 'unknown',
        cpus: availableParallelism(),
        node: process.version,
        version,
      },
      peakRssBytes: peakResidentBytes(),
    },
  };
}

/** @throws UsageError for filters that contradict each other or have nothing to filter, and errors of the reader */
function readImportance({
  imatrix,
  includeWeights = [],
  excludeWeights = [],
}: QuantizeOptions): ImportanceSource | undefined {
  const filtered = includeWeights.length > 0 ? '--include-weights' : '--exclude-weights';
  if (includeWeights.length > 0 && excludeWeights.length > 0) {
    throw new UsageError('--include-weights and --exclude-weights contradict each other', {
      advice: 'pass one of them, as often as needed',
    });
  }
  if (imatrix !== undefined) return { matrix: readImatrix(imatrix), takes: canWeigh };
  if (includeWeights.length + excludeWeights.length === 0) return undefined;
  throw new UsageError(`${filtered} chooses entries of an importance matrix, and there is none`, {
    advice: 'pass --imatrix FILE too',
  });
}

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
    evalText: _e,
    ...rest
  } = options;
  const { signal: _s, ...decisive } = rest;
  return decisive;
}

/** Bytes a tensor's source takes in the checkpoint; 0 for values the plan computed. */
function storedBytes({ source }: PlannedTensor): number {
  return source.kind === 'stored' ? source.parts.reduce((sum, { byteLength }) => sum + byteLength, 0) : 0;
}
