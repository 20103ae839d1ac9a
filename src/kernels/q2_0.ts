import { storeScaled } from './decode';
import { largestLane, largestMagnitudes } from './group';
import { floatOfHalf, halfOf } from './half';
import { halfwayOf, trits4 } from './trits';

/**
 * Q2_0: 64 weights as float16 d and two bits each, four weights a byte, the first lowest; x = d * (q - 1). Must agree
 * with `quantize_row_q2_0_ref`: d = max|x|, so codes are 0, 1 and 2 only, roundf(x * (1 / d)) + 1.
 */

/** Bytes of 16 weights, 85 (a code of 1 four times) subtracted from each, as int32. */
// @ts-ignore: decorator
@inline
function bytesOf16(src: usize, threshold: v128): v128 {
  const one = i16x8(1, 4, 1, 4, 1, 4, 1, 4); // pairs of codes to half bytes
  const two = i16x8(1, 16, 1, 16, 1, 16, 1, 16); // pairs of half bytes to bytes
  const low = i16x8.narrow_i32x4_s(trits4(src, threshold), trits4(src + 16, threshold));
  const high = i16x8.narrow_i32x4_s(trits4(src + 32, threshold), trits4(src + 48, threshold));
  return i32x4.dot_i16x8_s(
    i16x8.narrow_i32x4_s(i32x4.dot_i16x8_s(low, one), i32x4.dot_i16x8_s(high, one)),
    two,
  );
}

export function quantize_Q2_0(src: usize, dst: usize, n: i32): void {
  const end = src + (<usize>n << 2);
  while (src < end) {
    const d = largestLane(largestMagnitudes(src, 16));
    const inverse = d > 0 ? <f32>1 / d : 0;
    store<u16>(dst, halfOf(d));
    if (inverse == Infinity) {
      v128.store(dst, i8x16.splat(0), 2); // ggml's conversion overflows on x86 and every code is limited to 0
    } else {
      const threshold = f32x4.splat(halfwayOf(inverse));
      const low = i16x8.narrow_i32x4_s(bytesOf16(src, threshold), bytesOf16(src + 64, threshold));
      const high = i16x8.narrow_i32x4_s(bytesOf16(src + 128, threshold), bytesOf16(src + 192, threshold));
      const middle = i16x8.splat(85);
      v128.store(dst, i8x16.narrow_i16x8_u(i16x8.add(low, middle), i16x8.add(high, middle)), 2);
    }
    src += 256;
    dst += 18;
  }
}

export function dequantize_Q2_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const three = i8x16.splat(3);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    for (let i: usize = 0; i < 16; i += 4) {
      // Four bytes, each repeated four times; then byte lane j keeps bits 2 * (j % 4) and up.
      const four = v128.load32_zero(src + i, 2);
      const spread = v128.swizzle(four, i8x16(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
      const even = v128.bitselect(i16x8.shr_u(spread, 4), spread, i32x4.splat(0xffff0000));
      const q = v128.bitselect(i16x8.shr_u(even, 2), even, i32x4.splat(0xff00ff00));
      storeScaled(dst + (i << 4), i8x16.sub(v128.and(q, three), i8x16.splat(1)), d);
    }
    src += 18;
    dst += 256;
  }
}
