/**
 * c + a b in four lanes. The strict build rounds the product and then the sum, so that its numbers are the same on every
 * machine; the relaxed build leaves it to the processor whether the product is rounded (one instruction where there is one).
 */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(c, f32x4.mul(a, b));
}
