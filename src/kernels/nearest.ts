/**
 * Four of ggml's `nearest_int` as int32: the sum with 1.5 * 2^23 rounds half to even. Exact for |v| <=
 * 4194303; beyond (infinities, NaN) it gives the same leftover bits as ggml does.
 */
// @ts-ignore: decorator
@inline
export function nearestInt(v: v128): v128 {
  const sum = f32x4.add(v, f32x4.splat(12582912));
  return i32x4.sub(v128.and(sum, i32x4.splat(0x7fffff)), i32x4.splat(0x400000));
}
