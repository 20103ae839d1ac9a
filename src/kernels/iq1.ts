import { CODES, MAP } from './codebook';
import { largestLane, largestMagnitudes } from './group';
import { sumOfSquares, weightOf } from './importance';
import { BOOK, nearestNeighbour } from './iq1-book';
import { interleave } from './lanes';
import { nearestInt } from './nearest';

/**
 * What IQ1_S and IQ1_M share. A super-block's 256 weights are taken four sub-blocks (of n = 32 or 16 weights)
 * at a time. A weight has one of three levels, which stand for -1, 0 and 1, all moved up or down by 1/8.
 * First the weights are ranked: the best split (iq1_s.ts, iq1_m.ts) gives the smallest of them the lowest
 * level, the largest the highest. Then groups of eight levels are moved onto the codebook.
 */

/** What the error of each weight of the super-block counts, f32. */
export const ERRORS: usize = memory.data(1024, 16);

/**
 * Of four sub-blocks side by side, one a lane: weights, and how many come before each in ascending order
 * (i32).
 */
export const LANES: usize = memory.data(512, 16);
export const LANE_RANKS: usize = memory.data(512, 16);
/** The same ranks as bytes, sub-block after sub-block. */
export const RANKS: usize = memory.data(128, 16);

/**
 * The best splits of the four: ranks from which on the level is 1 and 2 (i32), the first -1 where there is no
 * split.
 */
export const FIRSTS: usize = memory.data(16, 16);
export const SECONDS: usize = memory.data(16, 16);
/**
 * Their scales (f32; a negative one turns levels and shifts round), and shifts of both halves (f32, 1 or -1).
 */
export const SPLIT_SCALES: usize = memory.data(16, 16);
export const SPLIT_SHIFTS: usize = memory.data(32, 16);

/**
 * The super-block as coded: scales by sub-block (f32), indices (u16) and shifts (i8, 1 or -1) by group of
 * eight.
 */
export const SCALES: usize = memory.data(64, 16);
export const INDICES: usize = memory.data(64, 16);
export const SHIFTS: usize = memory.data(32, 16);

/** Products w q x and w q^2 of each weight, f32, before they are added up. */
export const PRODUCTS_QX: usize = memory.data(512, 16);
export const PRODUCTS_QQ: usize = memory.data(512, 16);

/**
 * Fills ERRORS: importance * sqrt(variance + x^2), the variance being twice the mean of x^2; without (0),
 * x^2.
 */
export function weighErrors(src: usize, importance: usize): void {
  if (importance == 0) {
    for (let i: usize = 0; i < 1024; i += 16) {
      const x = v128.load(src + i);
      v128.store(ERRORS + i, f32x4.mul(x, x));
    }
    return;
  }
  const variance = f32x4.splat(<f32>2 * sumOfSquares(src, 256) / 256);
  for (let i: usize = 0; i < 1024; i += 16) {
    v128.store(ERRORS + i, weightOf(v128.load(src + i), v128.load(importance + i), variance));
  }
}

/**
 * Ranks four sub-blocks of n weights; equal weights stay in order, as ggml's qsort (glibc's merge sort)
 * leaves them.
 */
export function rankFour(src: usize, n: i32): void {
  const bytes = <usize>n << 2, end = <usize>n << 4;
  interleave(src, src + bytes, src + 2 * bytes, src + 3 * bytes, n, LANES);
  for (let i = 0; i < n; i++) v128.store(LANE_RANKS + (<usize>i << 4), i32x4.splat(i));
  for (let i: usize = 0; i < end; i += 16) {
    const x = v128.load(LANES + i);
    let rank = v128.load(LANE_RANKS + i);
    for (let j = i + 16; j < end; j += 16) {
      const later = f32x4.lt(v128.load(LANES + j), x); // all bits set, -1, where the later weight goes before
      rank = i32x4.sub(rank, later);
      v128.store(LANE_RANKS + j, i32x4.add(v128.load(LANE_RANKS + j), later));
    }
    v128.store(LANE_RANKS + i, rank);
  }
}

/**
 * Adds up, in each lane, the n vectors at src; writes for lane k n + 1 sums, of the first 0, 1, ..., n, to
 * dst + stride * k.
 */
