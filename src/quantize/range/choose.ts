/**
 * How a range is chosen, whatever group of weights it is for. A search asks for statistics of its group and is given
 * them: for a block or a row in memory at once, for a tensor by a pass of all workers over the file. So there is one
 * definition of each rule at every granularity.
 */
import { roundToFloat16 as half } from '../../core/float.ts';
import { type CodedRange, type Extent, type Grid, gridOf, type RangedType, type RangeSpec } from '../../core/ranges.ts';
import { affineThresholds, symmetricThreshold } from './entropy.ts';

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

/** Bins of a histogram: those of the source for a tensor; a row has no more weights than would fill these. */
const TENSOR_BINS = 2048;
const ROW_BINS = 512;

/**
 * Thresholds of a first step, at one ratio from each to the next, and of a second between the neighbours of the best; for an
 * affine grid of each end, which are searched by turns.
 */
const STEPS = {
  symmetric: { block: [24, 12], channel: [40, 24], tensor: [40, 24] },
  affine: { block: [12, 6], channel: [20, 12], tensor: [20, 12] },
} as const;
/** How often the two ends of an affine grid are searched. */
const TURNS = 2;
/** Narrowest half range that is tried for one end, in standard deviations of the weights. */
const AFFINE_LEAST = 0.25;

/**
 * The range of a group, by the rule of `spec`. Ends follow as in `codedAt` and `codedBetween`. docs/ranges.md defines the
 * rules.
 */
export function chooseRange(spec: RangeSpec, type: RangedType, extent: Extent): Search {
  const grid = gridOf(type, spec.symmetry);
  if (grid.kind === 'signs') return constant(signs(spec, grid, extent));
  return grid.kind === 'affine' ? affine(spec, grid, extent) : symmetric(spec, grid, extent);
}

// biome-ignore lint/correctness/useYield: a search that has nothing to ask
function* constant(range: CodedRange): Search {
  return range;
}

/** BitNet's binary weights: scale mean|x|; the sign of x, or, centred, of x - mean(x), where 0 counts as -. */
function signs({ center }: RangeSpec, grid: Grid, { count, sum, sumMagnitude }: Extent): CodedRange {
  const offset = center ? nextFloat(Math.fround(sum / count)) : 0;
  return { scale: half(sumMagnitude / count), offset, lowest: grid.lowest, highest: grid.highest };
}

/** The least float32 above a finite float32. */
function nextFloat(x: number): number {
  const float = new Float32Array([x]);
  const bits = new Int32Array(float.buffer);
  if (x === 0) return 2 ** -149;
  bits[0] += x > 0 ? 1 : -1;
  return float[0];
}

/**
 * The range that reaches from -threshold to threshold. A full grid has one code more on the side of the group's peak
 * (its weight of largest magnitude, the largest of equals), as in ggml's Q4_0: that code stands for the threshold.
 */
function codedAt(grid: Grid, threshold: number, positivePeak: boolean): CodedRange {
  const { lowest, highest } = grid;
  const scale =
    lowest === -highest ? threshold / highest : (positivePeak ? threshold : -threshold) / lowest;
  return { scale: half(Math.fround(scale)), offset: 0, lowest, highest };
}

/** The range low .. high of an affine grid. */
const codedBetween = (grid: Grid, low: number, high: number): CodedRange => ({
  scale: half(Math.fround(Math.fround(high - low) / grid.highest)),
  offset: half(low),
  lowest: grid.lowest,
  highest: grid.highest,
});

function* symmetric({ rule, granularity }: RangeSpec, grid: Grid, extent: Extent): Search {
  const { count, min, max, sumMagnitude } = extent;
  const positivePeak = max >= -min;
  const largest = Math.max(max, -min);
  const at = (threshold: number) => codedAt(grid, threshold, positivePeak);
  switch (rule.kind) {
    case 'absmean':
      return at((sumMagnitude / count) * grid.highest);
    case 'clip':
      return at(rule.high);
    case 'percentile': {
      const rank = Math.max(1, Math.ceil((rule.percent / 100) * count));
      const [threshold] = yield { kind: 'ranks', signed: false, ranks: [rank] };
      return at(threshold || largest); // most weights are 0: the others would be lost
    }
    case 'entropy': {
      if (largest === 0) return at(0);
      const bins = granularity === 'tensor' ? TENSOR_BINS : ROW_BINS;
      const counts = yield { kind: 'histogram', signed: false, low: 0, high: largest, bins };
      return at((largest * symmetricThreshold(counts, grid.highest + 1)) / bins);
    }
    case 'mse': {
      // Below this the error falls with the threshold, whatever the weights (docs/ranges.md).
      const least = ((sumMagnitude / count) * 2 * grid.highest) / (2 * grid.highest + 1);
      const known = at(largest);
      return yield* leastError(at, least, largest, STEPS.symmetric[granularity], [
        known,
        { ...known, scale: codedAt(grid, largest, !positivePeak).scale },
      ]);
    }
    default:
      return at(largest);
  }
}

