/** Rounding float lanes to codes, shared by the kernels. */

/**
 * C's roundf: to nearest, half away from zero, as floats that hold integers. Exact for |x| < 2^22: the largest float
 * below 0.5 is added instead of 0.5, so that 0.49999997 stays 0; at 0.5 the adder itself rounds up to 1.
 */
// @ts-ignore: decorator
@inline
export function roundAway(x: v128): v128 {
  const half = v128.or(v128.and(x, i32x4.splat(0x80000000)), i32x4.splat(0x3effffff));
  return f32x4.trunc(f32x4.add(x, half));
}

/**
 * Floats that hold integers, |x| <= 2^22, as int32. Adding 1.5 * 2^23 puts the integer into the mantissa's low bits:
 * two operations where the saturating conversion takes seven on x86.
 */
// @ts-ignore: decorator
@inline
export function integers(x: v128): v128 {
  return i32x4.sub(f32x4.add(x, f32x4.splat(12582912)), i32x4.splat(0x4b400000));
}

/** Sixteen floats that hold integers of 0..255 as bytes. */
// @ts-ignore: decorator
@inline
export function unsignedBytes(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_u(
    i16x8.narrow_i32x4_s(integers(a), integers(b)),
    i16x8.narrow_i32x4_s(integers(c), integers(d)),
  );
}

/** Sixteen floats that hold integers of -128..127 as bytes. */
// @ts-ignore: decorator
@inline
export function signedBytes(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_s(
    i16x8.narrow_i32x4_s(integers(a), integers(b)),
    i16x8.narrow_i32x4_s(integers(c), integers(d)),
  );
}
