import type { TypeName } from './types.ts';

/** How many weights share a scale: a block of the type, a row (an output channel), a tensor (of experts, all of them). */
export const granularities = ['block', 'channel', 'tensor'] as const;
export type Granularity = (typeof granularities)[number];

/** Codes of a grid around zero: as many below as above, or all that its bits hold, one more on one side. */
export const symmetries = ['restricted', 'full'] as const;
export type Symmetry = (typeof symmetries)[number];

/** How the range of weights that codes reach is chosen; docs/ranges.md defines each. */
export type RangeRule =
  | { readonly kind: 'absmax' | 'minmax' | 'mse' | 'entropy' | 'absmean' }
  /** The range of this share of the weights, in percent, more than 0 and up to 100. */
  | { readonly kind: 'percentile'; readonly percent: number }
  | { readonly kind: 'clip'; readonly low: number; readonly high: number };

/** A choice of ranges. */
export interface RangeSpec {
  readonly rule: RangeRule;
  readonly granularity: Granularity;
  /** Null for grids that have one form only. */
  readonly symmetry: Symmetry | null;
  /** Q1_0: signs of the weight less the mean (BitNet, arXiv 2310.11453, equations 1 to 3). */
  readonly center: boolean;
}

/** Types whose blocks hold one float scale (and minimum), or can hold one for all sub-blocks: so blocks can share it. */
export type RangedType = 'Q8_0' | 'Q5_0' | 'Q4_0' | 'Q5_1' | 'Q4_1' | 'Q2_K' | 'TQ1_0' | 'TQ2_0' | 'Q1_0';

/** Codes lowest .. highest, integers, that stand for offset + scale * code. */
export interface Grid {
  readonly kind: 'symmetric' | 'affine' | 'ternary' | 'signs';
  readonly lowest: number;
  readonly highest: number;
}

const around = (middle: number): Grid => ({ kind: 'symmetric', lowest: -middle, highest: middle - 1 });

const grids: Readonly<Record<RangedType, Grid>> = {
  Q8_0: around(128),
  Q5_0: around(16),
  Q4_0: around(8),
  Q5_1: { kind: 'affine', lowest: 0, highest: 31 },
  Q4_1: { kind: 'affine', lowest: 0, highest: 15 },
  Q2_K: { kind: 'affine', lowest: 0, highest: 3 },
  TQ1_0: { kind: 'ternary', lowest: -1, highest: 1 },
  TQ2_0: { kind: 'ternary', lowest: -1, highest: 1 },
  Q1_0: { kind: 'signs', lowest: -1, highest: 1 },
};

export const isRangedType = (type: TypeName): type is RangedType => type in grids;

/** The codes of a type; without symmetry all that it has. */
export function gridOf(type: RangedType, symmetry: Symmetry | null): Grid {
  const grid = grids[type];
  return grid.kind === 'symmetric' && symmetry === 'restricted' ? { ...grid, lowest: -grid.highest } : grid;
}

/** How many values a grid has. */
export const codesOf = ({ kind, lowest, highest }: Grid): number =>
  kind === 'signs' ? 2 : highest - lowest + 1;

/**
 * What codes stand for in a group of weights that share it. scale and offset of an affine grid are float16 values, so
 * that every block stores them exactly.
 */
export interface CodedRange {
  /** May be negative: the lowest code then stands for the largest weight. */
  readonly scale: number;
  /** What code 0 stands for; on a grid of signs, the least weight (float32) whose sign is +. */
  readonly offset: number;
  readonly lowest: number;
  readonly highest: number;
}

/** The least and the largest number that codes stand for. */
export function endsOf(
  kind: Grid['kind'],
  { scale, offset, lowest, highest }: CodedRange,
): [low: number, high: number] {
  const base = kind === 'affine' ? offset : 0;
  const [a, b] = [base + scale * lowest, base + scale * highest];
  return a <= b ? [a, b] : [b, a];
}

/** Sums over the weights of a tensor that were coded over chosen ranges. */
export interface RangeSums {
  /** Weights beyond the ends of their range by more than half a step; on a grid of signs none. */
  clipped: number;
  /** Weights that came back as 0. */
  zeros: number;
  /** Weights of magnitude above the tensor's bound for outliers, their sum of x^2 and of (x - q)^2. */
  outliers: number;
  outlierX2: number;
  outlierE2: number;
  /** Over all groups: the lowest and the highest low end, and the same of the high end. */
  lowLeast: number;
  lowMost: number;
  highLeast: number;
  highMost: number;
}

/** The order in which sums are handed over as numbers. */
export const rangeFields = [
  ...(['clipped', 'zeros', 'outliers', 'outlierX2', 'outlierE2'] as const),
  ...(['lowLeast', 'lowMost', 'highLeast', 'highMost'] as const),
] as const;

/** Adds the sums of the tile that follows, as numbers; null for a first one. */
export function addRangeSums(total: RangeSums | null, next: ArrayLike<number>): RangeSums {
  const sums = Object.fromEntries(rangeFields.map((field, i) => [field, next[i]])) as unknown as RangeSums;
  if (total === null) return sums;
  return {
    clipped: total.clipped + sums.clipped,
    zeros: total.zeros + sums.zeros,
    outliers: total.outliers + sums.outliers,
    outlierX2: total.outlierX2 + sums.outlierX2,
    outlierE2: total.outlierE2 + sums.outlierE2,
    lowLeast: Math.min(total.lowLeast, sums.lowLeast),
    lowMost: Math.max(total.lowMost, sums.lowMost),
    highLeast: Math.min(total.highLeast, sums.highLeast),
    highMost: Math.max(total.highMost, sums.highMost),
  };
}

/** Sums over a group of weights, float64, from which ranges are chosen. */
export interface Extent {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly sum: number;
  readonly sumMagnitude: number;
  readonly sumSquares: number;
}

/** A weight is an outlier when its magnitude is more than this many times the root mean square of its tensor. */
const OUTLIER_RMS = 6;

/** The magnitude above which a weight of the tensor is an outlier: the same for every way of coding it. */
export const outlierBound = (count: number, sumSquares: number): number =>
  OUTLIER_RMS * Math.sqrt(sumSquares / count);

/**
 * Below this threshold the squared error over codes -highest .. highest falls as the threshold grows, whatever the values
 * (docs/ranges.md): no search of the least need go lower.
 */
export const leastThreshold = (meanMagnitude: number, highest: number): number =>
  (meanMagnitude * 2 * highest) / (2 * highest + 1);

/** `clip=-5,5`, as the option is written. */
export function ruleName(rule: RangeRule): string {
  if (rule.kind === 'percentile') return `percentile=${rule.percent}`;
  return rule.kind === 'clip' ? `clip=${rule.low},${rule.high}` : rule.kind;
}
