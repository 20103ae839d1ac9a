import { floatOfHalf, floatsOfHalves, halfOf, halvesOf } from './half';

/** F32, F16 and BF16: as output types and as stored dtypes. */

export function quantize_F32(src: usize, dst: usize, n: i32): void {
  memory.copy(dst, src, (<usize>n) << 2);
}

export function dequantize_F32(src: usize, dst: usize, n: i32): void {
  memory.copy(dst, src, (<usize>n) << 2);
}

export function quantize_F16(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const low = halvesOf(v128.load(src + (<usize>i << 2)));
    const high = halvesOf(v128.load(src + (<usize>i << 2), 16));
    v128.store(dst + (<usize>i << 1), i16x8.narrow_i32x4_u(low, high));
  }
  for (; i < n; i++) store<u16>(dst + (<usize>i << 1), halfOf(load<f32>(src + (<usize>i << 2))));
}

export function dequantize_F16(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const halves = v128.load(src + (<usize>i << 1));
    v128.store(dst + (<usize>i << 2), floatsOfHalves(i32x4.extend_low_i16x8_u(halves)));
    v128.store(dst + (<usize>i << 2), floatsOfHalves(i32x4.extend_high_i16x8_u(halves)), 16);
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), floatOfHalf(load<u16>(src + (<usize>i << 1))));
}

/** `ggml_compute_fp32_to_bf16`: nearest even; a NaN is made quiet, keeping its upper bits. */
// @ts-ignore: decorator
@inline
function bfloats(x: v128): v128 {
  const upper = i32x4.shr_u(x, 16);
  const rounded = i32x4.shr_u(i32x4.add(x, i32x4.add(i32x4.splat(0x7fff), v128.and(upper, i32x4.splat(1)))), 16);
  const nan = i32x4.gt_u(v128.and(x, i32x4.splat(0x7fffffff)), i32x4.splat(0x7f800000));
  return v128.bitselect(v128.or(upper, i32x4.splat(64)), rounded, nan);
}

export function quantize_BF16(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const low = bfloats(v128.load(src + (<usize>i << 2)));
    const high = bfloats(v128.load(src + (<usize>i << 2), 16));
    v128.store(dst + (<usize>i << 1), i16x8.narrow_i32x4_u(low, high));
  }
  for (; i < n; i++) {
    const one = bfloats(f32x4.splat(load<f32>(src + (<usize>i << 2))));
    store<u16>(dst + (<usize>i << 1), <u16>i32x4.extract_lane(one, 0));
  }
}

export function dequantize_BF16(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const halves = v128.load(src + (<usize>i << 1));
    v128.store(dst + (<usize>i << 2), i32x4.shl(i32x4.extend_low_i16x8_u(halves), 16));
    v128.store(dst + (<usize>i << 2), i32x4.shl(i32x4.extend_high_i16x8_u(halves), 16), 16);
  }
  for (; i < n; i++) {
    store<u32>(dst + (<usize>i << 2), <u32>load<u16>(src + (<usize>i << 1)) << 16);
  }
}
