import { CODES, codeSubBlock } from './codes';
import { fifthBits, storeAffine } from './decode';
import { blockAt, finiteReciprocal, firstOfMagnitude, largestOfEach, smallestOfEach } from './group';
import { floatOfHalf, halfOf, halvesOf } from './half';
import { sumOfSquares } from './importance';
import { interleave } from './lanes';
import { codes16, divisorOf } from './range-codes';
import { unsignedBytes } from './rounding';
import { GROUP, LANES, MINS, SCALES, search, weighByImportance, WEIGHTS } from './search';

/**
 * Q4_1 and Q5_1: 32 weights as float16 d, float16 minimum m and codes of 0..15 or 0..31; x = d * q + m with
 * d = (max - min) / 15 or 31. Must agree with `quantize_row_q4_1_ref` and `quantize_row_q5_1_ref`; under importance,
 * where d and m are searched, with `quantize_row_q4_1_impl` and `quantize_row_q5_1_impl`.
 */

// What `scaleGroup` leaves for the four blocks of a group, 4 bytes a block.
const scales = memory.data(16, 16); // d as float16 bits
const minima16 = memory.data(16, 16); // m as float16 bits
const minima = memory.data(16, 16); // what is subtracted from the weights, float32
const inverses = memory.data(16, 16); // 1 / d, float32

function scaleGroup(src: usize, count: i32, steps: f32): void {
  const b1 = blockAt(src, 1, count, 128);
  const b2 = blockAt(src, 2, count, 128);
  const b3 = blockAt(src, 3, count, 128);
  const high = largestOfEach(largest(src), largest(b1), largest(b2), largest(b3));
  let low = smallestOfEach(smallest(src), smallest(b1), smallest(b2), smallest(b3));

  // A minimum of zero has the sign of the block's first zero.
  const zero = i32x4.bitmask(f32x4.eq(low, f32x4.splat(0)));
  if (zero != 0) {
    v128.store(minima, low);
    for (let k = 0; k < 4; k++) {
      if (((zero >> k) & 1) == 0) continue;
      store<f32>(minima + (<usize>k << 2), firstOfMagnitude(blockAt(src, k, count, 128), 0));
    }
    low = v128.load(minima);
  }

  const d = f32x4.div(f32x4.sub(high, low), f32x4.splat(steps));
  v128.store(scales, halvesOf(d));
  v128.store(minima16, halvesOf(low));
  // Without finite reciprocal ggml's codes are 0, be it for d = 0 or by an overflowing conversion on x86. So they are
  // for a range beyond float32, where subtracting 0 instead of the minimum keeps inf * 0 away.
  v128.store(inverses, finiteReciprocal(d));
  v128.store(minima, v128.and(low, f32x4.lt(d, f32x4.splat(Infinity))));
}

// @ts-ignore: decorator
@inline
function largest(src: usize): v128 {
  let a = v128.load(src);
  let b = v128.load(src, 16);
  for (let i: usize = 32; i < 128; i += 32) {
    a = f32x4.pmax(a, v128.load(src + i));
    b = f32x4.pmax(b, v128.load(src + i, 16));
  }
  return f32x4.pmax(a, b);
}

// @ts-ignore: decorator
@inline
function smallest(src: usize): v128 {
  let a = v128.load(src);
  let b = v128.load(src, 16);
  for (let i: usize = 32; i < 128; i += 32) {
    a = f32x4.pmin(a, v128.load(src + i));
    b = f32x4.pmin(b, v128.load(src + i, 16));
  }
  return f32x4.pmin(a, b);
}

/** Codes of four weights as floats. */
// @ts-ignore: decorator
@inline
function code(x: v128, minimum: v128, inverse: v128): v128 {
  return f32x4.floor(f32x4.add(f32x4.mul(f32x4.sub(x, minimum), inverse), f32x4.splat(0.5)));
}

/** Codes of 16 weights as bytes. */
// @ts-ignore: decorator
@inline
function codes(src: usize, minimum: v128, inverse: v128): v128 {
  return unsignedBytes(
    code(v128.load(src), minimum, inverse),
    code(v128.load(src, 16), minimum, inverse),
    code(v128.load(src, 32), minimum, inverse),
    code(v128.load(src, 48), minimum, inverse),
  );
}

/** Writes a Q4_1 block: d and m as float16 bits, the codes of the first 16 weights and of the others. */
// @ts-ignore: decorator
@inline
function store4(dst: usize, d: u16, m: u16, low: v128, high: v128): void {
  store<u16>(dst, d);
  store<u16>(dst, m, 2);
  v128.store(dst, v128.or(low, i16x8.shl(high, 4)), 4);
}

/** Writes a Q5_1 block. */
// @ts-ignore: decorator
@inline
function store5(dst: usize, d: u16, m: u16, low: v128, high: v128): void {
  const nibbles = v128.or(v128.and(low, i8x16.splat(15)), i16x8.shl(v128.and(high, i8x16.splat(15)), 4));
  store<u16>(dst, d);
  store<u16>(dst, m, 2);
  store<u16>(dst, <u16>i8x16.bitmask(i16x8.shl(low, 3)), 4);
  store<u16>(dst, <u16>i8x16.bitmask(i16x8.shl(high, 3)), 6);
  v128.store(dst, nibbles, 8);
}

/** Four blocks of a row, from `first` of `count` on, with their importances, to a group of the search. */
function loadBlocks(src: usize, importance: usize, first: i32, count: i32, variance: f32, group: usize): void {
  for (let side: usize = 0; side < 2; side++) {
    const at = side ? importance : src;
    interleave(
      blockAt(at, first, count, 128),
      blockAt(at, first + 1, count, 128),
      blockAt(at, first + 2, count, 128),
      blockAt(at, first + 3, count, 128),
      32,
      group + side * WEIGHTS,
    );
  }
  weighByImportance(group, 32, variance);
}

