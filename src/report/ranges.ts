import type { ErrorSums } from '../core/error-sums.ts';
import { type Granularity, outlierBound, type RangeSums, ruleName, type Symmetry } from '../core/ranges.ts';
import type { TensorResult } from '../core/result.ts';
import { formatCount, formatError, formatShare } from './format.ts';

/** Some of the weights of a tensor, and their error. */
export interface ReportedPart {
  readonly weights: number;
  /** ||W - Q||^2 / ||W||^2 over them; null where they are all zero and did not come back so. */
  readonly relativeError: number | null;
  /** Root of the mean of (w - q)^2 over them; 0 for none. */
  readonly rmse: number;
}

/** What the ranges of one tensor came to, or of all tensors whose ranges were chosen. */
export interface ReportedRanges {
  /** Share of weights beyond the ends of their range by more than half a step. */
  readonly clipped: number;
  /** Share of weights that came back as 0. */
  readonly zeros: number;
  /** Weights of magnitude above 6 times the root mean square of their tensor, and all others. */
  readonly outliers: ReportedPart;
  readonly bulk: ReportedPart;
}

export interface ReportedTensorRanges extends ReportedRanges {
  /** As `--range` has it. */
  readonly rule: string;
  readonly granularity: Granularity;
  readonly symmetry: Symmetry | null;
  readonly center: boolean;
  /** Least and largest of the low ends of all ranges, and of the high ends: the same where the tensor has one range. */
  readonly low: { readonly least: number; readonly most: number };
  readonly high: { readonly least: number; readonly most: number };
  /** Magnitude above which a weight is an outlier. */
  readonly outlierAbove: number;
}

/** Null for a tensor whose ranges no option and no method chose, and for one without weights. */
export function rangesOf({ tensor, sums }: TensorResult): ReportedTensorRanges | null {
  const { range } = tensor;
  if (range === undefined || sums.range === null) return null;
  const { lowLeast, lowMost, highLeast, highMost } = sums.range;
  return {
    rule: ruleName(range.rule),
    granularity: range.granularity,
    symmetry: range.symmetry,
    center: range.center,
    low: { least: lowLeast, most: lowMost },
    high: { least: highLeast, most: highMost },
    outlierAbove: outlierBound(sums.count, sums.sumX2),
    ...partsOf(sums, sums.range),
  };
}

/** What the ranges of all tensors whose ranges were chosen came to, and how many they are. */
export interface ReportedModelRanges extends ReportedRanges {
  readonly tensors: number;
  readonly weights: number;
}

/** Of all tensors whose ranges were chosen; null where there is none. */
export function allRanges(tensors: readonly TensorResult[]): ReportedModelRanges | null {
  const chosen = tensors.flatMap(({ sums }) => (sums.range === null ? [] : [{ sums, range: sums.range }]));
  if (chosen.length === 0) return null;
  const total = (of: (tensor: { sums: ErrorSums; range: RangeSums }) => number) =>
    chosen.reduce((sum, tensor) => sum + of(tensor), 0);
  const count = total(({ sums }) => sums.count);
  return {
    tensors: chosen.length,
    weights: count,
    ...partsOf(
      { count, sumX2: total(({ sums }) => sums.sumX2), sumE2: total(({ sums }) => sums.sumE2) },
      {
        clipped: total(({ range }) => range.clipped),
        zeros: total(({ range }) => range.zeros),
        outliers: total(({ range }) => range.outliers),
        outlierX2: total(({ range }) => range.outlierX2),
        outlierE2: total(({ range }) => range.outlierE2),
      },
    ),
  };
}

function partsOf(
  { count, sumX2, sumE2 }: Pick<ErrorSums, 'count' | 'sumX2' | 'sumE2'>,
  range: Pick<RangeSums, 'clipped' | 'zeros' | 'outliers' | 'outlierX2' | 'outlierE2'>,
): ReportedRanges {
  const { clipped, zeros, outliers, outlierX2, outlierE2 } = range;
  const part = (weights: number, x2: number, e2: number): ReportedPart => ({
    weights,
    relativeError: e2 === 0 ? 0 : x2 > 0 ? e2 / x2 : null,
    rmse: weights === 0 ? 0 : Math.sqrt(e2 / weights),
  });
  return {
    clipped: clipped / count,
    zeros: zeros / count,
    outliers: part(outliers, outlierX2, outlierE2),
    // The differences may round below 0.
    bulk: part(count - outliers, Math.max(0, sumX2 - outlierX2), Math.max(0, sumE2 - outlierE2)),
  };
}

/** How the ranges of a run were chosen: as those of its first tensor that has any; null where there is none. */
export const rangeChoice = (
  tensors: readonly { readonly ranges?: ReportedTensorRanges | null }[],
): ReportedTensorRanges | null => tensors.find(({ ranges }) => ranges)?.ranges ?? null;

/** "percentile=99.9, full": the rule, and which form of the grid it is for. */
export const ruleText = ({ rule, symmetry, center }: ReportedTensorRanges): string =>
  [rule, ...(symmetry ? [symmetry] : []), ...(center ? ['centred'] : [])].join(', ');

/** What the chosen ranges cost whom, in a line or two. */
export function renderRanges(
  model: ReportedModelRanges,
  tensors: readonly { readonly ranges: ReportedTensorRanges | null }[],
): string[] {
  const choice = rangeChoice(tensors);
  if (!choice) return [];
  const { outliers, bulk } = model;
  return [
    `ranges ${ruleText(choice)}, one a ${choice.granularity}, of ${formatCount(model.weights)} weights: ` +
      `${formatShare(model.clipped)} clipped, ${formatShare(model.zeros)} became 0`,
    `       relative error ${formatError(bulk.relativeError)} of the bulk, ` +
      (outliers.weights === 0
        ? 'and there are no outliers'
        : `${formatError(outliers.relativeError)} of ${formatCount(outliers.weights)} outliers`) +
      ' (beyond 6 times the RMS of their tensor)',
  ];
}
