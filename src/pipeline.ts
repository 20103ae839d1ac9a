/**
 * The stages on one page: read -> plan -> calibrate -> quantize -> write; then src/report makes the report.
 *
 * Reading and planning (planned-run.ts) touch headers only. Calibrating finds ranges of rows and of tensors, or runs the
 * model over a text (calibrated-run.ts), where it alternates with the two stages behind it. Quantizing runs over the worker
 * pool; writing ends with a rename (both run-output.ts). The report is built by src/report from the result.
 */
import { CalibratedRun } from './calibrated-run.ts';
import { UsageError } from './core/errors.ts';
import type { RunResult, Stage } from './core/result.ts';
import { runFailure } from './failures.ts';
import { evaluateOn, evaluationWindows, modelIn } from './model-runs.ts';
import { peakResidentBytes } from './peak-memory.ts';
import type { QuantizeOptions } from './planned-run.ts';
import type { Found } from './quantize/planned-job.ts';
import { findRanges } from './quantize/ranges.ts';
import { type PipelineEvent, planRun, type Run } from './run.ts';
import { hashesBeside, hashesOf, runKey } from './run-key.ts';
import { RunOutput, type TensorBlocks } from './run-output.ts';
import { filesOf, hostFacts } from './run-result.ts';
import { Stopwatch } from './stopwatch.ts';
import { fileNames } from './write/split.ts';

export type { RunFacts, RunResult, Stage, TensorResult } from './core/result.ts';
export type { PlannedRun, QuantizeOptions } from './planned-run.ts';
export { planQuantization } from './planned-run.ts';
export type { PipelineEvent } from './run.ts';

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
  const stopwatch = new Stopwatch();
  const enter = (stage: Stage) => {
    stopwatch.enter(stage);
    onEvent({ kind: 'stage', stage });
  };

  const run = planRun(options, onEvent, enter); // read, plan
  const inputHashes = await hashesBeside(options);
  const evalWindows = readEvalText(run);

  enter('calibrate');
  const calibrated = run.plan.calibration ? new CalibratedRun(run) : null;
  const key = runKey(run, calibrated);
  const ranges = await rangesOf(run);

  enter('quantize');
  const out = await RunOutput.open(run, key, ranges);
  try {
    if (options.resume) await out.verify();
    let coded: TensorBlocks = new Map();
    if (calibrated) {
      enter('calibrate'); // and quantize, and write: they alternate
      coded = await calibrated.codeInto(out);
      enter('quantize');
    }
    await out.encode(coded);
    enter('write');
    await out.finish();
  } catch (error) {
    throw await out.abandon(error);
  }
  stopwatch.stop();

  const hashes = await hashesOf(run, key, inputHashes);
  const evaluated = await evaluateIfAsked(run, evalWindows);
  const { plan, layout, output, activations, activationsFrom, resources } = run;
  return {
    plan,
    ...(calibrated && { textWarnings: calibrated.warnings }),
    ...filesOf(layout, output),
    tensors: out.results(),
    calibration: calibrated?.facts() ?? null,
    ...evaluated,
    ...(activations && { activations }),
    ...(activationsFrom && { activationsFrom }),
    hashes,
    run: {
      startedAt: startedAt.toISOString(),
      seconds: stopwatch.seconds(),
      threads: resources.threads,
      kernels: resources.module ? 'simd' : 'scalar',
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
 * @throws UsageError where the output cannot be read again; the errors of evaluationWindows
 */
function readEvalText({ plan, target, options }: Run): readonly Int32Array[] | null {
  const { evalText, context } = options;
  if (evalText === undefined) return null;
  if (target.kind === 'files') {
    return evaluationWindows(plan, { text: evalText, ...(context !== undefined && { context }) });
  }
  throw new UsageError('--eval reads the output again, and a stream is gone', {
    advice: 'write a file by -o, or leave out --eval',
  });
}

/**
 * Ranges that must be known before any weight is coded.
 *
 * @throws InterruptedError when the signal aborts; of a chunk that failed, its error
 */
async function rangesOf(run: Run): Promise<Found> {
  const { plan, planned, resources, options } = run;
  const { signal } = options;
  try {
    const found = await findRanges(plan, planned, { ...resources, signal });
    signal?.throwIfAborted();
    return found;
  } catch (error) {
    throw runFailure(error, run, null);
  }
}

/** The file is whole: whatever keeps it from being evaluated must not take the report of its making away. */
async function evaluateIfAsked(
  { layout, output, options, onEvent }: Run,
  windows: readonly Int32Array[] | null,
): Promise<Pick<RunResult, 'evaluation' | 'evaluationError'>> {
  if (windows === null) return { evaluation: null };
  const { input, evalText = '', activations, stats, threads, memory, gemm, signal } = options;
  const how = {
    ...{ base: input, text: evalText },
    ...(activations && { activations }),
    ...(stats !== undefined && { stats }),
    ...(threads !== undefined && { threads }),
    ...(memory !== undefined && { memory }),
    ...(gemm !== undefined && { gemm }),
    ...(signal && { signal }),
  };
  try {
    const model = modelIn(fileNames(output, layout)[0]);
    const { gemm: _, withoutBlas: __, ...evaluation } = await evaluateOn(model, windows, how, onEvent);
    return { evaluation };
  } catch (evaluationError) {
    return { evaluation: null, evaluationError };
  }
}
