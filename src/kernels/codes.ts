import { nearestInts } from './nearest';
import { WON_INVERSES, WON_OFFSETS } from './search';

/** Codes of a super-block as bytes, between coding and packing. */
export const CODES: usize = memory.data(256, 16);

/** Four v128 of nearest_int results to 16 bytes, clamped to 0..top: the narrowings clamp at 0. */
// @ts-ignore: decorator
@inline
function clampedBytes(a: v128, b: v128, c: v128, d: v128, top: i32): v128 {
  const bytes = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
  return i8x16.min_u(bytes, i8x16.splat(<i8>top));
}

/**
 * Final codes of sub-block j (`size` float32 at x, a multiple of 16) as bytes at CODES: nearest_int((x + min) / scale),
 * or, where the stored scale came out as 0, the codes that won the search.
 */
// @ts-ignore: decorator
@inline
export function codeSubBlock(j: usize, size: usize, x: usize, scale: f32, min: f32, top: i32): void {
  const codes = CODES + j * size;
  if (scale != 0) {
    const scales = f32x4.splat(scale), mins = f32x4.splat(min);
    for (let i: usize = 0; i < size; i += 16, x += 64) {
      const a = nearestInts(f32x4.div(f32x4.add(v128.load(x), mins), scales));
      const b = nearestInts(f32x4.div(f32x4.add(v128.load(x, 16), mins), scales));
      const c = nearestInts(f32x4.div(f32x4.add(v128.load(x, 32), mins), scales));
      const d = nearestInts(f32x4.div(f32x4.add(v128.load(x, 48), mins), scales));
      v128.store(codes + i, clampedBytes(a, b, c, d, top));
    }
  } else {
    const inverse = v128.load32_splat(WON_INVERSES + (j << 2)), offset = v128.load32_splat(WON_OFFSETS + (j << 2));
    for (let i: usize = 0; i < size; i += 16, x += 64) {
      const a = nearestInts(f32x4.mul(inverse, f32x4.sub(v128.load(x), offset)));
      const b = nearestInts(f32x4.mul(inverse, f32x4.sub(v128.load(x, 16), offset)));
      const c = nearestInts(f32x4.mul(inverse, f32x4.sub(v128.load(x, 32), offset)));
      const d = nearestInts(f32x4.mul(inverse, f32x4.sub(v128.load(x, 48), offset)));
      v128.store(codes + i, clampedBytes(a, b, c, d, top));
    }
  }
}

/** scale * code - min of 16 codes, one a byte, as float32 to dst. */
// @ts-ignore: decorator
@inline
export function decode16(codes: v128, scale: v128, min: v128, dst: usize): void {
  const low = i16x8.extend_low_i8x16_u(codes), high = i16x8.extend_high_i8x16_u(codes);
  v128.store(dst, f32x4.sub(f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(low))), min));
  v128.store(dst, f32x4.sub(f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(low))), min), 16);
  v128.store(dst, f32x4.sub(f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(high))), min), 32);
  v128.store(dst, f32x4.sub(f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(high))), min), 48);
}

/** Largest of `count` float32, at least 0. */
// @ts-ignore: decorator
@inline
export function largest(at: usize, count: usize): f32 {
  let max: f32 = 0;
  for (const end = at + (count << 2); at < end; at += 4) {
    const value = load<f32>(at);
    if (value > max) max = value;
  }
  return max;
}
