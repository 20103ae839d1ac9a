import { fifthBits, storeScaled } from './decode';
import { blockAt, finiteReciprocal, firstOfMagnitude, largestOfEach, smallestOfEach } from './group';
import { floatOfHalf, halvesOf } from './half';
import { unsignedBytes } from './rounding';

/**
 * Q4_0 and Q5_0: 32 weights as float16 d and unsigned codes around a middle of 8 or 16; x = d * (q - middle). Full
 * range with a signed scale: the weight of largest magnitude (the first of equals) gets code 0, so d is that weight
 * / -middle. Must agree with `quantize_row_q4_0_ref` and `quantize_row_q5_0_ref`.
 */

// What `scaleGroup` leaves for the four blocks of a group, 4 bytes a block.
const scales = memory.data(16, 16); // d as float16 bits
const inverses = memory.data(16, 16); // what weights are multiplied by, float32
const offsets = memory.data(16, 16); // what is added before cutting off the fraction, float32

function scaleGroup(src: usize, count: i32, middle: f32): void {
  const b1 = blockAt(src, 1, count, 128);
  const b2 = blockAt(src, 2, count, 128);
  const b3 = blockAt(src, 3, count, 128);
  const high = largestOfEach(largest(src), largest(b1), largest(b2), largest(b3));
  const low = smallestOfEach(smallest(src), smallest(b1), smallest(b2), smallest(b3));
  const opposite = f32x4.neg(low);
  let peak = v128.bitselect(high, low, f32x4.gt(high, opposite));

  // Both signs reach the largest magnitude, or the block is zero (which ggml's search leaves at +0).
  const tied = i32x4.bitmask(f32x4.eq(high, opposite));
  if (tied != 0) {
    v128.store(inverses, peak);
    for (let k = 0; k < 4; k++) {
      if (((tied >> k) & 1) == 0) continue;
      const lane = inverses + (<usize>k << 2);
      const magnitude = abs(load<f32>(lane));
      store<f32>(lane, magnitude == 0 ? 0 : firstOfMagnitude(blockAt(src, k, count, 128), magnitude));
    }
    peak = v128.load(inverses);
  }

  const d = f32x4.div(peak, f32x4.splat(-middle));
  const inverse = finiteReciprocal(d);
  // A d without finite reciprocal: ggml's codes are then 0 (an overflowing conversion on x86), unless d itself is 0.
  const lost = v128.andnot(f32x4.eq(inverse, f32x4.splat(0)), f32x4.eq(d, f32x4.splat(0)));
  v128.store(scales, halvesOf(d));
  v128.store(inverses, inverse);
  v128.store(offsets, v128.bitselect(f32x4.splat(0), f32x4.splat(middle + 0.5), lost));
}

/** Largest weights of a block, lane by lane, or +0. */
// @ts-ignore: decorator
@inline
function largest(src: usize): v128 {
  let a = f32x4.pmax(f32x4.splat(0), v128.load(src));
  let b = f32x4.pmax(f32x4.splat(0), v128.load(src, 16));
  for (let i: usize = 32; i < 128; i += 32) {
    a = f32x4.pmax(a, v128.load(src + i));
    b = f32x4.pmax(b, v128.load(src + i, 16));
  }
  return f32x4.pmax(a, b);
}

/** Smallest weights of a block, lane by lane, or +0. */
// @ts-ignore: decorator
@inline
function smallest(src: usize): v128 {
  let a = f32x4.pmin(f32x4.splat(0), v128.load(src));
  let b = f32x4.pmin(f32x4.splat(0), v128.load(src, 16));
  for (let i: usize = 32; i < 128; i += 32) {
    a = f32x4.pmin(a, v128.load(src + i));
    b = f32x4.pmin(b, v128.load(src + i, 16));
  }
  return f32x4.pmin(a, b);
}

/** Codes of 16 weights as bytes, not yet limited from above: at most 2 * middle. */
// @ts-ignore: decorator
@inline
function codes(src: usize, inverse: v128, offset: v128): v128 {
  return unsignedBytes(
    f32x4.floor(f32x4.add(f32x4.mul(v128.load(src), inverse), offset)),
    f32x4.floor(f32x4.add(f32x4.mul(v128.load(src, 16), inverse), offset)),
    f32x4.floor(f32x4.add(f32x4.mul(v128.load(src, 32), inverse), offset)),
    f32x4.floor(f32x4.add(f32x4.mul(v128.load(src, 48), inverse), offset)),
  );
}

export function quantize_Q4_0(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 5; left > 0; left -= 4) {
    const count = min(left, 4);
    scaleGroup(src, count, 8);
    for (let k: usize = 0; k < <usize>count; k++) {
      const inverse = v128.load32_splat(inverses + (k << 2));
      const offset = v128.load32_splat(offsets + (k << 2));
      const low = i8x16.min_u(codes(src, inverse, offset), i8x16.splat(15));
      const high = i8x16.min_u(codes(src + 64, inverse, offset), i8x16.splat(15));
      store<u16>(dst, load<u16>(scales + (k << 2)));
      v128.store(dst, v128.or(low, i16x8.shl(high, 4)), 2);
      src += 128;
      dst += 18;
    }
  }
}

export function dequantize_Q4_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    const q = v128.load(src, 2);
    storeScaled(dst, i8x16.sub(v128.and(q, i8x16.splat(15)), i8x16.splat(8)), d);
    storeScaled(dst + 64, i8x16.sub(v128.and(i16x8.shr_u(q, 4), i8x16.splat(15)), i8x16.splat(8)), d);
    src += 18;
    dst += 128;
  }
}

export function quantize_Q5_0(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 5; left > 0; left -= 4) {
    const count = min(left, 4);
    scaleGroup(src, count, 16);
    for (let k: usize = 0; k < <usize>count; k++) {
      const inverse = v128.load32_splat(inverses + (k << 2));
      const offset = v128.load32_splat(offsets + (k << 2));
      const low = i8x16.min_u(codes(src, inverse, offset), i8x16.splat(31));
      const high = i8x16.min_u(codes(src + 64, inverse, offset), i8x16.splat(31));
      const nibbles = v128.or(v128.and(low, i8x16.splat(15)), i16x8.shl(v128.and(high, i8x16.splat(15)), 4));
      store<u16>(dst, load<u16>(scales + (k << 2)));
      store<u16>(dst, <u16>i8x16.bitmask(i16x8.shl(low, 3)), 2);
      store<u16>(dst, <u16>i8x16.bitmask(i16x8.shl(high, 3)), 4);
      v128.store(dst, nibbles, 6);
      src += 128;
      dst += 22;
    }
  }
}

export function dequantize_Q5_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    const q = v128.load(src, 6);
    const low = v128.or(v128.and(q, i8x16.splat(15)), fifthBits(load<u16>(src, 2)));
    const high = v128.or(v128.and(i16x8.shr_u(q, 4), i8x16.splat(15)), fifthBits(load<u16>(src, 4)));
    storeScaled(dst, i8x16.sub(low, i8x16.splat(16)), d);
    storeScaled(dst + 64, i8x16.sub(high, i8x16.splat(16)), d);
    src += 22;
    dst += 128;
  }
}
