import {
  type ActivationRange,
  type ActivationSource,
  type InputScale,
  isInputScale,
} from '../core/activations.ts';
import type { CalibrationFacts, GemmFacts, TensorCalibration } from '../core/calibration.ts';
import { addErrorSums, type ErrorSums, emptyErrorSums } from '../core/error-sums.ts';
import type { Evaluation } from '../core/evaluation.ts';
import type { Histogram } from '../core/histogram.ts';
import type { PlannedTensor } from '../core/plan.ts';
import type { RunFacts, RunHashes, RunResult, TensorResult } from '../core/result.ts';
import { bitsPerWeight, dataTypes, elementsOf, type TypeName } from '../core/types.ts';
import { calibrationWarnings, type OutputErrors, outputErrorsOf } from './calibration.ts';
import { type ErrorPlace, type Metrics, metricsOf } from './metrics.ts';
import { allRanges, type ReportedModelRanges, type ReportedTensorRanges, rangesOf } from './ranges.ts';

/** Metrics as JSON can hold them: null stands for a figure that is infinite. */
export interface ReportedMetrics extends Omit<Metrics, 'relativeError' | 'sqnrDb' | 'maxError'> {
  /** null: the source is all zeros and the result is not. */
  readonly relativeError: number | null;
  /** null: exact (mse is 0), or the source is all zeros and the result is not (relativeError is null too). */
  readonly sqnrDb: number | null;
  readonly maxError: ErrorPlace;
}

export interface ReportedTensor {
  readonly name: string;
  readonly type: TypeName;
  /** How values were coded onto the type's grid. */
  readonly encoder: string;
  /** Whether error bars apply: false for a tensor that stays a plain float. */
  readonly quantized: boolean;
  /** Whether it was coded under an importance matrix. */
  readonly importance: boolean;
  /** GGUF order, row length first. */
  readonly shape: readonly number[];
  readonly weights: number;
  readonly bitsPerWeight: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly reason: string;
  readonly fallbackFrom: TypeName | null;
  /** What the choice of ranges came to; null for a tensor coded as ggml does. */
  readonly ranges: ReportedTensorRanges | null;
  /** What calibration did for it; null for a tensor without. */
  readonly calibration: TensorCalibration | null;
  /** Static scales of its inputs, where they were written beside it. */
  readonly inputScale?: InputScale;
  readonly metrics: ReportedMetrics;
  /** Absent where none was asked for, and of a tensor that is not quantized. */
  readonly histogram?: Histogram;
}

/** A tensor whose rows do not divide into blocks of the type the mixture wanted. */
export interface ReportedFallback {
  readonly tensor: string;
  readonly from: TypeName;
  readonly to: TypeName;
  /** Cost of the fallback in bits per weight of this tensor; negative when the fallback is smaller. */
  readonly extraBitsPerWeight: number;
  /** The same in bytes of this tensor, rounded. */
  readonly extraBytes: number;
}

/** The JSON report, version 1; docs/report.md describes every field. */
export interface Report {
  readonly schema: 'gguf-quantize/report';
  readonly version: 1;
  readonly model: {
    readonly architecture: string | null;
    readonly fileType: string;
    readonly method: string;
    readonly runnable: boolean;
    /** Why stock llama.cpp cannot run the file; null when it can. */
    readonly notRunnableReason: string | null;
    readonly tensors: number;
    readonly quantizedTensors: number;
    /** Tensors coded under an importance matrix. */
    readonly importanceTensors: number;
    /** Values in all tensors, scales and zero points of other tensors aside. */
    readonly weights: number;
    /** Tensor bytes as stored in the input. */
    readonly bytesBefore: number;
    /** Tensor bytes in the output, alignment aside. */
    readonly bytesAfter: number;
    /** The whole output file, or all files that were written of a split model. */
    readonly fileBytes: number;
    /** Set for a split model: how many files it has, and those that were written. Everything else is about these. */
    readonly split: RunResult['split'];
    readonly bitsPerWeight: number;
    /** bytesBefore / bytesAfter. */
    readonly compressionRatio: number;
    /** What it was calibrated on; null for a run without calibration. What multiplied matrices is in `run`. */
    readonly calibration: Omit<CalibrationFacts, keyof GemmFacts> | null;
    /** Null where there is none to compare. */
    readonly outputErrors: OutputErrors | null;
    /** How the written file predicts a text; null where none was given. */
    readonly evaluation: Evaluation | null;
    /** Over all tensors whose ranges were chosen; null where there is none. */
    readonly ranges: ReportedModelRanges | null;
    /** Over all weights of the file, those left unquantized included; scales and zero points are no weights. */
    readonly metrics: ReportedMetrics & { readonly maxError: ErrorPlace & { readonly tensor: string } };
  };
  readonly fallbacks: readonly ReportedFallback[];
  /** What was chosen in the user's place. */
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  /** In file order. */
  readonly tensors: readonly ReportedTensor[];
  /** Absent where they were not found. */
  readonly activations?: readonly ActivationRange[];
  /** The text that they are from. */
  readonly activationsFrom?: ActivationSource;
  readonly hashes: RunHashes;
  /** Times, paths and host; everything else is the same for the same input and options. */
  readonly run: RunFacts & {
    /** What multiplied matrices in calibration; null for a run without. */
    readonly gemm: string | null;
    /** Why `--gemm auto` took no BLAS; absent where it did, or was not asked. */
    readonly withoutBlas?: string;
    /** The command line's words behind `quantize`; null for a run from a script. */
    readonly command: readonly string[] | null;
  };
}

