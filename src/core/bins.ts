/**
 * Bins of a histogram whose range is not known before: half of them on each side of 0, together over magnitudes below
 * 2^exponent. When a larger magnitude comes the range doubles and neighbours merge, which moves no value to a wrong bin.
 */
import { floatBits } from './float.ts';

/** The least e with magnitude < 2^e, of a float32 that is not below 0; not less than -126, and 129 of what is not finite. */
export const exponentOf = (magnitude: number): number => (floatBits(magnitude) >>> 23) - 126;

/** Makes bins 2^doublings times as wide, in place; on each side there are a power of two of them. */
export function widenBins(counts: Uint32Array | Float64Array, doublings: number): void {
  if (doublings === 0) return;
  const side = counts.length / 2;
  const shift = Math.min(doublings, Math.log2(side)); // beyond, all is in the two bins at 0
  const old = counts.slice();
  counts.fill(0);
  for (let bin = -side; bin < side; bin++) counts[(bin >> shift) + side] += old[bin + side];
}
