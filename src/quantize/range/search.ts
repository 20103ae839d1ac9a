import type { CodedRange } from '../../core/ranges.ts';

/** What a search may ask of its group; the answer is always an array of float64. */
export type Query =
  /** The weights (or their magnitudes) at these places in ascending order, counted from 1. */
  | { readonly kind: 'ranks'; readonly signed: boolean; readonly ranks: readonly number[] }
  /** Counts of weights (or magnitudes) in `bins` bins of one width over low .. high, the ends included. */
  | {
      readonly kind: 'histogram';
      readonly signed: boolean;
      readonly low: number;
      readonly high: number;
      readonly bins: number;
    }
  /** The sum of squared errors over each of some ranges, which differ in scale and offset. */
  | {
      readonly kind: 'errors';
      readonly lowest: number;
      readonly highest: number;
      readonly scales: Float32Array;
      readonly offsets: Float32Array;
    };

export type Search = Generator<Query, CodedRange, Float64Array>;

/** Thresholds that `around` gives on either side. */
export const NEAR_STEPS = 3;

/** The range of least squared error so far, and its threshold. */
export interface Best {
  readonly range: CodedRange;
  readonly error: number;
  readonly threshold: number;
}

/** `best`, or the range at that threshold which has less error; the first of equals. */
export function* improve(
  best: Best,
  at: (threshold: number) => CodedRange,
  thresholds: Float64Array,
): Generator<Query, Best, Float64Array> {
  const { lowest, highest } = best.range;
  const scales = new Float32Array(thresholds.length);
  const offsets = new Float32Array(thresholds.length);
  for (let i = 0; i < thresholds.length; i++) {
    const range = at(thresholds[i]);
    scales[i] = range.scale;
    offsets[i] = range.offset;
  }
  const errors = yield { kind: 'errors', lowest, highest, scales, offsets };
  let won = -1;
  let { error } = best;
  for (let i = 0; i < errors.length; i++) {
    if (!(errors[i] < error)) continue;
    error = errors[i];
    won = i;
  }
  if (won < 0) return best;
  const range = { scale: scales[won], offset: offsets[won], lowest, highest };
  return { range, error, threshold: thresholds[won] };
}

/** `known`, and thresholds from `most` in `steps` steps of one ratio to `least`. */
export function ladder(
  least: number,
  most: number,
  steps: number,
  known: number,
): { ratio: number; thresholds: Float64Array } {
  const ratio = Math.min(1, Math.max(least / most, 1e-6)) ** (1 / steps);
  const thresholds = new Float64Array(steps + 2);
  thresholds[0] = known;
  let threshold = most;
  for (let i = 1; i < thresholds.length; i++) {
    thresholds[i] = threshold;
    threshold *= ratio;
  }
  return { ratio, thresholds };
}

/** `count` thresholds between low and high, both left out. */
export function evenly(low: number, high: number, count: number): Float64Array {
  const thresholds = new Float64Array(count);
  for (let i = 0; i < count; i++) thresholds[i] = low + ((high - low) * (i + 1)) / (count + 1);
  return thresholds;
}

/** NEAR_STEPS thresholds on either side of one, none beyond `most`, the outermost a share `width` of it away. */
export function around(threshold: number, most: number, width: number): Float64Array {
  const thresholds = new Float64Array(2 * NEAR_STEPS);
  for (let i = 1; i <= NEAR_STEPS; i++) {
    const step = (threshold * width * i) / NEAR_STEPS;
    thresholds[2 * i - 2] = threshold - step;
    thresholds[2 * i - 1] = Math.min(most, threshold + step);
  }
  return thresholds;
}
