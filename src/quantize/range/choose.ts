/**
 * How a range is chosen, whatever group of weights it is for. A search asks for statistics of its group and is given
 * them: for a block or a row in memory at once, for a tensor by a pass of all workers over the file. So there is one
 * definition of each rule at every granularity.
 */
import { fromFloat16, toFloat16 } from '../../core/float.ts';
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
  /** The sum of squared errors over each of these ranges. */
  | { readonly kind: 'errors'; readonly candidates: readonly CodedRange[] };

export type Search = Generator<Query, CodedRange, Float64Array>;

/** Bins of a histogram: those of the source for a tensor; a row has no more weights than would fill these. */
const TENSOR_BINS = 2048;
const ROW_BINS = 512;

/** Thresholds of a first pass, at one ratio from each to the next, and of a second between the neighbours of the best. */
const COARSE = 40;
const FINE = 32;
/** The same for each of two ends, which are searched by turns. */
const AFFINE_COARSE = 20;
const AFFINE_FINE = 12;
/** Narrowest half range that is tried for one end, in standard deviations of the weights. */
const AFFINE_LEAST = 0.25;

const half = (x: number): number => fromFloat16(toFloat16(x));

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
  const codes = { offset: 0, lowest: grid.lowest, highest: grid.highest };
  if (grid.lowest === -grid.highest) return { scale: half(Math.fround(threshold / grid.highest)), ...codes };
  return { scale: half(Math.fround((positivePeak ? threshold : -threshold) / grid.lowest)), ...codes };
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
      return yield* leastError(at, least, largest, [COARSE, FINE], [
        at(largest),
        codedAt(grid, largest, !positivePeak),
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
      for (const steps of [
        [AFFINE_COARSE, AFFINE_FINE],
        [AFFINE_COARSE, AFFINE_FINE],
      ] as const) {
        let end = high;
        best = yield* leastError((t) => between(low, mean + t), least, max - mean, steps, [best], (t) => {
          end = mean + t;
        });
        high = end;
        end = low;
        best = yield* leastError((t) => between(mean - t, high), least, mean - min, steps, [best], (t) => {
          end = mean - t;
        });
        low = end;
      }
      return best;
    }
    default:
      return between(min, max);
  }
}

/**
 * Of ranges at thresholds from `most` down to `least`, and of those `known`, the one of least squared error; a known one
 * wins over an equal. `onBest` hears a threshold that won.
 */
function* leastError(
  at: (threshold: number) => CodedRange,
  least: number,
  most: number,
  [coarse, fine]: readonly [number, number],
  known: readonly CodedRange[],
  onBest: (threshold: number) => void = () => {},
): Search {
  if (!(most > 0)) return known[0];
  const ratio = Math.min(1, Math.max(least / most, 1e-6)) ** (1 / coarse);
  const first = Array.from({ length: coarse + 1 }, (_, i) => most * ratio ** i);
  let best = known[0];
  let error = Number.POSITIVE_INFINITY;
  let threshold = most;
  const take = (candidates: readonly CodedRange[], errors: Float64Array, thresholds: readonly number[]) => {
    candidates.forEach((candidate, i) => {
      if (!(errors[i] < error)) return;
      [best, error] = [candidate, errors[i]];
      const won = thresholds[i - (candidates.length - thresholds.length)];
      if (won === undefined) return;
      threshold = won;
      onBest(won);
    });
  };
  const candidates = [...known, ...first.map(at)];
  take(candidates, yield { kind: 'errors', candidates }, first);
  const [low, high] = [threshold * ratio, Math.min(most, threshold / ratio)];
  const second = Array.from({ length: fine }, (_, i) => low + ((high - low) * (i + 1)) / (fine + 1));
  const between = second.map(at);
  take(between, yield { kind: 'errors', candidates: between }, second);
  return best;
}
