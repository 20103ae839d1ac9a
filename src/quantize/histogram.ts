/**
 * Histograms of weights, collected while they are coded, in one pass although the range is not known before. Smallest
 * and largest weight are those of the whole tensor. All weights are counted, but of a tensor with more than COUNTED
 * tiles only every second, third, ... tile, so that counting takes a few per cent of the time that coding takes.
 *
 * BINS bins on each side of 0 span magnitudes below 2^exponent and become wider as larger ones come (core/bins.ts): the
 * result depends on the weights alone, not on threads, chunks or their order.
 */
import { exponentOf, widenBins } from '../core/bins.ts';
import { SUM_RANGE } from '../core/error-sums.ts';
import { type Distribution, groupWeights, type Histogram, type ScaleGroup } from '../core/histogram.ts';
import { typeOfEncoder } from '../core/plan.ts';
import type { TensorJob } from './job.ts';
import type { Kernels } from './kernels.ts';

/** Bins on each side of 0 while counting. */
const BINS = 2048;
const BIN_BITS = 11;
/** Bins shown on each side of 0, at most. */
const SHOWN_BITS = 7;
/** Smallest range: 2^-100; beyond, the scale of the kernel would leave float32. */
const LEAST_EXPONENT = -100;
/** One weight in so many may lie beyond half of what is shown, so that a few outliers do not make the rest a line. */
const OUTLIERS = 1000;

/** Tiles of SUM_RANGE weights that are counted of one tensor, at most. */
const COUNTED = 32;

/** Bytes of kernel memory that counting takes. */
export const HISTOGRAM_BYTES = 2 * (2 * BINS) * 4;

/** Counts of one side, `before` or `after`. */
interface Side {
  min: number;
  max: number;
  /** 2 * BINS. */
  readonly counts: Uint32Array | Float64Array;
}

/** What a worker counted in one chunk. */
export interface ChunkHistogram {
  readonly exponent: number;
  readonly before: Side;
  readonly after: Side;
  /** Set in the chunk that has the tensor's middle group. */
  readonly group: ScaleGroup | null;
}

/** Scalar twin of the kernel: see src/kernels/histogram.ts. */
export function countBins(x: Float32Array, scale: number, counts: Uint32Array): void {
  for (const value of x) {
    const steps = Math.min(Math.trunc(Math.fround(Math.abs(value) * scale)) || 0, BINS - 1);
    counts[BINS + (value < 0 ? ~steps : steps)]++;
  }
}

/** Counts the weights of a chunk in a worker, tile by tile. */
export class ChunkCounter {
  readonly #kernels: Kernels;
  readonly #counts: readonly [before: number, after: number]; // addresses
  readonly #out: number;
  readonly #ranges = [emptyRange(), emptyRange()];
  readonly #group: { start: number; weights: number };
  /** Of so many tiles one is counted. */
  readonly #every: number;
  #exponent = LEAST_EXPONENT;
  #found: ScaleGroup | null = null;

  /** `memory` are HISTOGRAM_BYTES of the kernels' arena, `out` scratch for a kernel's results. */
  constructor(kernels: Kernels, tensor: TensorJob, memory: number, out: number) {
    this.#kernels = kernels;
    this.#counts = [memory, memory + HISTOGRAM_BYTES / 2];
    this.#out = out;
    new Uint8Array(kernels.buffer, memory, HISTOGRAM_BYTES).fill(0);
    this.#every = Math.ceil(tensor.elements / (COUNTED * SUM_RANGE));
    const size = groupWeights(typeOfEncoder(tensor.encoder));
    const start = Math.floor(tensor.elements / 2 / size) * size;
    this.#group = { start, weights: Math.min(size, tensor.elements - start) };
  }

