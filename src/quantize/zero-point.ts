import { roundEven } from './format/rounding.ts';

/** How int8 codes stand for weights: x = (q - zeroPoint) * scale. */
export interface ZeroPoint {
  /** Step between neighbouring codes, float32. */
  readonly scale: number;
  /** The code of 0, an integer of -128 .. 127. */
  readonly zeroPoint: number;
}

const f = Math.fround;

/**
 * Scale and zero point of asymmetric int8 for weights of min .. max (float32, finite). The range is widened to contain
 * 0, which so has a code of its own: scale = (max - min) / 255, zeroPoint = round(-128 - min / scale), halves to even,
 * limited to a code. Weights that are all zero, or too small for a scale, get scale 1.
 *
 * Source: B. Jacob et al., arXiv 1712.05877, section 2.1 (with codes shifted by 128 to be signed) and 3.
 */
export function zeroPointOf(min: number, max: number): ZeroPoint {
  const low = Math.min(0, min);
  const high = Math.max(0, max);
  const scale = f((high - low) / 255) || 1;
  return { scale, zeroPoint: Math.max(-128, Math.min(127, roundEven(-128 - low / scale))) };
}

/** Codes of a float32 range: q = clamp(round(x / scale) + zeroPoint, -128, 127), halves to even. */
export function encodeZeroPoint(x: Float32Array, q: Int8Array, { scale, zeroPoint }: ZeroPoint): void {
  for (let i = 0; i < x.length; i++) {
    q[i] = Math.max(-128, Math.min(127, roundEven(f(x[i] / scale)) + zeroPoint));
  }
}

/** What the codes stand for: (q - zeroPoint) * scale. */
export function decodeZeroPoint(q: Int8Array, x: Float32Array, { scale, zeroPoint }: ZeroPoint): void {
  for (let i = 0; i < q.length; i++) x[i] = (q[i] - zeroPoint) * scale;
}

/** Smallest and largest weight of a range that is not empty; a zero is +0. */
export function rangeOf(x: Float32Array): [min: number, max: number] {
  let [min, max] = [x[0], x[0]];
  for (const value of x) {
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  return [min + 0, max + 0];
}
