/**
 * ggml's nearest_int: to nearest, half to even, by adding 1.5 * 2^23 and reading the mantissa. Beyond |v| = 4194303
 * the mantissa no longer holds the integer; what it then holds is kept, because ggml's files hold it too. 0 for NaN.
 */

/** 1.5 * 2^23: floats of this size are integers, so that adding it rounds. */
export const ROUNDER: f32 = 12582912;

/** Largest |v| for which nearestInt rounds. */
export const ROUNDER_REACH: f32 = 4194303;

/** nearest_int of four float32, as int32. */
// @ts-ignore: decorator
@inline
export function nearestInts(v: v128): v128 {
  const mantissa = v128.and(f32x4.add(v, f32x4.splat(ROUNDER)), i32x4.splat(0x7fffff));
  return i32x4.sub(mantissa, i32x4.splat(0x400000));
}

/** nearest_int of one float32. */
// @ts-ignore: decorator
@inline
export function nearestInt(v: f32): i32 {
  return (reinterpret<i32>(v + ROUNDER) & 0x7fffff) - 0x400000;
}