  /** Takes the n >= 1 weights of a tile, which begins at element `start`: addresses of their float32 values, as stored and as decoded. */
  take(before: number, after: number, start: number, n: number): void {
    const kernels = this.#kernels;
    const sides = [before, after];
    for (const [i, x] of sides.entries()) {
      kernels.range(x, n, this.#out);
      const [min, max] = new Float32Array(kernels.buffer, this.#out, 2);
      const range = this.#ranges[i];
      range.min = Math.min(range.min, min);
      range.max = Math.max(range.max, max);
    }
    const reached = this.#ranges.map(({ min, max }) => exponentOf(Math.max(-min, max)));
    const exponent = Math.max(this.#exponent, ...reached);
    for (const at of this.#counts) widenBins(this.#view(at), exponent - this.#exponent);
    this.#exponent = exponent;
    if ((start / SUM_RANGE) % this.#every === 0) {
      for (const [i, x] of sides.entries()) {
        kernels.histogram(x, n, 2 ** (BIN_BITS - this.#exponent), this.#counts[i]);
      }
    }
    const from = this.#group.start - start;
    if (from < 0 || from >= n) return;
    const values = new Float32Array(kernels.buffer, after + 4 * from, this.#group.weights);
    this.#found = { ...this.#group, values: [...new Set(values)].map((v) => v + 0).sort((a, b) => a - b) };
  }

  /** What was counted; a copy. */
  finish(): ChunkHistogram {
    const side = (i: number): Side => ({ ...this.#ranges[i], counts: this.#view(this.#counts[i]).slice() });
    return { exponent: this.#exponent, before: side(0), after: side(1), group: this.#found };
  }

  #view(at: number): Uint32Array {
    return new Uint32Array(this.#kernels.buffer, at, 2 * BINS);
  }
}

/** Joins what workers counted, a tensor at a time; what is done is kept in its short form. */
export class HistogramCollector {
  readonly #tensors: readonly TensorJob[];
  readonly #open = new Map<
    number,
    { weights: number; exponent: number; sides: Side[]; group: ScaleGroup | null }
  >();
  readonly #done = new Map<number, Histogram>();

  constructor(tensors: readonly TensorJob[]) {
    this.#tensors = tensors;
  }

  /** Adds a chunk of `weights` weights, in any order. */
  add(tensor: number, { exponent, before, after, group }: ChunkHistogram, weights: number): void {
    const open = this.#open.get(tensor) ?? {
      weights: 0,
      exponent,
      sides: [0, 1].map(() => ({ ...emptyRange(), counts: new Float64Array(2 * BINS) })),
      group: null,
    };
    this.#open.set(tensor, open);
    const common = Math.max(open.exponent, exponent);
    for (const [i, side] of [before, after].entries()) {
      const total = open.sides[i];
      widenBins(total.counts, common - open.exponent);
      widenBins(side.counts, common - exponent);
      for (let bin = 0; bin < 2 * BINS; bin++) total.counts[bin] += side.counts[bin];
      total.min = Math.min(total.min, side.min);
      total.max = Math.max(total.max, side.max);
    }
    open.exponent = common;
    open.group ??= group;
    open.weights += weights;
    if (open.weights < this.#tensors[tensor].elements) return;
    this.#open.delete(tensor);
    this.#done.set(tensor, histogramOf(open.exponent, open.sides, open.group!));
  }

  /** Drops what was counted of a tensor. */
  forget(tensor: number): void {
    this.#open.delete(tensor);
    this.#done.delete(tensor);
  }

  /** Of a tensor all of whose chunks were added; undefined for one that is not counted. */
  of(tensor: number): Histogram | undefined {
    return this.#done.get(tensor);
  }
}

const emptyRange = () => ({ min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY });

/** At most 2^SHOWN_BITS bins a side, over twice the range beyond which one weight in OUTLIERS lies. */
function histogramOf(exponent: number, sides: readonly Side[], group: ScaleGroup): Histogram {
  const [before] = sides;
  const total = sumOf(before, -BINS, BINS);
  let half = BIN_BITS; // log2 of the bins on a side that hold all but the outliers
  while (half > 0 && total - sumOf(before, -(2 ** (half - 1)), 2 ** (half - 1)) <= total / OUTLIERS) half--;
  const shown = Math.min(BIN_BITS, half + 1);
  const shift = Math.max(0, shown - SHOWN_BITS);
  const limit = 2 ** (shown - shift);
  const bins = Array.from({ length: 2 * limit }, (_, i) => (i - limit) * 2 ** shift);
  const counts = sides.map((side) => bins.map((bin) => sumOf(side, bin, bin + 2 ** shift)));
  const filled = (i: number) => counts.some((side) => side[i] > 0);
  let [from, to] = [0, 2 * limit];
  while (from < limit - 1 && !filled(from)) from++;
  while (to > limit + 1 && !filled(to - 1)) to--;
  const [first, end] = [from, to].map((i) => (i - limit) * 2 ** shift);
  const distribution = (side: Side, i: number): Distribution => ({
    min: side.min,
    max: side.max,
    below: sumOf(side, -BINS, first),
    above: sumOf(side, end, BINS),
    counts: counts[i].slice(from, to),
  });
  return {
    binWidth: 2 ** (exponent - BIN_BITS + shift),
    first: from - limit,
    counted: total,
    before: distribution(sides[0], 0),
    after: distribution(sides[1], 1),
    group,
  };
}

/** Weights in bins [from, to), bin 0 beginning at 0. */
function sumOf({ counts }: Side, from: number, to: number): number {
  let sum = 0;
  for (let bin = from; bin < to; bin++) sum += counts[bin + BINS];
  return sum;
}
