/** The first two stages, read and plan, which touch headers and configuration only. */
import { requireSchemes } from './activation-choice.ts';
import { forwardArchitectures } from './calibrate/forward/shape.ts';
import { type CalibrationOptions, requireCalibrationOptions } from './calibration-options.ts';
import {
  type ActivationRange,
  type ActivationSource,
  type ActivationStatistics,
  type RangeMethod,
  sourceOf,
} from './core/activations.ts';
import { UsageError } from './core/errors.ts';
import type { Plan, PlannedTensor } from './core/plan.ts';
import type { Stage } from './core/result.ts';
import type { ImportanceSource } from './plan/importance.ts';
import { reportedRanges, withInputScales } from './plan/input-scales.ts';
import type { PlanOptions } from './plan/job.ts';
import { makePlan } from './plan/plan.ts';
import { canWeigh } from './quantize/format/index.ts';
import { canWrite, requireEncoders } from './quantize/supported.ts';
import { readActivationStatistics } from './read/activation-statistics.ts';
import { openCheckpoint } from './read/checkpoint.ts';
import { readImatrix } from './read/imatrix.ts';
import { modelFilePaths, readModelFiles } from './read/model-files.ts';
import type { ResourceOptions } from './resources.ts';
import type { Layout } from './write/gguf.ts';
import { inOrderOf, layOutSafetensors, torchView } from './write/safetensors.ts';
import { layOut, oneFile, requireNoSplit, type SplitOptions, splitWarnings } from './write/split.ts';

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
  /** Statistics of `quantize calibrate`: static scales of inputs are written beside the weights. */
  readonly inputScales?: string;
  /** Which of their ranges; 'mse' unless told. */
  readonly inputScaleRange?: RangeMethod;
  /** Replace an existing output. */
  readonly force?: boolean;
  /** Go on where an interrupted run of the same job stopped; start over where there is nothing to go on with. */
  readonly resume?: boolean;
  /** Count the weights of every quantized tensor, before and after, in histograms. */
  readonly histograms?: boolean;
  /** Read the output files once more for their SHA-256. */
  readonly hashOutput?: boolean;
  readonly signal?: AbortSignal;
}

/** What a run would do, and the size of what it would write. */
export interface PlannedRun {
  readonly plan: Plan;
  readonly layout: Layout;
  /** Default or given output path. */
  readonly output: string;
  /** Every file that is read: the output may be none of them. */
  readonly inputs: readonly string[];
  /** Of the statistics that the scales of inputs are from, and the text that these are from. */
  readonly activations?: readonly ActivationRange[];
  readonly activationsFrom?: ActivationSource;
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
  const planned = makePlan(
    checkpoint,
    modelFiles,
    { ...options, container, canWrite, canWeigh, forwardPasses: forwardArchitectures },
    importance,
  );
  requireRunnable(planned, options);
  const statistics = inputStatistics(options);
  const tensors = statistics
    ? withInputScales(planned.tensors, statistics, options.inputScaleRange ?? 'mse')
    : planned.tensors;
  const made = inOrderOf(container, { ...planned, tensors });
  requireEncoders(made);
  const layout =
    container === 'gguf'
      ? layOut(made.metadata, made.tensors, options, options.keepSplit ? made.tensors.map(partOf) : [])
      : oneFile(layOutSafetensors(...torchView(made)), made.tensors.length);
  const plan = { ...made, warnings: [...made.warnings, ...splitWarnings(made.tensors, options)] };
  const output = options.output ?? `${plan.modelName}-${plan.fileType}.gguf`;
  requireSchemes(plan.tensors, output, options);
  const beside = whole ? [] : modelFilePaths(checkpoint.directory);
  const { imatrix, inputScales, evalText, stats, calibration = [] } = options;
  const texts = [imatrix, inputScales, evalText, stats, ...calibration].filter((path) => path !== undefined);
  const inputs = [...checkpoint.files.map(({ path }) => path), ...beside, ...texts];
  const ranges = statistics && {
    activations: reportedRanges(statistics),
    activationsFrom: sourceOf(statistics),
  };
  return { plan, layout, output, inputs, ...ranges };
}

/** @throws UsageError where the result is to be evaluated, and nothing runs it */
function requireRunnable({ runnable }: Plan, { evalText }: QuantizeOptions): void {
  if (runnable.yes || evalText === undefined) return;
  throw new UsageError('--eval runs the file that is written, and this one cannot be run', {
    got: runnable.reason,
    advice: 'leave out --eval, or choose another method or type',
  });
}

/**
 * Statistics from which the scales of inputs are; null where none were asked for.
 *
 * @throws UsageError, and the errors of the reader
 */
function inputStatistics({
  inputScales,
  inputScaleRange,
  pruneLayers = [],
  method,
}: QuantizeOptions): ActivationStatistics | null {
  if (inputScales === undefined) {
    if (inputScaleRange === undefined) return null;
    throw new UsageError('--input-scale-range chooses among statistics, and there are none', {
      advice: 'pass --input-scales FILE too',
    });
  }
  if (pruneLayers.length > 0 || method === 'zero-point') {
    throw new UsageError('--input-scales cannot stand here', {
      expected: 'the model that was calibrated, in a file that llama.cpp runs',
      got: pruneLayers.length > 0 ? '--prune-layers, which renumbers layers' : '--method zero-point',
      advice: 'leave out one of the two options; of a pruned model: prune it first, then calibrate that file',
    });
  }
  return readActivationStatistics(inputScales);
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
