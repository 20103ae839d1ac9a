import { storeScaled } from './decode';
import { largestLane, largestMagnitudes } from './group';
import { floatOfHalf, halfOf } from './half';
import { halfwayOf, trits } from './trits';

/**
 * TQ1_0 and TQ2_0: 256 weights as a float16 d and trits of -1, 0, 1; x = d * trit. By the type's own name d = max|x| and
 * trit = lroundf(x * (1 / d)), which must agree with `quantize_row_tq1_0_ref` and `quantize_row_tq2_0_ref`; over a range
 * given from outside d is that of the range, and trit = round(clip(x / d, -1, 1)), half to even, where d = 0 gives zeros.
 *
 * Both come down to one threshold a block, from which on a weight's trit is 1.
 */

function absmaxThreshold(d: f32): f32 {
  return halfwayOf(d == 0 ? 0 : <f32>1 / d);
}

/** d is a float16 value. x / d rounds to 1 exactly when x > d / 2, and d / 2 is exact in float32. */
function rangeThreshold(d: f32): f32 {
  if (d == 0 || d == Infinity) return Infinity;
  return reinterpret<f32>(reinterpret<u32>(d * <f32>0.5) + 1);
}

/** Trits 0, 1, 2 of sixteen weights. */
// @ts-ignore: decorator
@inline
function digits(src: usize, threshold: v128): v128 {
  return i8x16.add(trits(src, threshold), i8x16.splat(1));
}

// @ts-ignore: decorator
@inline
function times3(x: v128): v128 {
  return i8x16.add(x, i8x16.add(x, x));
}

/**
 * Five digits of base 3 as a fraction of 243 scaled to 256, rounded up, so that a decoder gets each digit by
 * multiplying by 3 and taking the carry: ceil(v * 256 / 243) for v of 0..242 (as (v * 256 + 242) / 243 cut off).
 */
// @ts-ignore: decorator
@inline
function fractions(v: v128): v128 {
  return i8x16.narrow_i16x8_u(fractions8(i16x8.extend_low_i8x16_u(v)), fractions8(i16x8.extend_high_i8x16_u(v)));
}

/** ceil(v * 256 / 243) is v + ceil(v * 13 / 243), and that is (v + 9) * 1756 / 2^15 rounded, for each of the 243. */
// @ts-ignore: decorator
@inline
function fractions8(v: v128): v128 {
  return i16x8.add(v, i16x8.q15mulr_sat_s(i16x8.add(v, i16x8.splat(9)), i16x8.splat(1756)));
}

/** Sixteen bytes of five trits each; the five are `stride` weights apart. */
// @ts-ignore: decorator
@inline
function fiveTrits(src: usize, stride: usize, threshold: v128): v128 {
  let v = digits(src, threshold);
  v = i8x16.add(times3(v), digits(src + (stride << 2), threshold));
  v = i8x16.add(times3(v), digits(src + (stride << 3), threshold));
  v = i8x16.add(times3(v), digits(src + stride * 12, threshold));
  v = i8x16.add(times3(v), digits(src + (stride << 4), threshold));
  return fractions(v);
}

/** 54 bytes: 32 + 16 bytes of five trits, 4 bytes of four trits, d. */
function packTQ1_0(src: usize, dst: usize, d: f32, limit: f32): void {
  const threshold = f32x4.splat(limit);
  v128.store(dst, fiveTrits(src, 32, threshold));
  v128.store(dst, fiveTrits(src + 64, 32, threshold), 16);
  v128.store(dst, fiveTrits(src + 640, 16, threshold), 32);
  // The last 16 weights: byte j of four has weights j, j + 4, j + 8, j + 12 as its upper four trits.
  const last = digits(src + 960, threshold);
  let v = last;
  v = i8x16.add(times3(v), v128.shuffle<i32>(last, last, 1, 1, 1, 1));
  v = i8x16.add(times3(v), v128.shuffle<i32>(last, last, 2, 2, 2, 2));
  v = i8x16.add(times3(v), v128.shuffle<i32>(last, last, 3, 3, 3, 3));
  store<i32>(dst, i32x4.extract_lane(fractions(times3(v)), 0), 48);
  store<u16>(dst, halfOf(d), 52);
}