function* affine({ rule, granularity }: RangeSpec, grid: Grid, extent: Extent): Search {
  const { count, min, max, sum, sumSquares } = extent;
  const between = (low: number, high: number) => codedBetween(grid, low, high);
  switch (rule.kind) {
    case 'clip':
      return between(rule.low, rule.high);
    case 'percentile': {
      const high = Math.max(1, Math.ceil(((100 + rule.percent) / 200) * count));
      const [a, b] = yield { kind: 'ranks', signed: true, ranks: [count + 1 - high, high] };
      return a < b ? between(a, b) : between(min, max);
    }
    case 'entropy': {
      if (min === max) return between(min, max);
      const bins = granularity === 'tensor' ? TENSOR_BINS : ROW_BINS;
      const counts = yield { kind: 'histogram', signed: true, low: min, high: max, bins };
      const [from, to] = affineThresholds(counts, grid.highest + 1);
      return between(min + ((max - min) * from) / bins, min + ((max - min) * to) / bins);
    }
    case 'mse': {
      const mean = sum / count;
      const least = AFFINE_LEAST * Math.sqrt(Math.max(0, sumSquares / count - mean * mean));
      let [low, high] = [min, max];
      let best = between(low, high);
      for (let turn = 0; turn < TURNS; turn++) {
        best = yield* leastError(
          (t) => between(low, mean + t),
          least,
          max - mean,
          STEPS.affine[granularity],
          [best],
          (t) => {
            high = mean + t;
          },
        );
        best = yield* leastError(
          (t) => between(mean - t, high),
          least,
          mean - min,
          STEPS.affine[granularity],
          [best],
          (t) => {
            low = mean - t;
          },
        );
      }
      return best;
    }
    default:
      return between(min, max);
  }
}

/**
 * Of the ranges `known` and those at thresholds from `most` down to `least`, the one of least squared error; an earlier one
 * wins over an equal. `onThreshold` hears the threshold that won, if one did.
 */
function* leastError(
  at: (threshold: number) => CodedRange,
  least: number,
  most: number,
  [coarse, fine]: readonly [number, number],
  known: readonly CodedRange[],
  onThreshold: (threshold: number) => void = () => {},
): Search {
  const [{ lowest, highest }] = known;
  if (!(most > 0)) return known[0];
  const ratio = Math.min(1, Math.max(least / most, 1e-6)) ** (1 / coarse);
  let best = known[0];
  let error = Number.POSITIVE_INFINITY;
  let threshold = most;
  for (const step of ['coarse', 'fine'] as const) {
    const ranges = step === 'coarse' ? known : [];
    const thresholds = new Float64Array(step === 'coarse' ? coarse + 1 : fine);
    if (step === 'coarse') {
      thresholds[0] = most;
      for (let i = 1; i <= coarse; i++) thresholds[i] = thresholds[i - 1] * ratio;
    } else {
      const [low, high] = [threshold * ratio, Math.min(most, threshold / ratio)];
      for (let i = 0; i < fine; i++) thresholds[i] = low + ((high - low) * (i + 1)) / (fine + 1);
    }
    const scales = new Float32Array(ranges.length + thresholds.length);
    const offsets = new Float32Array(scales.length);
    for (let i = 0; i < scales.length; i++) {
      const range = i < ranges.length ? ranges[i] : at(thresholds[i - ranges.length]);
      scales[i] = range.scale;
      offsets[i] = range.offset;
    }
    const errors = yield { kind: 'errors', lowest, highest, scales, offsets };
    let won = -1;
    for (let i = 0; i < errors.length; i++) {
      if (!(errors[i] < error)) continue;
      error = errors[i];
      won = i;
    }
    if (won < 0) continue;
    best = { scale: scales[won], offset: offsets[won], lowest, highest };
    if (won < ranges.length) continue;
    threshold = thresholds[won - ranges.length];
    onThreshold(threshold);
  }
  return best;
}
