/** Weights to -1, 0 or 1, shared by the kernels of Q2_0 and TQ. */

/**
 * Trits of sixteen weights as signed bytes: 1 from `threshold` upward, -1 from -threshold downward, else 0.
 */
// @ts-ignore: decorator
@inline
export function trits(src: usize, threshold: v128): v128 {
  return i8x16.narrow_i16x8_s(
    i16x8.narrow_i32x4_s(trits4(src, threshold), trits4(src + 16, threshold)),
    i16x8.narrow_i32x4_s(trits4(src + 32, threshold), trits4(src + 48, threshold)),
  );
}

/** Trits of four weights as int32. A comparison that holds is -1. */
// @ts-ignore: decorator
@inline
export function trits4(src: usize, threshold: v128): v128 {
  const x = v128.load(src);
  return i32x4.sub(f32x4.le(x, f32x4.neg(threshold)), f32x4.ge(x, threshold));
}

/**
 * The smallest x > 0 for which roundf(x * inverse) is 1, where inverse is 1 / amax as rounded: comparing with it is
 * the same as multiplying and rounding each weight. Infinity, which no weight reaches, where inverse is 0 or
 * infinite (then ggml's trits are 0, be it for amax = 0 or by an overflowing conversion on x86).
 */
export function halfwayOf(inverse: f32): f32 {
  if (inverse == 0 || inverse == Infinity) return Infinity;
  // 0.5 / inverse is at most a few steps off; the product grows with x.
  let bits = reinterpret<u32>(<f32>0.5 / inverse);
  while (reinterpret<f32>(bits) * inverse < 0.5) bits++;
  while (reinterpret<f32>(bits - 1) * inverse >= 0.5) bits--;
  return reinterpret<f32>(bits);
}
