import { floatOfHalf, floatsOfHalves } from './half';

/**
 * Dtypes that are only read: stored numbers to float32, rounded once, to nearest even. n may be any count.
 */

export function dequantize_F64(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const from = src + (<usize>i << 3);
    const low = f32x4.demote_f64x2_zero(v128.load(from));
    const high = f32x4.demote_f64x2_zero(v128.load(from, 16));
    v128.store(dst + (<usize>i << 2), v128.shuffle<i64>(low, high, 0, 2));
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<f64>(src + (<usize>i << 3)));
}

/**
 * Four OCP FP8 E4M3 numbers, one a lane: sign, exponent of 4 bits and bias 7, mantissa of 3 bits. There is no
 * infinity; 0x7f and 0xff are NaN.
 */
// @ts-ignore: decorator
@inline
function floatsOfE4M3(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7f));
  const normal = i32x4.add(i32x4.shl(magnitude, 20), i32x4.splat(0x3c000000)); // bias 7 to 127
  const subnormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(1 / 512));
  const value = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, i32x4.splat(8)));
  const nan = v128.and(i32x4.eq(magnitude, i32x4.splat(0x7f)), i32x4.splat(0x7fc00000));
  return v128.or(v128.or(value, nan), i32x4.shl(v128.xor(x, magnitude), 24));
}

export function dequantize_F8_E4M3(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const x = v128.load8x8_u(src + <usize>i);
    v128.store(dst + (<usize>i << 2), floatsOfE4M3(i32x4.extend_low_i16x8_u(x)));
    v128.store(dst + (<usize>i << 2), floatsOfE4M3(i32x4.extend_high_i16x8_u(x)), 16);
  }
  for (; i < n; i++) {
    const one = floatsOfE4M3(i32x4.splat(<i32>load<u8>(src + <usize>i)));
    store<f32>(dst + (<usize>i << 2), f32x4.extract_lane(one, 0));
  }
}

/** OCP FP8 E5M2 is the upper byte of a float16. */
export function dequantize_F8_E5M2(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const x = i16x8.shl(v128.load8x8_u(src + <usize>i), 8);
    v128.store(dst + (<usize>i << 2), floatsOfHalves(i32x4.extend_low_i16x8_u(x)));
    v128.store(dst + (<usize>i << 2), floatsOfHalves(i32x4.extend_high_i16x8_u(x)), 16);
  }
  for (; i < n; i++) {
    store<f32>(dst + (<usize>i << 2), floatOfHalf(<u16>load<u8>(src + <usize>i) << 8));
  }
}

export function dequantize_I8(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const x = v128.load8x8_s(src + <usize>i);
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(x)));
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(x)), 16);
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<i8>(src + <usize>i));
}

export function dequantize_U8(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const x = v128.load8x8_u(src + <usize>i);
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(x)));
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(x)), 16);
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<u8>(src + <usize>i));
}

/** False is 0; every other byte is true, 1. */
export function dequantize_BOOL(src: usize, dst: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>i32(load<u8>(src + <usize>i) != 0));
}

export function dequantize_I16(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(v128.load16x4_s(src + (<usize>i << 1))));
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<i16>(src + (<usize>i << 1)));
}

export function dequantize_U16(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(v128.load16x4_u(src + (<usize>i << 1))));
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<u16>(src + (<usize>i << 1)));
}

export function dequantize_I32(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_s(v128.load(src + (<usize>i << 2))));
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<i32>(src + (<usize>i << 2)));
}

export function dequantize_U32(src: usize, dst: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(dst + (<usize>i << 2), f32x4.convert_i32x4_u(v128.load(src + (<usize>i << 2))));
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<u32>(src + (<usize>i << 2)));
}

export function dequantize_I64(src: usize, dst: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<i64>(src + (<usize>i << 3)));
}

export function dequantize_U64(src: usize, dst: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(dst + (<usize>i << 2), <f32>load<u64>(src + (<usize>i << 3)));
}
