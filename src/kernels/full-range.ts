import { fifthBits, storeScaled } from './decode';
import { blockAt, finiteReciprocal, firstOfMagnitude, largestOfEach, smallestOfEach } from './group';
import { floatOfHalf, halfOf, halfOfQuotient, halvesOf } from './half';
import { sumOfSquares } from './importance';
import { interleave } from './lanes';
import { codesAround, levelsByProduct } from './levels';
import { codes16, divisorOf } from './range-codes';
import { unsignedBytes } from './rounding';
import { searchSymmetric, weighByImportance, WEIGHTS, XS } from './symmetric';

/**
 * Q4_0 and Q5_0: 32 weights as float16 d and unsigned codes around a middle of 8 or 16; x = d * (q - middle). Full
 * range with a signed scale: the weight of largest magnitude (the first of equals) gets code 0, so d is that weight
 * / -middle. Must agree with `quantize_row_q4_0_ref` and `quantize_row_q5_0_ref`; under importance, where d is
 * searched, with `quantize_row_q4_0_impl` and `quantize_row_q5_0_impl`.
 */

// What `scaleGroup` (or `searchGroup`) leaves for the four blocks of a group, 4 bytes a block.
const scales = memory.data(16, 16); // d as float16 bits (float32)
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

/** Writes a Q4_0 block: d as float16 bits, the codes of the first 16 weights and of the others. */
// @ts-ignore: decorator
@inline
function store4(dst: usize, d: u16, low: v128, high: v128): void {
  store<u16>(dst, d);
  v128.store(dst, v128.or(low, i16x8.shl(high, 4)), 2);
}

/** Writes a Q5_0 block. */
// @ts-ignore: decorator
@inline
function store5(dst: usize, d: u16, low: v128, high: v128): void {
  const nibbles = v128.or(v128.and(low, i8x16.splat(15)), i16x8.shl(v128.and(high, i8x16.splat(15)), 4));
  store<u16>(dst, d);
  store<u16>(dst, <u16>i8x16.bitmask(i16x8.shl(low, 3)), 2);
  store<u16>(dst, <u16>i8x16.bitmask(i16x8.shl(high, 3)), 4);
  v128.store(dst, nibbles, 6);
}

/** Scales (float32) and inverses of a group of up to four blocks of a row, searched under importance. */
function searchGroup(src: usize, importance: usize, count: i32, middle: f32, variance: f32): void {
  interleave(src, blockAt(src, 1, count, 128), blockAt(src, 2, count, 128), blockAt(src, 3, count, 128), 32, XS);
  interleave(
    importance,
    blockAt(importance, 1, count, 128),
    blockAt(importance, 2, count, 128),
    blockAt(importance, 3, count, 128),
    32,
    WEIGHTS,
  );
  weighByImportance(32, f32x4.splat(variance));
  searchSymmetric(32, middle, scales, inverses);
}

/** Codes of 16 weights under the inverse scale that won the search; 0 for a block of zeros, which has none. */
// @ts-ignore: decorator
@inline
function searchedCodes(x: usize, inverse: f32, middle: i8): v128 {
  return inverse != 0 ? codesAround(middle, levelsByProduct(x, inverse)) : i8x16.splat(0);
}

export function quantize_Q4_0_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    const variance = sumOfSquares(src, rowLength) / <f32>rowLength;
    let columns = importance;
    for (let left = rowLength >> 5; left > 0; left -= 4, columns += 512) {
      const count = min(left, 4);
      searchGroup(src, columns, count, 8, variance);
      for (let k: usize = 0; k < <usize>count; k++, src += 128, dst += 18) {
        const inverse = load<f32>(inverses + (k << 2));
        const d = halfOfQuotient(load<f32>(scales + (k << 2)));
        store4(dst, d, searchedCodes(src, inverse, 8), searchedCodes(src + 64, inverse, 8));
      }
    }
  }
}

export function quantize_Q5_0_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    const variance = sumOfSquares(src, rowLength) / <f32>rowLength;
    let columns = importance;
    for (let left = rowLength >> 5; left > 0; left -= 4, columns += 512) {
      const count = min(left, 4);
      searchGroup(src, columns, count, 16, variance);
      for (let k: usize = 0; k < <usize>count; k++, src += 128, dst += 22) {
        const inverse = load<f32>(inverses + (k << 2));
        const d = halfOfQuotient(load<f32>(scales + (k << 2)));
        store5(dst, d, searchedCodes(src, inverse, 16), searchedCodes(src + 64, inverse, 16));
      }
    }
  }
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
      store4(dst, load<u16>(scales + (k << 2)), low, high);
      src += 128;
      dst += 18;
    }
  }
}

/** All blocks with one scale, a float16 value. */
export function quantize_Q4_0_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, lowest: f32, highest: f32,
): void {
  const divisor = divisorOf(scale), m = f32x4.splat(offset), low = f32x4.splat(lowest), high = f32x4.splat(highest);
  const d = halfOf(scale);
  const middle = i8x16.splat(8);
  for (const end = src + (<usize>n << 2); src < end; src += 128, dst += 18) {
    const first = i8x16.add(codes16(src, divisor, m, low, high), middle);
    store4(dst, d, first, i8x16.add(codes16(src + 64, divisor, m, low, high), middle));
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
      store5(dst, load<u16>(scales + (k << 2)), low, high);
      src += 128;
      dst += 22;
    }
  }
}

/** All blocks with one scale, a float16 value. */
export function quantize_Q5_0_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, lowest: f32, highest: f32,
): void {
  const divisor = divisorOf(scale), m = f32x4.splat(offset), low = f32x4.splat(lowest), high = f32x4.splat(highest);
  const d = halfOf(scale);
  const middle = i8x16.splat(16);
  for (const end = src + (<usize>n << 2); src < end; src += 128, dst += 22) {
    const first = i8x16.add(codes16(src, divisor, m, low, high), middle);
    store5(dst, d, first, i8x16.add(codes16(src + 64, divisor, m, low, high), middle));
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