export function prefixSums(src: usize, n: i32, dst: usize, stride: usize): void {
  for (let k: usize = 0; k < 4; k++) store<f32>(dst + k * stride, 0);
  let sum = f32x4.splat(0);
  dst += 4;
  for (const end = src + (<usize>n << 4); src < end; src += 64, dst += 16) {
    const a = f32x4.add(sum, v128.load(src)), b = f32x4.add(a, v128.load(src, 16));
    const c = f32x4.add(b, v128.load(src, 32)), d = f32x4.add(c, v128.load(src, 48));
    const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5), ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5), cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(dst, v128.shuffle<i64>(ab0, cd0, 0, 2));
    v128.store(dst + stride, v128.shuffle<i64>(ab0, cd0, 1, 3));
    v128.store(dst + 2 * stride, v128.shuffle<i64>(ab1, cd1, 0, 2));
    v128.store(dst + 3 * stride, v128.shuffle<i64>(ab1, cd1, 1, 3));
    sum = d;
  }
}

/** Whether the largest magnitude of n weights is below eps. */
// @ts-ignore: decorator
@inline
export function vanishes(x: usize, n: i32, eps: f32): bool {
  return largestLane(largestMagnitudes(x, n >> 2)) < eps;
}

/** Numbers of the points that eight levels each, the low and the high half of the bytes, are. */
// @ts-ignore: decorator
@inline
function numbersOf(levels: v128): v128 {
  const powers = i16x8(1, 3, 9, 27, 81, 243, 729, 2187);
  const a = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(levels), powers);
  const b = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(levels), powers);
  const sums = i32x4.add(v128.shuffle<i64>(a, b, 0, 2), v128.shuffle<i64>(a, b, 1, 3));
  return i32x4.add(sums, v128.shuffle<i32>(sums, sums, 1, 0, 3, 2));
}

/**
 * Eight times the values of sixteen weights, as bytes, from the codes of their two groups and the shifts of
 * these.
 */
// @ts-ignore: decorator
@inline
export function eightfold(code0: u32, code1: u32, shifts: v128): v128 {
  const codes = i32x4.replace_lane(i32x4.splat(code0), 1, code1);
  const nibble = i8x16.splat(15);
  const low = v128.and(codes, nibble), high = v128.and(i16x8.shr_u(codes, 4), nibble);
  const odd = v128.shuffle<i8>(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); // 2 * level + 1
  return i8x16.add(i16x8.shl(odd, 2), i8x16.sub(shifts, i8x16.splat(12)));
}

/** The shift of the first group in the first eight bytes, that of the second in the others. */
// @ts-ignore: decorator
@inline
export function shiftsOf(shift0: i8, shift1: i8): v128 {
  return v128.shuffle<i64>(i8x16.splat(shift0), i8x16.splat(shift1), 0, 2);
}

/** Code of a member. */
// @ts-ignore: decorator
@inline
export function codeOfMember(index: usize): u32 {
  return load<u32>(BOOK + (index << 2), CODES);
}

/** Writes w q x and w q^2 of four weights, q being a multiple of an eighth. */
// @ts-ignore: decorator
@inline
function fourProducts(x: usize, w: usize, eighths: v128, at: usize): void {
  const q = f32x4.mul(f32x4.convert_i32x4_s(eighths), f32x4.splat(0.125));
  const wq = f32x4.mul(v128.load(w), q);
  v128.store(PRODUCTS_QX + at, f32x4.mul(wq, v128.load(x)));
  v128.store(PRODUCTS_QQ + at, f32x4.mul(wq, q));
}

/** Writes w q x and w q^2 of sixteen weights, 8 q given as int16, to offset `at` of the products. */
// @ts-ignore: decorator
@inline
export function sixteenProducts(x: usize, w: usize, low: v128, high: v128, at: usize): void {
  fourProducts(x, w, i32x4.extend_low_i16x8_s(low), at);
  fourProducts(x + 16, w + 16, i32x4.extend_high_i16x8_s(low), at + 16);
  fourProducts(x + 32, w + 32, i32x4.extend_low_i16x8_s(high), at + 32);
  fourProducts(x + 48, w + 48, i32x4.extend_high_i16x8_s(high), at + 48);
}

/**
 * Moves the splits of four sub-blocks of n weights at x onto the codebook, the j-th and following of the
 * super-block: writes their indices, shifts and scales. Returns the largest scale.
 */