/** 66 bytes: 2 x 32 bytes of four trits, 32 weights apart, the first lowest; then d. */
function packTQ2_0(src: usize, dst: usize, d: f32, limit: f32): void {
  const threshold = f32x4.splat(limit);
  for (let i: usize = 0; i < 4; i++) {
    const from = src + ((i >> 1) << 9) + ((i & 1) << 6);
    let v = digits(from + 384, threshold);
    v = v128.or(i16x8.shl(v, 2), digits(from + 256, threshold));
    v = v128.or(i16x8.shl(v, 2), digits(from + 128, threshold));
    v128.store(dst + (i << 4), v128.or(i16x8.shl(v, 2), digits(from, threshold)));
  }
  store<u16>(dst, halfOf(d), 64);
}

export function quantize_TQ1_0(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 8; left > 0; left--, src += 1024, dst += 54) {
    const d = largestLane(largestMagnitudes(src, 64));
    packTQ1_0(src, dst, d, absmaxThreshold(d));
  }
}

export function quantize_TQ2_0(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 8; left > 0; left--, src += 1024, dst += 66) {
    const d = largestLane(largestMagnitudes(src, 64));
    packTQ2_0(src, dst, d, absmaxThreshold(d));
  }
}

/** All blocks with one scale, a float16 value; offset and limits are those of trits. */
export function quantize_TQ1_0_range(
  src: usize, dst: usize, n: i32, scale: f32, _offset: f32, _lowest: f32, _highest: f32,
): void {
  const threshold = rangeThreshold(scale);
  for (const end = src + (<usize>n << 2); src < end; src += 1024, dst += 54) packTQ1_0(src, dst, scale, threshold);
}

/** All blocks with one scale, a float16 value; offset and limits are those of trits. */
export function quantize_TQ2_0_range(
  src: usize, dst: usize, n: i32, scale: f32, _offset: f32, _lowest: f32, _highest: f32,
): void {
  const threshold = rangeThreshold(scale);
  for (const end = src + (<usize>n << 2); src < end; src += 1024, dst += 66) packTQ2_0(src, dst, scale, threshold);
}

/** Upper trits of sixteen bytes: the carries of multiplying by 3. What is left of the byte is q * 3 modulo 256. */
// @ts-ignore: decorator
@inline
function carries(q: v128): v128 {
  const three = i16x8.splat(3);
  return i8x16.narrow_i16x8_u(
    i16x8.shr_u(i16x8.mul(i16x8.extend_low_i8x16_u(q), three), 8),
    i16x8.shr_u(i16x8.mul(i16x8.extend_high_i8x16_u(q), three), 8),
  );
}

export function dequantize_TQ1_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const one = i8x16.splat(1);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src, 52)));
    let a = v128.load(src), b = v128.load(src, 16), c = v128.load(src, 32);
    for (let i: usize = 0; i < 5; i++) {
      storeScaled(dst + (i << 7), i8x16.sub(carries(a), one), d);
      storeScaled(dst + (i << 7) + 64, i8x16.sub(carries(b), one), d);
      storeScaled(dst + 640 + (i << 6), i8x16.sub(carries(c), one), d);
      a = times3(a);
      b = times3(b);
      c = times3(c);
    }
    // The four bytes at the end side by side at their four stages: the trits come out in memory order.
    const q = load<u32>(src, 48);
    const q1 = times3(i32x4.splat(q));
    const q2 = times3(q1);
    const stages = v128.shuffle<i32>(
      v128.shuffle<i32>(i32x4.splat(q), q1, 0, 4, 0, 4),
      v128.shuffle<i32>(q2, times3(q2), 0, 4, 0, 4),
      0, 1, 4, 5,
    );
    storeScaled(dst + 960, i8x16.sub(carries(stages), one), d);
    src += 54;
    dst += 1024;
  }
}

export function dequantize_TQ2_0(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const three = i8x16.splat(3);
  const one = i8x16.splat(1);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src, 64)));
    for (let i: usize = 0; i < 4; i++) {
      const to = dst + ((i >> 1) << 9) + ((i & 1) << 6);
      const q = v128.load(src + (i << 4));
      storeScaled(to, i8x16.sub(v128.and(q, three), one), d);
      storeScaled(to + 128, i8x16.sub(v128.and(i16x8.shr_u(q, 2), three), one), d);
      storeScaled(to + 256, i8x16.sub(v128.and(i16x8.shr_u(q, 4), three), one), d);
      storeScaled(to + 384, i8x16.sub(v128.and(i16x8.shr_u(q, 6), three), one), d);
    }
    src += 66;
    dst += 1024;
  }
}
