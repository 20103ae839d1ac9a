import type { CodedRange } from '../../core/ranges.ts';
import { codeOf } from '../format/range-codes.ts';

const f = Math.fround;

/** Four interleaved partial sums of a term of each weight, added as (0 + 1) + (2 + 3). */
function interleaved(x: Float32Array, term: (value: number) => number): number {
  const sums = [0, 0, 0, 0];
  for (let i = 0; i < x.length; i++) sums[i % 4] += term(x[i]);
  return sums[0] + sums[1] + (sums[2] + sums[3]);
}

/** Scalar twin of the extent kernel: min, max, sum x, sum |x|, sum x^2. A zero is +0. */
export const extentOf = (x: Float32Array): number[] => [
  x.reduce((least, value) => Math.min(least, value), x[0]) + 0,
  x.reduce((most, value) => Math.max(most, value), x[0]) + 0,
  interleaved(x, (value) => value),
  interleaved(x, Math.abs),
  interleaved(x, (value) => value * value),
];

/** Scalar twin of the kernel: sum of (x - q)^2, q = scale * code + offset and the difference in float32. */
export const rangeErrors = (x: Float32Array, range: CodedRange): number =>
  interleaved(x, (value) => f(value - f(f(codeOf(value, range) * range.scale) + range.offset)) ** 2);