/** Whether values were coded onto a coarser grid than a plain float type: such tensors count for error bars. */
export const isQuantized = (tensor: PlannedTensor): boolean =>
  holdsWeights(tensor) && (dataTypes[tensor.type].kind === 'quantized' || tensor.encoder.includes(':'));

/** Scales and zero points of rows are part of how weights are coded, as the scales inside blocks are: no weights; nor are scales of inputs. */
export const holdsWeights = ({ name, source }: PlannedTensor): boolean =>
  source.kind !== 'row-range' && !isInputScale(name);

/** Everything that is known about a finished run, and the command line that asked for it. Pure. */
export function buildReport(result: RunResult, command: readonly string[] | null = null): Report {
  const { plan, fileBytes, split, tensors, evaluation, activations, activationsFrom, hashes, run } = result;
  const reported = tensors.map(reportTensor);
  const total = totalOf(tensors.filter(({ tensor }) => holdsWeights(tensor)));
  const { gemm = null, withoutBlas, ...facts } = result.calibration ?? {};
  const calibration = result.calibration && (facts as Omit<CalibrationFacts, keyof GemmFacts>);
  const bytesBefore = sum(tensors, (result) => result.bytesBefore);
  const bytesAfter = sum(tensors, (result) => result.bytesAfter);
  return {
    schema: 'gguf-quantize/report',
    version: 1,
    model: {
      architecture: plan.architecture,
      fileType: plan.fileType,
      method: plan.method,
      runnable: plan.runnable.yes,
      notRunnableReason: plan.runnable.yes ? null : plan.runnable.reason,
      tensors: tensors.length,
      quantizedTensors: tensors.filter(({ tensor }) => isQuantized(tensor)).length,
      importanceTensors: tensors.filter(({ tensor }) => tensor.importance !== undefined).length,
      weights: total.sums.count,
      bytesBefore,
      bytesAfter,
      fileBytes,
      split,
      bitsPerWeight: ratio(bytesAfter * 8, total.sums.count),
      compressionRatio: ratio(bytesBefore, bytesAfter),
      calibration,
      outputErrors: outputErrorsOf(reported.map((tensor) => tensor.calibration)),
      evaluation,
      ranges: allRanges(tensors),
      metrics: {
        ...asJson(metricsOf(total.sums, total.rowLength)),
        maxError: { ...metricsOf(total.sums, total.rowLength).maxError, tensor: total.worst },
      },
    },
    fallbacks: tensors.flatMap(({ tensor }) => fallbackOf(tensor)),
    notes: plan.notes,
    warnings: [...plan.warnings, ...(result.textWarnings ?? []), ...calibrationWarnings(result)],
    tensors: reported,
    ...(activations && { activations }),
    ...(activationsFrom && { activationsFrom }),
    hashes,
    run: { ...run, gemm, ...(withoutBlas !== undefined && { withoutBlas }), command },
  };
}

function reportTensor(result: TensorResult): ReportedTensor {
  const { tensor, bytesBefore, bytesAfter, sums, calibration, histogram } = result;
  const weights = elementsOf(tensor.shape);
  return {
    name: tensor.name,
    type: tensor.type,
    encoder: tensor.encoder,
    quantized: isQuantized(tensor),
    importance: tensor.importance !== undefined,
    shape: tensor.shape,
    weights,
    bitsPerWeight: ratio(bytesAfter * 8, weights),
    bytesBefore,
    bytesAfter,
    reason: tensor.reason,
    fallbackFrom: tensor.fallbackFrom ?? null,
    ranges: rangesOf(result),
    calibration: calibration ?? null,
    ...(tensor.inputScale && { inputScale: tensor.inputScale }),
    metrics: asJson(metricsOf(sums, tensor.shape[0] ?? 1)),
    ...(histogram && { histogram }),
  };
}

/** What a plan's tensor pays for a row length its mixture did not expect; empty when it is no fallback. */
export function fallbackOf({ name, shape, type, fallbackFrom }: PlannedTensor): ReportedFallback[] {
  if (fallbackFrom === undefined) return [];
  const extraBitsPerWeight = bitsPerWeight(type) - bitsPerWeight(fallbackFrom);
  const extraBytes = Math.round((elementsOf(shape) * extraBitsPerWeight) / 8);
  return [{ tensor: name, from: fallbackFrom, to: type, extraBitsPerWeight, extraBytes }];
}

/** Sums over all tensors of weights, in file order; the place of the largest error is that of the first tensor that has it. */
function totalOf(tensors: readonly TensorResult[]): { sums: ErrorSums; worst: string; rowLength: number } {
  const sums = emptyErrorSums();
  let [worst, rowLength] = ['', 1];
  for (const { tensor, sums: next } of tensors) {
    if (!holdsWeights(tensor)) continue;
    if (worst === '' || next.maxError > sums.maxError) {
      [worst, rowLength] = [tensor.name, tensor.shape[0] ?? 1];
    }
    addErrorSums(sums, next);
  }
  return { sums, worst, rowLength };
}

const finiteOrNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

export const asJson = (metrics: Metrics): ReportedMetrics => ({
  ...metrics,
  relativeError: finiteOrNull(metrics.relativeError),
  sqnrDb: finiteOrNull(metrics.sqnrDb),
});

const sum = <T>(items: readonly T[], value: (item: T) => number): number =>
  items.reduce((total, item) => total + value(item), 0);

/** 0 for an empty model, so that JSON holds a number. */
const ratio = (a: number, b: number): number => (b === 0 ? 0 : a / b);
