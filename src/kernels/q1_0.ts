import { blockAt } from './group';
import { floatOfHalf, halfOf, halvesOf } from './half';

/**
 * Q1_0: 128 weights as float16 d and one bit each, set for x >= 0 (so for -0 too); x = d or -d. Must agree with
 * `quantize_row_q1_0_ref`: d is the mean of |x|, summed in float32 from the first weight to the last. Four blocks
 * are summed at a time, one a lane, which keeps that order.
 */

const scales = memory.data(16, 16); // d of the four blocks of a group as float16 bits, 4 bytes a block

/** Adds |x| of the four weights at each address to the address's own lane, first weight first. */
// @ts-ignore: decorator
@inline
function addMagnitudes(sum: v128, a: usize, b: usize, c: usize, d: usize, offset: usize): v128 {
  const xa = v128.load(a + offset);
  const xb = v128.load(b + offset);
  const xc = v128.load(c + offset);
  const xd = v128.load(d + offset);
  const abLow = v128.shuffle<i32>(xa, xb, 0, 4, 1, 5);
  const abHigh = v128.shuffle<i32>(xa, xb, 2, 6, 3, 7);
  const cdLow = v128.shuffle<i32>(xc, xd, 0, 4, 1, 5);
  const cdHigh = v128.shuffle<i32>(xc, xd, 2, 6, 3, 7);
  sum = f32x4.add(sum, f32x4.abs(v128.shuffle<i32>(abLow, cdLow, 0, 1, 4, 5)));
  sum = f32x4.add(sum, f32x4.abs(v128.shuffle<i32>(abLow, cdLow, 2, 3, 6, 7)));
  sum = f32x4.add(sum, f32x4.abs(v128.shuffle<i32>(abHigh, cdHigh, 0, 1, 4, 5)));
  return f32x4.add(sum, f32x4.abs(v128.shuffle<i32>(abHigh, cdHigh, 2, 3, 6, 7)));
}

/** Bit j is set where weight j of 16 is at least `least`. */
// @ts-ignore: decorator
@inline
function signs(src: usize, least: v128): u16 {
  const low = i16x8.narrow_i32x4_s(f32x4.ge(v128.load(src), least), f32x4.ge(v128.load(src, 16), least));
  const high = i16x8.narrow_i32x4_s(f32x4.ge(v128.load(src, 32), least), f32x4.ge(v128.load(src, 48), least));
  return <u16>i8x16.bitmask(i8x16.narrow_i16x8_s(low, high));
}

export function quantize_Q1_0(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 7; left > 0; left -= 4) {
    const count = min(left, 4);
    const b1 = blockAt(src, 1, count, 512);
    const b2 = blockAt(src, 2, count, 512);
    const b3 = blockAt(src, 3, count, 512);
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < 512; i += 16) sum = addMagnitudes(sum, src, b1, b2, b3, i);
    v128.store(scales, halvesOf(f32x4.mul(sum, f32x4.splat(1 / 128))));
    for (let k: usize = 0; k < <usize>count; k++) {
      store<u16>(dst, load<u16>(scales + (k << 2)));
      for (let i: usize = 0; i < 8; i++) store<u16>(dst + (i << 1), signs(src + (i << 6), f32x4.splat(0)), 2);
      src += 512;
      dst += 18;
    }
  }
}

/** All blocks with one scale, a float16 value; bits are set from `offset` on. */
export function quantize_Q1_0_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, _lowest: f32, _highest: f32,
): void {
  const d = halfOf(scale);
  const least = f32x4.splat(offset);
  for (const end = src + (<usize>n << 2); src < end; src += 512, dst += 18) {
    store<u16>(dst, d);
    for (let i: usize = 0; i < 8; i++) store<u16>(dst + (i << 1), signs(src + (i << 6), least), 2);
  }
}

export function dequantize_Q1_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const bits = i32x4(1, 2, 4, 8);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    const minusD = f32x4.neg(d);
    for (let i: usize = 0; i < 16; i++) {
      const byte = i32x4.splat(<i32>load<u8>(src + i, 2));
      const low = i32x4.eq(v128.and(byte, bits), bits);
      const high = i32x4.eq(v128.and(i32x4.shr_u(byte, 4), bits), bits);
      v128.store(dst + (i << 5), v128.bitselect(d, minusD, low));
      v128.store(dst + (i << 5), v128.bitselect(d, minusD, high), 16);
    }
    src += 18;
    dst += 512;
  }
}
