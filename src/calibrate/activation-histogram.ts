import { type ActivationGrid, highestCode, type RangeMethod, type StaticRange } from '../core/activations.ts';
import { exponentOf, widenBins } from '../core/bins.ts';
import { leastThreshold } from '../core/ranges.ts';
import { affineThresholds, symmetricThreshold } from '../quantize/range/entropy.ts';

/** Bins on each side of 0. */
export const SIDE = 8192;
/** Bins on each side that the search of least divergence works on, at most: TensorRT has 2048 in all, under the largest. */
const ENTROPY_BINS = 4096;
/** Exponent of the reach before anything was counted. */
const LEAST_EXPONENT = -64;

/** Thresholds of a first search by least squared error, and of a second between the neighbours of the best. */
const STEPS = [96, 32] as const;
/** How often each end of an asymmetric range is searched. */
const TURNS = 3;

/**
 * Counts of values in bins of one width, SIDE on each side of 0, which become wider as larger values come (core/bins.ts): so
 * the counts depend on the values only, not on their order.
 */
export class Histogram {
  /** Of bin i the values from (i - SIDE) width up to, but not, (i - SIDE + 1) width. */
  readonly counts = new Float64Array(2 * SIDE);
  #exponent = LEAST_EXPONENT;
  total = 0;
  /** Of all values, and 0. */
  min = 0;
  max = 0;

  get width(): number {
    return 2 ** this.#exponent / SIDE;
  }

  get bins(): number {
    return this.counts.length;
  }