/** Scales, minima and codes of up to eight blocks of a row, to SCALES, MINS and CODES. */
function searchBlocks(src: usize, importance: usize, count: i32, top: i32, variance: f32): void {
  loadBlocks(src, importance, 0, count, variance, LANES);
  loadBlocks(src, importance, 4, count, variance, LANES + GROUP);
  search(32, <f32>top, -0.9, 0.05, 36, false, 0);
  for (let k: usize = 0; k < <usize>count; k++) codeSubBlock(k, 32, src + (k << 7), 0, 0, top);
}

export function quantize_Q4_1_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    const variance = sumOfSquares(src, rowLength) / <f32>rowLength;
    let columns = importance;
    for (let left = rowLength >> 5; left > 0; left -= 8, columns += 1024) {
      const count = min(left, 8);
      searchBlocks(src, columns, count, 15, variance);
      for (let k: usize = 0; k < <usize>count; k++, src += 128, dst += 20) {
        const codes = CODES + (k << 5);
        const d = halfOf(load<f32>(SCALES + (k << 2))), m = halfOf(-load<f32>(MINS + (k << 2)));
        store4(dst, d, m, v128.load(codes), v128.load(codes, 16));
      }
    }
  }
}

export function quantize_Q5_1_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    const variance = sumOfSquares(src, rowLength) / <f32>rowLength;
    let columns = importance;
    for (let left = rowLength >> 5; left > 0; left -= 8, columns += 1024) {
      const count = min(left, 8);
      searchBlocks(src, columns, count, 31, variance);
      for (let k: usize = 0; k < <usize>count; k++, src += 128, dst += 24) {
        const codes = CODES + (k << 5);
        const d = halfOf(load<f32>(SCALES + (k << 2))), m = halfOf(-load<f32>(MINS + (k << 2)));
        store5(dst, d, m, v128.load(codes), v128.load(codes, 16));
      }
    }
  }
}

export function quantize_Q4_1(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 5; left > 0; left -= 4) {
    const count = min(left, 4);
    scaleGroup(src, count, 15);
    for (let k: usize = 0; k < <usize>count; k++) {
      const minimum = v128.load32_splat(minima + (k << 2));
      const inverse = v128.load32_splat(inverses + (k << 2));
      const low = codes(src, minimum, inverse);
      const high = codes(src + 64, minimum, inverse);
      store4(dst, load<u16>(scales + (k << 2)), load<u16>(minima16 + (k << 2)), low, high);
      src += 128;
      dst += 20;
    }
  }
}

/** All blocks with one scale and one minimum, float16 values. */
export function quantize_Q4_1_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, lowest: f32, highest: f32,
): void {
  const divisor = divisorOf(scale), m = f32x4.splat(offset), low = f32x4.splat(lowest), high = f32x4.splat(highest);
  const d = halfOf(scale), minimum = halfOf(offset);
  for (const end = src + (<usize>n << 2); src < end; src += 128, dst += 20) {
    store4(dst, d, minimum, codes16(src, divisor, m, low, high), codes16(src + 64, divisor, m, low, high));
  }
}

export function dequantize_Q4_1(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    const m = f32x4.splat(floatOfHalf(load<u16>(src, 2)));
    const q = v128.load(src, 4);
    storeAffine(dst, v128.and(q, i8x16.splat(15)), d, m);
    storeAffine(dst + 64, v128.and(i16x8.shr_u(q, 4), i8x16.splat(15)), d, m);
    src += 20;
    dst += 128;
  }
}

export function quantize_Q5_1(src: usize, dst: usize, n: i32): void {
  for (let left = n >> 5; left > 0; left -= 4) {
    const count = min(left, 4);
    scaleGroup(src, count, 31);
    for (let k: usize = 0; k < <usize>count; k++) {
      const minimum = v128.load32_splat(minima + (k << 2));
      const inverse = v128.load32_splat(inverses + (k << 2));
      const low = codes(src, minimum, inverse);
      const high = codes(src + 64, minimum, inverse);
      store5(dst, load<u16>(scales + (k << 2)), load<u16>(minima16 + (k << 2)), low, high);
      src += 128;
      dst += 24;
    }
  }
}

/** All blocks with one scale and one minimum, float16 values. */
export function quantize_Q5_1_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, lowest: f32, highest: f32,
): void {
  const divisor = divisorOf(scale), m = f32x4.splat(offset), low = f32x4.splat(lowest), high = f32x4.splat(highest);
  const d = halfOf(scale), minimum = halfOf(offset);
  for (const end = src + (<usize>n << 2); src < end; src += 128, dst += 24) {
    store5(dst, d, minimum, codes16(src, divisor, m, low, high), codes16(src + 64, divisor, m, low, high));
  }
}

export function dequantize_Q5_1(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  while (dst < end) {
    const d = f32x4.splat(floatOfHalf(load<u16>(src)));
    const m = f32x4.splat(floatOfHalf(load<u16>(src, 2)));
    const q = v128.load(src, 8);
    const low = v128.or(v128.and(q, i8x16.splat(15)), fifthBits(load<u16>(src, 4)));
    const high = v128.or(v128.and(i16x8.shr_u(q, 4), i8x16.splat(15)), fifthBits(load<u16>(src, 6)));
    storeAffine(dst, low, d, m);
    storeAffine(dst + 64, high, d, m);
    src += 24;
    dst += 128;
  }
}
