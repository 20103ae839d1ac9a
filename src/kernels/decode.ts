/** Codes back to weights, shared by the kernels. */

/** Sixteen signed bytes q to sixteen float32 q * d. */
// @ts-ignore: decorator
@inline
export function storeScaled(dst: usize, q: v128, d: v128): void {
  const low = i16x8.extend_low_i8x16_s(q);
  const high = i16x8.extend_high_i8x16_s(q);
  v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), d));
  v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), d), 16);
  v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), d), 32);
  v128.store(dst, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), d), 48);
}

/** Sixteen signed bytes q to sixteen float32 q * d + m, rounded after the product and after the sum. */
// @ts-ignore: decorator
@inline
export function storeAffine(dst: usize, q: v128, d: v128, m: v128): void {
  const low = i16x8.extend_low_i8x16_s(q);
  const high = i16x8.extend_high_i8x16_s(q);
  v128.store(dst, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), d), m));
  v128.store(dst, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), d), m), 16);
  v128.store(dst, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), d), m), 32);
  v128.store(dst, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), d), m), 48);
}

/**
 * The fifth bits of sixteen codes: byte j of the result is 16 where bit j of `bits` is set, else 0.
 */
// @ts-ignore: decorator
@inline
export function fifthBits(bits: u32): v128 {
  // Byte 0 of `bits` to the first eight lanes, byte 1 to the others; then lane j keeps bit j % 8.
  const spread = i64x2.replace_lane(
    i64x2.splat(<i64>(<u64>(bits & 0xff) * 0x0101010101010101)),
    1,
    <i64>(<u64>((bits >> 8) & 0xff) * 0x0101010101010101),
  );
  const own = i64x2.splat(<i64>0x8040201008040201);
  return v128.and(i8x16.eq(v128.and(spread, own), own), i8x16.splat(16));
}
