import { storeScaled } from './decode';
import { blockAt, finiteReciprocal, largestMagnitudes, largestOfEach } from './group';
import { floatOfHalf, halfOf, halvesOf } from './half';
import { codes16, divisorOf } from './range-codes';
import { roundAway, signedBytes } from './rounding';

/**
 * Q8_0: 32 weights as float16 d and 32 int8 codes; x = d * q. Must agree with `quantize_row_q8_0_ref`: d = max|x| / 127,
 * codes roundf(x * (1 / d)), half away from zero.
 */

// What is known of the four blocks of a group, 4 bytes a block.
const scales = memory.data(16, 16); // d as float16 bits
const inverses = memory.data(16, 16); // 1 / d, float32

/** Codes of 16 weights. */
// @ts-ignore: decorator
@inline
function codes(src: usize, inverse: v128): v128 {
  return signedBytes(
    roundAway(f32x4.mul(v128.load(src), inverse)),
    roundAway(f32x4.mul(v128.load(src, 16), inverse)),
    roundAway(f32x4.mul(v128.load(src, 32), inverse)),
    roundAway(f32x4.mul(v128.load(src, 48), inverse)),
  );
}

export function quantize_Q8_0(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 5; left > 0; left -= 4) {
    const count = min(left, 4);
    const amax = largestOfEach(
      largestMagnitudes(src, 8),
      largestMagnitudes(blockAt(src, 1, count, 128), 8),
      largestMagnitudes(blockAt(src, 2, count, 128), 8),
      largestMagnitudes(blockAt(src, 3, count, 128), 8),
    );
    const d = f32x4.div(amax, f32x4.splat(127));
    v128.store(scales, halvesOf(d));
    // Without finite reciprocal ggml's codes are 0, be it for d = 0 or by an overflowing conversion on x86.
    v128.store(inverses, finiteReciprocal(d));
    for (let k: usize = 0; k < <usize>count; k++) {
      const inverse = v128.load32_splat(inverses + (k << 2));
      store<u16>(dst, load<u16>(scales + (k << 2)));
      v128.store(dst, codes(src, inverse), 2);
      v128.store(dst, codes(src + 64, inverse), 18);
      src += 128;
      dst += 34;
    }
  }
}

/** All blocks with one scale, a float16 value. */
export function quantize_Q8_0_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, lowest: f32, highest: f32,
): void {
  const divisor = divisorOf(scale), m = f32x4.splat(offset), low = f32x4.splat(lowest), high = f32x4.splat(highest);
  const d = halfOf(scale);
  for (const end = src + (<usize>n << 2); src < end; src += 128, dst += 34) {
    store<u16>(dst, d);
    v128.store(dst, codes16(src, divisor, m, low, high), 2);
    v128.store(dst, codes16(src + 64, divisor, m, low, high), 18);
  }
}

export function dequantize_Q8_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    storeScaled(dst, v128.load(src, 2), d);
    storeScaled(dst + 64, v128.load(src, 18), d);
    src += 34;
    dst += 128;
  }
}
