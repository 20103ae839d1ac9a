/**
 * How a range is chosen, whatever group of weights it is for. A search asks for statistics of its group and is given
 * them: for a block or a row in memory at once, for a tensor by a pass of all workers over the file. So there is one
 * definition of each rule at every granularity.
 */
import { roundToFloat16 as half } from '../../core/float.ts';
import {
  type CodedRange,
  type Extent,
  type Grid,
  gridOf,
  leastThreshold,
  type RangedType,
  type RangeSpec,
} from '../../core/ranges.ts';
import { affineThresholds, symmetricThreshold } from './entropy.ts';
import { around, type Best, evenly, improve, ladder, NEAR_STEPS, type Query, type Search } from './search.ts';

/** Bins of a histogram: those of the source for a tensor; a row has no more weights than would fill these. */
const TENSOR_BINS = 2048;
const ROW_BINS = 512;

/**
 * Thresholds of a first step, at one ratio from each to the next, and of a second between the neighbours of the best. On a
 * full grid of a row or a tensor, for either sign of the scale.
 */
const SYMMETRIC_STEPS = { block: [24, 12], channel: [40, 24], tensor: [40, 24] } as const;

/**
 * Steps for the ends of an affine grid: thresholds at one ratio from each to the next, for both ends at one distance from the
 * mean (and, but for blocks, with a code at the mean), then for each end by turns; then, so many turns, a few on either side
 * of the best so far, each time nearer to it.
 */
const AFFINE_STEPS = { block: 12, channel: 20, tensor: 20 } as const;
const NEAR_TURNS = 3;
/** Relative difference of sums of one magnitude and zeros that rounding may make, with much to spare. */
const ROUNDED = 1e-6;
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

/**
 * BitNet's binary weights: scale mean|x|; the sign of x, or, centred, of x - mean(x), where 0 counts as -. Weights that are all
 * equal have nothing but 0 about their mean, and keep the sign of x, with which they are whole.
 */
function signs(
  { center }: RangeSpec,
  grid: Grid,
  { count, min, max, sum, sumMagnitude }: Extent,
): CodedRange {
  const offset = center && min < max ? nextFloat(Math.fround(sum / count)) : 0;
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
  const scale = lowest === -highest ? threshold / highest : (positivePeak ? threshold : -threshold) / lowest;
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
      if (yield* isOneMagnitude(grid, largest, extent)) return at(largest);
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
      if (!(largest > 0)) return at(largest);
      const least = leastThreshold(sumMagnitude / count, grid.highest);
      // On a full grid the shorter side may reach the peak as well.
      const most = (largest * -grid.lowest) / grid.highest;
      const [coarse, fine] = SYMMETRIC_STEPS[granularity];
      // What it must not be worse than: absmax, and of trits absmean too (their ladder begins at absmax).
      const known = grid.kind === 'ternary' ? sumMagnitude / count : largest;
      const { ratio, thresholds } = ladder(least, most, coarse, known);
      const bothSigns = most > largest && granularity !== 'block';
      let best: Best = { range: at(largest), error: Number.POSITIVE_INFINITY, threshold: largest };
      for (const positive of bothSigns ? [positivePeak, !positivePeak] : [positivePeak]) {
        const signed = (threshold: number) => codedAt(grid, threshold, positive);
        let own = yield* improve({ ...best, error: Number.POSITIVE_INFINITY }, signed, thresholds);
        const [low, high] = [own.threshold * ratio, Math.min(most, own.threshold / ratio)];
        own = yield* improve(own, signed, evenly(low, high, fine));
        if (own.error < best.error) best = own;
      }
      return best.range;
    }
    default:
      return at(largest);
  }
}

/**
 * Whether every weight is 0 or of the largest magnitude. The sum of |x| (largest - |x|) is then 0 but for rounding; where it
 * is so small, the errors of codes -1, 0 and 1 times that magnitude tell, as only then are all of them 0.
 */
function* isOneMagnitude(
  { lowest, highest }: Grid,
  largest: number,
  { sumMagnitude, sumSquares }: Extent,
): Generator<Query, boolean, Float64Array> {
  if (!(largest * sumMagnitude - sumSquares <= ROUNDED * sumSquares)) return false;
  const [scales, offsets] = [Float32Array.of(largest), Float32Array.of(0)];
  const [error] = yield { kind: 'errors', lowest, highest, scales, offsets };
  return error === 0;
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
      if (!(max > min)) return between(min, max);
      const mean = sum / count;
      const least = AFFINE_LEAST * Math.sqrt(Math.max(0, sumSquares / count - mean * mean));
      const { highest } = grid;
      const reach = { low: mean - min, high: max - mean }; // distances of the ends from the mean
      const steps = AFFINE_STEPS[granularity];
      /** Pairs of ends that are tried first. */
      const pairs: { low: number; high: number }[] = [];
      const farthest = Math.max(reach.low, reach.high);
      for (const t of ladder(least, farthest, steps, farthest).thresholds) {
        pairs.push({ low: Math.min(reach.low, t), high: Math.min(reach.high, t) });
      }
      if (granularity !== 'block') {
        // Most weights may be near the mean: a code for it, `below` codes for what is less.
        const share = (highest * reach.low) / (reach.low + reach.high);
        for (const below of new Set([
          highest >> 1,
          (highest >> 1) + 1,
          Math.floor(share),
          Math.ceil(share),
        ])) {
          const above = highest - below;
          const most = Math.max(below > 0 ? reach.low / below : 0, above > 0 ? reach.high / above : 0);
          for (const d of ladder(least / highest, most, steps, most).thresholds) {
            pairs.push({ low: below * d, high: above * d });
          }
        }
      }
      const first: Best = { range: between(min, max), error: Number.POSITIVE_INFINITY, threshold: 0 };
      const pairAt = (i: number) =>
        i === 0 ? first.range : between(mean - pairs[i].low, mean + pairs[i].high);
      let best = yield* improve(first, pairAt, Float64Array.from(pairs.keys()));
      const ends = { ...pairs[best.threshold] };
      let nearness = 0;
      for (let turn = 0; turn <= NEAR_TURNS; turn++) {
        for (const end of ['high', 'low'] as const) {
          const { low, high } = ends;
          const at = (t: number) =>
            end === 'high' ? between(mean - low, mean + t) : between(mean - t, mean + high);
          const most = Math.max(reach[end], ends[end]);
          let tried: Float64Array;
          if (turn === 0) {
            const { ratio, thresholds } = ladder(least, most, steps, ends[end]);
            nearness = Math.max(nearness, 1 - ratio);
            tried = thresholds;
          } else {
            tried = around(ends[end], most, nearness);
          }
          best = yield* improve({ ...best, threshold: ends[end] }, at, tried);
          ends[end] = best.threshold;
        }
        if (turn > 0) nearness /= NEAR_STEPS;
      }
      return best.range;
    }
    default:
      return between(min, max);
  }
}
