import type { Kernels } from '../kernels.ts';
import type { Query } from './search.ts';

/** What can be answered piece by piece, the answers being added up. */
export type TileQuery =
  | Exclude<Query, { kind: 'ranks' }>
  /** min, max, sum x, sum |x|, sum x^2; the first two are not added. */
  | { readonly kind: 'extent' }
  /**
   * Of the keys that begin with each prefix, how many have each value of the bits that follow it: `bits` of them, above
   * the lowest `shift`. A key is a weight's float32 bits in an order that is the order of the numbers.
   */
  | {
      readonly kind: 'keys';
      readonly signed: boolean;
      readonly prefixes: readonly number[];
      readonly shift: number;
      readonly bits: number;
    };

/** Ranges that one query may hold. */
const MAX_RANGES = 128;
/** Bytes that `answerTile` needs to work in: scale, offset and sum of each range. */
export const SCRATCH_BYTES = 16 * MAX_RANGES;

/** Numbers in an answer. */
export function answerLength(query: TileQuery): number {
  switch (query.kind) {
    case 'extent':
      return 5;
    case 'errors':
      return query.scales.length;
    case 'histogram':
      return query.bins;
    case 'keys':
      return query.prefixes.length << query.bits;
  }
}

/** Whether an answer holds sums of float64, which depend on their order, and not counts, which do not. */
export const isOrdered = ({ kind }: TileQuery): boolean => kind === 'extent' || kind === 'errors';

/** Adds to an answer that of the weights which follow. */
export function addAnswer(query: TileQuery, total: Float64Array, next: Float64Array): void {
  const extremes = query.kind === 'extent' ? 2 : 0;
  if (extremes > 0) {
    total[0] = Math.min(total[0], next[0]);
    total[1] = Math.max(total[1], next[1]);
  }
  for (let i = extremes; i < total.length; i++) total[i] += next[i];
}

/** The answer for no weights. */
export function emptyAnswer(query: TileQuery): Float64Array {
  const answer = new Float64Array(answerLength(query));
  if (query.kind === 'extent') answer.set([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  return answer;
}

/** The answer for n float32 at `weights`; `scratch` are SCRATCH_BYTES of the arena. */
export function answerTile(
  query: TileQuery,
  kernels: Kernels,
  weights: number,
  n: number,
  scratch: number,
): Float64Array {
  const { buffer } = kernels;
  switch (query.kind) {
    case 'extent':
      kernels.extent(weights, n, scratch);
      return new Float64Array(buffer, scratch, 5).slice();
    case 'errors': {
      const { scales, offsets, lowest, highest } = query;
      const count = scales.length;
      const offsetsAt = scratch + 4 * MAX_RANGES;
      const sums = scratch + 8 * MAX_RANGES;
      new Float32Array(buffer, scratch, count).set(scales);
      new Float32Array(buffer, offsetsAt, count).set(offsets);
      kernels.rangeErrors(weights, n, { scales: scratch, offsets: offsetsAt, count, lowest, highest }, sums);
      return new Float64Array(buffer, sums, count).slice();
    }
    case 'histogram':
      return histogramOf(new Float32Array(buffer, weights, n), query);
    case 'keys':
      return keysOf(new Uint32Array(buffer, weights, n), query);
  }
}

function histogramOf(
  x: Float32Array,
  { signed, low, high, bins }: Extract<TileQuery, { kind: 'histogram' }>,
): Float64Array {
  const counts = new Float64Array(bins);
  const perUnit = bins / (high - low);
  for (let i = 0; i < x.length; i++) {
    const value = signed ? x[i] : Math.abs(x[i]);
    counts[Math.min(bins - 1, Math.floor((value - low) * perUnit))]++;
  }
  return counts;
}

function keysOf(
  floats: Uint32Array,
  { signed, prefixes, shift, bits }: Extract<TileQuery, { kind: 'keys' }>,
): Float64Array {
  const counts = new Float64Array(prefixes.length << bits);
  const mask = (1 << bits) - 1;
  const above = shift + bits; // 32 for the first bits, which follow an empty prefix
  prefixes.forEach((prefix, i) => {
    const base = i << bits;
    for (let k = 0; k < floats.length; k++) {
      const key = keyOf(floats[k], signed);
      if (above === 32 || key >>> above === prefix) counts[base + ((key >>> shift) & mask)]++;
    }
  });
  return counts;
}

/** Bits of a float32, or of its magnitude, in the order of the numbers: unsigned integers. */
const keyOf = (bits: number, signed: boolean): number => {
  if (!signed) return bits & 0x7fffffff;
  return bits & 0x80000000 ? ~bits >>> 0 : (bits | 0x80000000) >>> 0;
};

/** The number of a key. */
export function floatOfKey(key: number, signed: boolean): number {
  const bits = new Uint32Array([!signed ? key : key & 0x80000000 ? key & 0x7fffffff : ~key]);
  return new Float32Array(bits.buffer)[0] + 0;
}