  /** Makes room for values from `low` to `high`, float32. */
  reachTo(low: number, high: number): void {
    this.min = Math.min(this.min, low);
    this.max = Math.max(this.max, high);
    const exponent = Math.max(this.#exponent, exponentOf(Math.max(this.max, -this.min)));
    widenBins(this.counts, exponent - this.#exponent);
    this.#exponent = exponent;
  }

  /** Adds counts of the bins as they are now. */
  add(counts: ArrayLike<number>): void {
    for (let i = 0; i < counts.length; i++) {
      this.counts[i] += counts[i];
      this.total += counts[i];
    }
  }

  /** Counts of magnitudes, from 0 on: bins up to the one that holds the largest. */
  magnitudes(): Float64Array {
    const found = new Float64Array(Math.floor(Math.max(this.max, -this.min) / this.width) + 1);
    for (let i = 0; i < found.length; i++) found[i] = this.counts[SIDE + i] + this.counts[SIDE - 1 - i];
    return found;
  }
}

/**
 * The range that a method chooses for codes of a grid, from the values that a histogram holds. A value counts as the middle of
 * its bin. `percent`: for the method `percentile`. docs/activations.md defines the methods.
 */
export function chooseActivationRange(
  histogram: Histogram,
  grid: ActivationGrid,
  method: RangeMethod,
  percent: number,
): StaticRange {
  const error = squaredError(histogram);
  const [low, high] = grid.symmetric
    ? symmetricEnds(histogram, grid, method, percent, error)
    : asymmetricEnds(histogram, grid, method, percent, error);
  const codes = codesOver(grid, low, high);
  const square = histogram.counts.reduce(
    (sum, count, i) => sum + count * ((i - SIDE + 0.5) * histogram.width) ** 2,
    0,
  );
  const relativeError = codes.scale > 0 ? error(grid, codes) / square : 0; // without a scale all values are 0
  return { low: low + 0, high, ...codes, relativeError };
}

type Codes = Pick<StaticRange, 'scale' | 'zeroPoint'>;
type SquaredError = (grid: ActivationGrid, codes: Codes) => number;

/** Scale and zero point of codes over low .. high, low <= 0 <= high: of a symmetric grid -high .. high. */
export function codesOver(grid: ActivationGrid, low: number, high: number): Codes {
  const highest = highestCode(grid);
  const scale = Math.fround((grid.symmetric ? high : high - low) / highest);
  const zeroPoint = grid.symmetric || scale === 0 ? 0 : Math.round(-low / scale) + 0;
  return { scale, zeroPoint: Math.min(highest, zeroPoint) };
}

/** Sum of (x - q)^2 over all values, each the middle of its bin. */
function squaredError({ counts, width }: Histogram): SquaredError {
  const filled = [...counts.keys()].filter((i) => counts[i] > 0);
  const values = Float64Array.from(filled, (i) => (i - SIDE + 0.5) * width);
  const weights = Float64Array.from(filled, (i) => counts[i]);
  return (grid, { scale, zeroPoint }) => {
    const highest = highestCode(grid);
    const [least, most] = grid.symmetric ? [-highest, highest] : [-zeroPoint, highest - zeroPoint];
    const inverse = scale > 0 ? 1 / scale : 0;
    let sum = 0;
    for (let i = 0; i < values.length; i++) {
      const code = Math.floor(values[i] * inverse + 0.5);
      const gap = values[i] - scale * (code < least ? least : code > most ? most : code);
      sum += weights[i] * gap * gap;
    }
    return sum;
  };
}

function symmetricEnds(
  histogram: Histogram,
  grid: ActivationGrid,
  method: RangeMethod,
  percent: number,
  error: SquaredError,
): [low: number, high: number] {
  const { width, total, min, max } = histogram;
  const largest = Math.max(max, -min);
  if (largest === 0) return [0, 0];
  const magnitudes = histogram.magnitudes();
  const upTo = (threshold: number): [number, number] => [-threshold, threshold];
  switch (method) {
    case 'absmax':
      return upTo(largest);
    case 'percentile':
      return upTo(Math.min(largest, width * (1 + placeOf(magnitudes, (percent / 100) * total))));
    case 'mse': {
      const mean = magnitudes.reduce((sum, count, i) => sum + count * (i + 0.5) * width, 0) / total;
      const least = leastThreshold(mean, highestCode(grid));
      return upTo(search(least, largest, (t) => error(grid, codesOver(grid, -t, t))));
    }
    case 'entropy': {
      const factor = Math.ceil(magnitudes.length / ENTROPY_BINS);
      const bins = symmetricThreshold(merged(magnitudes, factor), highestCode(grid) + 1);
      return upTo(Math.min(largest, bins * factor * width));
    }
  }
}

function asymmetricEnds(
  histogram: Histogram,
  grid: ActivationGrid,
  method: RangeMethod,
  percent: number,
  error: SquaredError,
): [low: number, high: number] {
  const { width, total, min, max, counts } = histogram;
  if (min === max) return [0, 0];
  switch (method) {
    case 'absmax':
      return [min, max];
    case 'percentile': {
      // As many values are left out below as above.
      const beyond = ((100 - percent) / 200) * total;
      const above = placeOf(counts, total - beyond);
      const below = counts.length - 1 - placeOf(counts.toReversed(), total - beyond);
      return [
        Math.min(0, Math.max(min, (below - SIDE) * width)),
        Math.max(0, Math.min(max, (above + 1 - SIDE) * width)),
      ];
    }
    case 'mse': {
      let [low, high] = [min, max];
      for (let turn = 0; turn < TURNS; turn++) {
        high = search(0, max, (t) => error(grid, codesOver(grid, low, t)), high);
        low = -search(0, -min, (t) => error(grid, codesOver(grid, -t, high)), -low);
      }
      return [low, high];
    }
    case 'entropy': {
      const from = Math.floor(min / width) + SIDE;
      const used = counts.subarray(from, Math.floor(max / width) + SIDE + 1);
      const factor = Math.ceil(used.length / ENTROPY_BINS);
      const [first, end] = affineThresholds(merged(used, factor), highestCode(grid) + 1);
      const at = (bin: number) => (from + bin * factor - SIDE) * width;
      return [Math.min(0, Math.max(min, at(first))), Math.max(0, Math.min(max, at(end)))];
    }
  }
}

/** The bin in which the count, added up from the first on, reaches `wanted`. */
function placeOf(counts: Float64Array, wanted: number): number {
  let sum = 0;
  for (let i = 0; i < counts.length; i++) {
    sum += counts[i];
    if (sum >= wanted) return i;
  }
  return counts.length - 1;
}

function merged(counts: Float64Array, factor: number): Float64Array {
  const found = new Float64Array(Math.ceil(counts.length / factor));
  for (let i = 0; i < counts.length; i++) found[Math.floor(i / factor)] += counts[i];
  return found;
}

/**
 * Of `known`, and of thresholds from `least` to `most` at one distance, then between the neighbours of the best, the one with
 * the least error; the first of equals.
 */
function search(least: number, most: number, errorAt: (threshold: number) => number, known = most): number {
  let best = known;
  let error = errorAt(known);
  const attempt = (threshold: number) => {
    const next = errorAt(threshold);
    if (!(next < error)) return;
    error = next;
    best = threshold;
  };
  const step = (most - least) / STEPS[0];
  if (!(step > 0)) return best;
  for (let i = 0; i <= STEPS[0]; i++) attempt(most - i * step);
  const middle = best;
  for (let i = 1; i < STEPS[1]; i++) {
    const threshold = middle + step * ((2 * i) / STEPS[1] - 1);
    if (threshold >= least && threshold <= most) attempt(threshold);
  }
  return best;
}
