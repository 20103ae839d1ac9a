import type { CodedRange } from '../../core/ranges.ts';
import { roundEven } from './rounding.ts';

const f = Math.fround;

/**
 * The code of a weight over a range: clamp(round((x - offset) / scale), lowest, highest), halves to even, each operation in
 * float32. Scale 0 gives code 0, limited.
 */
export function codeOf(x: number, { scale, offset, lowest, highest }: CodedRange): number {
  const code = scale === 0 ? 0 : roundEven(f(f(x - offset) / scale));
  return Math.max(lowest, Math.min(highest, code)) + 0;
}

/** The codes of a block over a range, as a type with codes around `middle` stores them. */
export const codesOf = (x: Float32Array, range: CodedRange, middle = 0): number[] =>
  Array.from(x, (value) => codeOf(value, range) + middle);
