import { floatOfHalf, halfOf } from './half';

/**
 * Q8_0: 32 weights as float16 d and 32 int8 codes; x = d * q. Must agree with `quantize_row_q8_0_ref`: d = max|x| / 127,
 * codes roundf(x / d), half away from zero.
 */

/** roundf: to nearest, half away from zero, exact for |x| < 2^22. */
// @ts-ignore: decorator
@inline
function roundAway(x: v128): v128 {
  // trunc(x + copysign(prev(0.5), x)) equals roundf on this range: prev(0.5) keeps 0.49999997 from rounding up.
  const half = v128.or(v128.and(x, i32x4.splat(0x80000000)), i32x4.splat(0x3effffff));
  return i32x4.trunc_sat_f32x4_s(f32x4.add(x, half));
}

export function quantize_Q8_0(src: usize, dst: usize, n: i32): void {
  const end = src + (<usize>n << 2);
  while (src < end) {
    const x0 = v128.load(src), x1 = v128.load(src, 16), x2 = v128.load(src, 32), x3 = v128.load(src, 48);
    const x4 = v128.load(src, 64), x5 = v128.load(src, 80), x6 = v128.load(src, 96), x7 = v128.load(src, 112);
    let m = f32x4.pmax(f32x4.splat(0), f32x4.abs(x0));
    m = f32x4.pmax(m, f32x4.abs(x1));
    m = f32x4.pmax(m, f32x4.abs(x2));
    m = f32x4.pmax(m, f32x4.abs(x3));
    m = f32x4.pmax(m, f32x4.abs(x4));
    m = f32x4.pmax(m, f32x4.abs(x5));
    m = f32x4.pmax(m, f32x4.abs(x6));
    m = f32x4.pmax(m, f32x4.abs(x7));
    m = f32x4.pmax(m, v128.shuffle<i32>(m, m, 2, 3, 0, 1));
    m = f32x4.pmax(m, v128.shuffle<i32>(m, m, 1, 0, 3, 2));
    const d = f32x4.extract_lane(m, 0) / <f32>127;
    // A subnormal d has no finite reciprocal; ggml's codes are then 0 (an overflowing conversion on x86).
    const reciprocal = <f32>1 / d;
    const inverse = f32x4.splat(reciprocal < <f32>Infinity ? reciprocal : 0);
    store<u16>(dst, halfOf(d));
    const low = i8x16.narrow_i16x8_s(
      i16x8.narrow_i32x4_s(roundAway(f32x4.mul(x0, inverse)), roundAway(f32x4.mul(x1, inverse))),
      i16x8.narrow_i32x4_s(roundAway(f32x4.mul(x2, inverse)), roundAway(f32x4.mul(x3, inverse))),
    );
    const high = i8x16.narrow_i16x8_s(
      i16x8.narrow_i32x4_s(roundAway(f32x4.mul(x4, inverse)), roundAway(f32x4.mul(x5, inverse))),
      i16x8.narrow_i32x4_s(roundAway(f32x4.mul(x6, inverse)), roundAway(f32x4.mul(x7, inverse))),
    );
    v128.store(dst, low, 2);
    v128.store(dst, high, 18);
    src += 128;
    dst += 34;
  }
}

export function dequantize_Q8_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    for (let i: usize = 0; i < 32; i += 8) {
      const codes = v128.load8x8_s(src + 2 + i);
      v128.store(dst + (i << 2), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes)), d));
      v128.store(dst + (i << 2), f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(codes)), d), 16);
    }
    src += 34;
    dst += 128;
  }
}