export function codeFour(x: usize, n: usize, j: usize): f32 {
  const bytes = n << 2;
  const errors = ERRORS + j * bytes;
  let inexact = 0; // bit k: a group of sub-block k was no member
  for (let k: usize = 0; k < 4; k++) {
    const groups = (n >> 3) * (j + k);
    const first = load<i32>(FIRSTS + (k << 2));
    let scale = load<f32>(SPLIT_SCALES + (k << 2));
    if (first < 0) {
      store<f32>(SCALES + ((j + k) << 2), 0);
      for (let g: usize = 0; g < n >> 3; g++) {
        store<u16>(INDICES + ((groups + g) << 1), 0);
        store<i8>(SHIFTS + groups + g, 1);
      }
      continue;
    }
    const turned = scale < 0;
    if (turned) scale = -scale;
    store<f32>(SCALES + ((j + k) << 2), scale);
    const first16 = i8x16.splat(<i8>first), second16 = i8x16.splat(<i8>load<i32>(SECONDS + (k << 2)));
    for (let i: usize = 0; i < n; i += 16) {
      const rank = v128.load(RANKS + k * n + i);
      const above = i8x16.add(i8x16.ge_s(rank, first16), i8x16.ge_s(rank, second16)); // minus the level
      const numbers = numbersOf(turned ? i8x16.add(i8x16.splat(2), above) : i8x16.neg(above));
      const at = k * bytes + (i << 2), group = groups + (i >> 3);
      // The two groups are both of one half where n is 32, one of each where it is 16.
      let shift0 = load<f32>(SPLIT_SHIFTS + (k << 3) + ((n == 32 ? i >> 4 : 0) << 2));
      let shift1 = load<f32>(SPLIT_SHIFTS + (k << 3) + ((n == 32 ? i >> 4 : 1) << 2));
      if (turned) {
        shift0 = -shift0;
        shift1 = -shift1;
      }
      let index0 = load<i32>(BOOK + (<usize>i32x4.extract_lane(numbers, 0) << 2), MAP);
      if (index0 < 0) {
        inexact |= 1 << <i32>k;
        const number = nearestNeighbour(index0, x + at, errors + at, scale, shift0 * 0.125);
        index0 = load<i32>(BOOK + (<usize>number << 2), MAP);
      }
      let index1 = load<i32>(BOOK + (<usize>i32x4.extract_lane(numbers, 2) << 2), MAP);
      if (index1 < 0) {
        inexact |= 1 << <i32>k;
        const number = nearestNeighbour(index1, x + at + 32, errors + at + 32, scale, shift1 * 0.125);
        index1 = load<i32>(BOOK + (<usize>number << 2), MAP);
      }
      store<u32>(INDICES + (group << 1), index0 | (index1 << 16));
      store<i8>(SHIFTS + group, <i8>shift0);
      store<i8>(SHIFTS + group, <i8>shift1, 1);
      const q = eightfold(codeOfMember(index0), codeOfMember(index1), shiftsOf(<i8>shift0, <i8>shift1));
      sixteenProducts(x + at, errors + at, i16x8.extend_low_i8x16_s(q), i16x8.extend_high_i8x16_s(q), at);
    }
  }
  if (inexact != 0) refit(n, j, inexact);
  let largest: f32 = 0;
  for (let k: usize = 0; k < 4; k++) {
    const scale = load<f32>(SCALES + ((j + k) << 2));
    if (scale > largest) largest = scale;
  }
  return largest;
}

/** Fits the scales of those of four sub-blocks whose bit is set to their members. */
function refit(n: usize, j: usize, wanted: i32): void {
  const bytes = n << 2;
  const a = PRODUCTS_QX, b = a + bytes, c = b + bytes, d = c + bytes;
  const toQQ = PRODUCTS_QQ - PRODUCTS_QX;
  let qxA: f32 = 0, qxB: f32 = 0, qxC: f32 = 0, qxD: f32 = 0;
  let qqA: f32 = 0, qqB: f32 = 0, qqC: f32 = 0, qqD: f32 = 0;
  for (let i: usize = 0; i < bytes; i += 4) {
    qxA += load<f32>(a + i);
    qxB += load<f32>(b + i);
    qxC += load<f32>(c + i);
    qxD += load<f32>(d + i);
    qqA += load<f32>(a + i + toQQ);
    qqB += load<f32>(b + i + toQQ);
    qqC += load<f32>(c + i + toQQ);
    qqD += load<f32>(d + i + toQQ);
  }
  const scales = SCALES + (j << 2);
  if ((wanted & 1) != 0 && qxA > 0 && qqA > 0) store<f32>(scales, qxA / qqA);
  if ((wanted & 2) != 0 && qxB > 0 && qqB > 0) store<f32>(scales, qxB / qqB, 4);
  if ((wanted & 4) != 0 && qxC > 0 && qqC > 0) store<f32>(scales, qxC / qqC, 8);
  if ((wanted & 8) != 0 && qxD > 0 && qqD > 0) store<f32>(scales, qxD / qqD, 12);
}

/** The scale as one of the multiples 1, 3, ..., 15 of d, 0..7. */
// @ts-ignore: decorator
@inline
export function scaleCode(scale: f32, inverse: f32): u32 {
  return max(0, min(7, nearestInt(<f32>0.5 * (inverse * scale - 1))));
}
