/** Float16 conversions shared by the kernels. */

/**
 * Four float32 to four float16 in the low half of each lane. Agrees with `ggml_compute_fp32_to_fp16`: the scaling
 * trick (multiply by 2^112, then by 2^-110) rounds to nearest even by the adder itself.
 */
// @ts-ignore: decorator
@inline
export function halvesOf(x: v128): v128 {
  const bits = x;
  const shifted = i32x4.shl(bits, 1); // exponent and mantissa, sign dropped
  const sign = v128.and(bits, i32x4.splat(0x80000000));
  let base = f32x4.mul(f32x4.mul(f32x4.abs(x), f32x4.splat(reinterpret<f32>(0x77800000))), f32x4.splat(reinterpret<f32>(0x08800000)));
  let bias = v128.and(shifted, i32x4.splat(0xff000000));
  bias = i32x4.max_u(bias, i32x4.splat(0x71000000));
  base = f32x4.add(i32x4.add(i32x4.shr_u(bias, 1), i32x4.splat(0x07800000)), base);
  const exponent = v128.and(i32x4.shr_u(base, 13), i32x4.splat(0x7c00));
  const mantissa = v128.and(base, i32x4.splat(0x0fff));
  const nan = i32x4.gt_u(shifted, i32x4.splat(0xff000000));
  const magnitude = v128.bitselect(i32x4.splat(0x7e00), i32x4.add(exponent, mantissa), nan);
  return v128.or(i32x4.shr_u(sign, 16), magnitude);
}

/** One float32 to float16 bits, as `halvesOf`. */
// @ts-ignore: decorator
@inline
export function halfOf(x: f32): u16 {
  return <u16>i32x4.extract_lane(halvesOf(f32x4.splat(x)), 0);
}

/** As `halfOf`; a NaN becomes the one that x86 makes of inf / inf or 0 / 0, on every processor. */
// @ts-ignore: decorator
@inline
export function halfOfQuotient(x: f32): u16 {
  return x == x ? halfOf(x) : 0xfe00;
}

/** float16 bits in the low half of each lane (upper half zero) to float32, as `ggml_compute_fp16_to_fp32`. */
// @ts-ignore: decorator
@inline
export function floatsOfHalves(h: v128): v128 {
  const w = i32x4.shl(h, 16);
  const sign = v128.and(w, i32x4.splat(0x80000000));
  const twice = i32x4.add(w, w);
  const normal = f32x4.mul(
    i32x4.add(i32x4.shr_u(twice, 4), i32x4.splat(0x70000000)),
    f32x4.splat(reinterpret<f32>(0x07800000)),
  );
  const subnormal = f32x4.sub(
    v128.or(i32x4.shr_u(twice, 17), i32x4.splat(0x3f000000)),
    f32x4.splat(0.5),
  );
  const small = i32x4.lt_u(twice, i32x4.splat(0x08000000));
  return v128.or(sign, v128.bitselect(subnormal, normal, small));
}

/** float16 bits to float32, as `floatsOfHalves`: a scale is nearly always a normal number. */
// @ts-ignore: decorator
@inline
export function floatOfHalf(h: u16): f32 {
  const magnitude = <u32>h & 0x7fff;
  if (magnitude - 0x0400 < 0x7800) {
    return reinterpret<f32>(((<u32>h & 0x8000) << 16) | ((magnitude << 13) + 0x38000000));
  }
  return f32x4.extract_lane(floatsOfHalves(i32x4.splat(<i32>h)), 0);
}
