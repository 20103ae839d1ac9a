import { storeScaled } from './decode';
import { floatOfHalf, halfOf } from './half';
import {
  codeFour, codeOfMember, eightfold, ERRORS, FIRSTS, INDICES, LANE_RANKS, prefixSums, PRODUCTS_QQ, PRODUCTS_QX, rankFour,
  RANKS, scaleCode, SCALES, SHIFTS, shiftsOf, sixteenProducts, vanishes, weighErrors,
} from './iq1';
import { openMembers, openNeighbours } from './iq1-book';
import {
  closeChoice, countBelow, leastScore, offer, offerStarts, openChoice, openStarts, sumsBefore,
} from './iq1-split';

/**
 * IQ1_M: sub-blocks of 16 weights, whose two groups have each their own shift. Must agree with
 * `quantize_row_iq1_m_impl`, whose search tries all splits of a sub-block into three runs, with all four
 * pairs of shifts. Sums are kept by half. As neighbouring values are 1 apart, a half's sum of w q x is its
 * total times the highest value, less the sums before both boundaries.
 */

const STRIDE: usize = 80; // of the sums of a sub-block
const HALF: usize = 320; // of the sums of one half of four sub-blocks
const SORTED_HALF: usize = 256;

/**
 * In ascending order, four sub-blocks side by side: w x and w, of the first half, then of the second; else 0.
 */
const sortedWX: usize = memory.data(512, 16);
const sortedW: usize = memory.data(512, 16);
/** Sums of the first 0, 1, ..., 16 of these, by half, one sub-block after the other; 0 beyond. */
const sumsWX: usize = memory.data(640, 16);
const sumsW: usize = memory.data(640, 16);
/**
 * For the split being sought, by rank: X2, the sum of w x before it, of both halves; for each pair of shifts
 * (up-up, up-down, down-up, down-down), the largest qx with that rank as the lower boundary, from which X2 of
 * the upper one is taken; and for each pair what either boundary adds to the least qx^2, which is infinite
 * beyond the last rank. 80 bytes each.
 */
const table: usize = memory.data(1040, 16);
// @ts-ignore: decorator
@inline
const X2: usize = 0;
// @ts-ignore: decorator
@inline
const LIMITS2: usize = 80;
// @ts-ignore: decorator
@inline
const X1: usize = 400;
// @ts-ignore: decorator
@inline
const LIMITS1: usize = 720;

/** Fills the sums of four sub-blocks whose weights are at x and whose errors count what is at w. */
function sumFour(x: usize, w: usize): void {
  memory.fill(sortedWX, 0, 512);
  memory.fill(sortedW, 0, 512);
  for (let k: usize = 0; k < 4; k++, x += 64, w += 64) {
    for (let i: usize = 0; i < 16; i++) {
      const rank = <usize>load<u32>(LANE_RANKS + (i << 4) + (k << 2));
      const to = (i >> 3) * SORTED_HALF + (rank << 4) + (k << 2);
      const weight = load<f32>(w + (i << 2));
      store<u8>(RANKS + (k << 4) + i, rank);
      store<f32>(sortedWX + to, weight * load<f32>(x + (i << 2)));
      store<f32>(sortedW + to, weight);
    }
  }
  prefixSums(sortedWX, 16, sumsWX, STRIDE);
  prefixSums(sortedWX + SORTED_HALF, 16, sumsWX + HALF, STRIDE);
  prefixSums(sortedW, 16, sumsW, STRIDE);
  prefixSums(sortedW + SORTED_HALF, 16, sumsW + HALF, STRIDE);
}

/** The squares of the highest value: exact in float32, as is by how much that of a lower level is greater. */
// @ts-ignore: decorator
@inline
const HIGH_UP: f32 = 1.265625;
// @ts-ignore: decorator
@inline
const HIGH_DOWN: f32 = 0.765625;

/** Sums of w q^2 of one half, up to rounding, from those of w: all, and before both boundaries. */
// @ts-ignore: decorator
@inline
function squaresUp(total: v128, low: v128, high: v128): v128 {
  return f32x4.add(
    f32x4.mul(total, f32x4.splat(HIGH_UP)),
    f32x4.sub(f32x4.mul(low, f32x4.splat(0.75)), f32x4.mul(high, f32x4.splat(1.25))),
  );
}

// @ts-ignore: decorator
@inline
function squaresDown(total: v128, low: v128, high: v128): v128 {
  return f32x4.add(
    f32x4.mul(total, f32x4.splat(HIGH_DOWN)),
    f32x4.sub(f32x4.mul(low, f32x4.splat(1.25)), f32x4.mul(high, f32x4.splat(0.75))),
  );
}

/** Offers one split of each sub-block, with all pairs of shifts, for the search to start from. */
function start(first: v128, second: v128): void {
  const all = i32x4.splat(16);
  const sums0 = sumsWX, sums1 = sumsWX + HALF, w0 = sumsW, w1 = sumsW + HALF;
  const x = f32x4.add(
    f32x4.add(sumsBefore(first, sums0, STRIDE), sumsBefore(second, sums0, STRIDE)),
    f32x4.add(sumsBefore(first, sums1, STRIDE), sumsBefore(second, sums1, STRIDE)),
  );
  const total0 = sumsBefore(all, sums0, STRIDE), total1 = sumsBefore(all, sums1, STRIDE);
  const less = f32x4.splat(0.875), more = f32x4.splat(1.125);
  const up0 = f32x4.sub(f32x4.mul(total0, more), x), down0 = f32x4.sub(f32x4.mul(total0, less), x);
  const up1 = f32x4.mul(total1, more), down1 = f32x4.mul(total1, less);
  const all0 = sumsBefore(all, w0, STRIDE), all1 = sumsBefore(all, w1, STRIDE);
  const low0 = sumsBefore(first, w0, STRIDE), high0 = sumsBefore(second, w0, STRIDE);
  const low1 = sumsBefore(first, w1, STRIDE), high1 = sumsBefore(second, w1, STRIDE);
  const squaresUp0 = squaresUp(all0, low0, high0), squaresDown0 = squaresDown(all0, low0, high0);
  const squaresUp1 = squaresUp(all1, low1, high1), squaresDown1 = squaresDown(all1, low1, high1);
  offerStarts(f32x4.add(up0, up1), f32x4.add(squaresUp0, squaresUp1));
  offerStarts(f32x4.add(up0, down1), f32x4.add(squaresUp0, squaresDown1));
  offerStarts(f32x4.add(down0, up1), f32x4.add(squaresDown0, squaresUp1));
  offerStarts(f32x4.add(down0, down1), f32x4.add(squaresDown0, squaresDown1));
}

const ROUNDS = 2;

/**
 * A short descent from a split at zero: levels by the scale of the best split so far, and the scale by the
 * levels.
 */
function descend(): void {
  openStarts();
  const negative = countBelow(0, 16);
  start(negative, negative);
  for (let round = 0; round < ROUNDS; round++) {
    const low = countBelow(-0.375, 16), high = countBelow(0.625, 16);
    const lower = countBelow(-0.625, 16), higher = countBelow(0.375, 16);
    const between = countBelow(-0.5, 16), beyond = countBelow(0.5, 16);
    start(low, high);
    start(lower, higher);
    start(between, beyond);
  }
}

/** Offers the splits of sub-block k at two ranks (times 4) with all pairs of shifts, by ggml's formula. */
function consider(k: usize, first: usize, second: usize): void {
  const at = k * STRIDE;
  const wx0 = sumsWX + at, wx1 = wx0 + HALF, w0 = sumsW + at, w1 = w0 + HALF;
  const before0 = load<f32>(wx0 + first) + load<f32>(wx0 + second);
  const before1 = load<f32>(wx1 + first) + load<f32>(wx1 + second);
  const x0 = load<f32>(wx0, 64), x1 = load<f32>(wx1, 64), all0 = load<f32>(w0, 64), all1 = load<f32>(w1, 64);
  const low0 = load<f32>(w0 + first), high0 = load<f32>(w0 + second);
  const low1 = load<f32>(w1 + first), high1 = load<f32>(w1 + second);
  const qxUp0 = x0 * 1.125 - before0, qqUp0 = all0 * 1.125 * 1.125 + low0 * 0.75 + high0 * -1.25;
  const qxUp1 = x1 * 1.125 - before1, qqUp1 = all1 * 1.125 * 1.125 + low1 * 0.75 + high1 * -1.25;
  const qxDown0 = x0 * 0.875 - before0, qqDown0 = all0 * 0.875 * 0.875 + low0 * 1.25 + high0 * -0.75;
  const qxDown1 = x1 * 0.875 - before1, qqDown1 = all1 * 0.875 * 0.875 + low1 * 1.25 + high1 * -0.75;
  first >>= 2;
  second >>= 2;
  offer(qxUp0 + qxUp1, qqUp0 + qqUp1, first, second, 0);
  offer(qxUp0 + qxDown1, qqUp0 + qqDown1, first, second, 1);
  offer(qxDown0 + qxUp1, qqDown0 + qqUp1, first, second, 2);
  offer(qxDown0 + qxDown1, qqDown0 + qqDown1, first, second, 3);
}

/** Finds the best split of sub-block k, whose sums are filled. */
function search(k: usize): void {
  const w = sumsW + k * STRIDE;
  const total = load<f32>(w, 64) + load<f32>(w, HALF + 64);
  const least = leastScore(k, total);
  openChoice();
  if (least > 0) considerNear(k, least);
  else if (total > 0) {
    for (let first: usize = 0; first <= 64; first += 4) {
      for (let second = first; second <= 64; second += 4) consider(k, first, second);
    }
  }
  closeChoice(k);
}

/** Considers, in order, the splits of sub-block k that may reach a score. */
function considerNear(k: usize, score: f32): void {
  const wx0 = sumsWX + k * STRIDE, w0 = sumsW + k * STRIDE, wx1 = wx0 + HALF, w1 = w0 + HALF;
  const x0 = load<f32>(wx0, 64), x1 = load<f32>(wx1, 64);
  const total0 = score * load<f32>(w0, 64), total1 = score * load<f32>(w1, 64);
  const xUpUp = f32x4.splat(x0 * 1.125 + x1 * 1.125), xUpDown = f32x4.splat(x0 * 1.125 + x1 * 0.875);
  const xDownUp = f32x4.splat(x0 * 0.875 + x1 * 1.125), xDownDown = f32x4.splat(x0 * 0.875 + x1 * 0.875);
  const up0 = f32x4.splat(total0 * HIGH_UP), down0 = f32x4.splat(total0 * HIGH_DOWN);
  const up1 = f32x4.splat(total1 * HIGH_UP), down1 = f32x4.splat(total1 * HIGH_DOWN);
  const factor = f32x4.splat(score), three = f32x4.splat(0.75), five = f32x4.splat(1.25);
  for (let i: usize = 0; i < 80; i += 16) {
    const at = table + i;
    const before = f32x4.add(v128.load(wx0 + i), v128.load(wx1 + i));
    const weight0 = f32x4.mul(factor, v128.load(w0 + i)), weight1 = f32x4.mul(factor, v128.load(w1 + i));
    const less0 = f32x4.mul(weight0, three), more0 = f32x4.mul(weight0, five);
    const less1 = f32x4.mul(weight1, three), more1 = f32x4.mul(weight1, five);
    v128.store(at, before, X2);
    v128.store(at, f32x4.neg(f32x4.add(more0, more1)), LIMITS2);
    v128.store(at, f32x4.neg(f32x4.add(more0, less1)), LIMITS2 + 80);
    v128.store(at, f32x4.neg(f32x4.add(less0, more1)), LIMITS2 + 160);
    v128.store(at, f32x4.neg(f32x4.add(less0, less1)), LIMITS2 + 240);
    v128.store(at, f32x4.sub(xUpUp, before), X1);
    v128.store(at, f32x4.sub(xUpDown, before), X1 + 80);
    v128.store(at, f32x4.sub(xDownUp, before), X1 + 160);
    v128.store(at, f32x4.sub(xDownDown, before), X1 + 240);
    const lowUp0 = f32x4.add(up0, less0), lowDown0 = f32x4.add(down0, more0);
    const lowUp1 = f32x4.add(up1, less1), lowDown1 = f32x4.add(down1, more1);
    v128.store(at, f32x4.add(lowUp0, lowUp1), LIMITS1);
    v128.store(at, f32x4.add(lowUp0, lowDown1), LIMITS1 + 80);
    v128.store(at, f32x4.add(lowDown0, lowUp1), LIMITS1 + 160);
    v128.store(at, f32x4.add(lowDown0, lowDown1), LIMITS1 + 240);
  }
  for (let at = table + 68; at < table + 80; at += 4) {
    store<f32>(at, Infinity, LIMITS2);
    store<f32>(at, Infinity, LIMITS2 + 80);
    store<f32>(at, Infinity, LIMITS2 + 160);
    store<f32>(at, Infinity, LIMITS2 + 240);
  }
  considerRows(k, 0, 0, 5);
  considerRows(k, 4, 16, 4);
  considerRows(k, 20, 32, 3);
  considerRows(k, 36, 48, 2);
  considerRows(k, 52, 64, 1);
}

/**
 * Of four splits, with upper boundaries from `at` on and a lower one with these numbers: all bits where near.
 */
// @ts-ignore: decorator
@inline
function nearAt(
  at: usize, xA: v128, xB: v128, xC: v128, xD: v128, limitA: v128, limitB: v128, limitC: v128, limitD: v128,
): v128 {
  const x2 = v128.load(at, X2);
  const a = f32x4.sub(xA, x2), b = f32x4.sub(xB, x2), c = f32x4.sub(xC, x2), d = f32x4.sub(xD, x2);
  return v128.or(
    v128.or(
      f32x4.gt(f32x4.mul(a, a), f32x4.add(limitA, v128.load(at, LIMITS2))),
      f32x4.gt(f32x4.mul(b, b), f32x4.add(limitB, v128.load(at, LIMITS2 + 80))),
    ),
    v128.or(
      f32x4.gt(f32x4.mul(c, c), f32x4.add(limitC, v128.load(at, LIMITS2 + 160))),
      f32x4.gt(f32x4.mul(d, d), f32x4.add(limitD, v128.load(at, LIMITS2 + 240))),
    ),
  );
}

/**
 * Considers the splits with lower boundaries `from`..`to` (times 4), for which the upper ones fill a known
 * number of vectors, so that there is one branch for all of them.
 */
// @ts-ignore: decorator
@inline
function considerRows(k: usize, from: usize, to: usize, vectors: i32): void {
  for (let first = from; first <= to; first += 4) {
    const at = table + first;
    const xA = v128.load32_splat(at, X1), xB = v128.load32_splat(at, X1 + 80);
    const xC = v128.load32_splat(at, X1 + 160), xD = v128.load32_splat(at, X1 + 240);
    const a = v128.load32_splat(at, LIMITS1), b = v128.load32_splat(at, LIMITS1 + 80);
    const c = v128.load32_splat(at, LIMITS1 + 160), d = v128.load32_splat(at, LIMITS1 + 240);
    let near = nearAt(at, xA, xB, xC, xD, a, b, c, d);
    if (vectors > 1) near = v128.or(near, nearAt(at + 16, xA, xB, xC, xD, a, b, c, d));
    if (vectors > 2) near = v128.or(near, nearAt(at + 32, xA, xB, xC, xD, a, b, c, d));
    if (vectors > 3) near = v128.or(near, nearAt(at + 48, xA, xB, xC, xD, a, b, c, d));
    if (vectors > 4) near = v128.or(near, nearAt(at + 64, xA, xB, xC, xD, a, b, c, d));
    if (v128.any_true(near)) considerRow(k, first);
  }
}

/** Considers the near splits with one lower boundary. */
function considerRow(k: usize, first: usize): void {
  const at = table + first;
  const xA = v128.load32_splat(at, X1), xB = v128.load32_splat(at, X1 + 80);
  const xC = v128.load32_splat(at, X1 + 160), xD = v128.load32_splat(at, X1 + 240);
  const a = v128.load32_splat(at, LIMITS1), b = v128.load32_splat(at, LIMITS1 + 80);
  const c = v128.load32_splat(at, LIMITS1 + 160), d = v128.load32_splat(at, LIMITS1 + 240);
  for (let second = first; second <= 64; second += 16) {
    let near = i32x4.bitmask(nearAt(table + second, xA, xB, xC, xD, a, b, c, d));
    for (; near != 0; near &= near - 1) consider(k, first, second + (<usize>ctz(near) << 2));
  }
}

/** Codes rows under importances; without (0), the error of x counts x^2. */
function encode(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openNeighbours();
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 56) {
      weighErrors(src, importance != 0 ? importance + i : 0);
      let largest: f32 = 0;
      for (let j: usize = 0; j < 16; j += 4) {
        const x = src + (j << 6);
        rankFour(x, 16);
        sumFour(x, ERRORS + (j << 6));
        descend();
        for (let k: usize = 0; k < 4; k++) {
          if (vanishes(x + (k << 6), 16, 1e-7)) store<i32>(FIRSTS + (k << 2), -1);
          else search(k);
        }
        largest = max(largest, codeFour(x, 16, j));
      }
      pack(src, dst, largest);
    }
  }
}

export function quantize_IQ1_M(src: usize, dst: usize, n: i32): void {
  encode(src, dst, 1, n, 0);
}

export function quantize_IQ1_M_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  encode(src, dst, rows, rowLength, importance);
}

/**
 * A block: lower bytes of the indices; for each sub-block two times four bits, the upper three bits of an
 * index and whether the group is shifted down; four times 16 bits, four scales of three bits below four bits
 * of the float16 d.
 */
function pack(x: usize, dst: usize, largest: f32): void {
  let d = largest / 15;
  const inverse: f32 = 1 / d;
  let scales: u64 = 0;
  let qx: f32 = 0, qq: f32 = 0;
  for (let j: usize = 0; j < 16; j++) {
    const indices = load<u32>(INDICES + (j << 2));
    const index0 = indices & 0xffff, index1 = indices >> 16;
    store<u8>(dst + (j << 1), index0);
    store<u8>(dst + (j << 1), index1, 1);
    let bits = (index0 >> 8) | ((index1 >> 8) << 4);
    if (largest > 0) {
      const code = scaleCode(load<f32>(SCALES + (j << 2)), inverse);
      scales |= <u64>code << (16 * (<u64>j >> 2) + 3 * (<u64>j & 3));
      const shift0 = load<i8>(SHIFTS + (j << 1)), shift1 = load<i8>(SHIFTS + (j << 1), 1);
      if (shift0 < 0) bits |= 8;
      if (shift1 < 0) bits |= 128;
      // With the codes of the scales fixed, d is fitted once more.
      const q = eightfold(codeOfMember(index0), codeOfMember(index1), shiftsOf(shift0, shift1));
      const factor = i16x8.splat(<i16>(2 * code + 1));
      const low = i16x8.mul(i16x8.extend_low_i8x16_s(q), factor), high = i16x8.mul(i16x8.extend_high_i8x16_s(q), factor);
      sixteenProducts(x + (j << 6), ERRORS + (j << 6), low, high, 0);
      for (let i: usize = 0; i < 64; i += 4) {
        qx += load<f32>(PRODUCTS_QX + i);
        qq += load<f32>(PRODUCTS_QQ + i);
      }
    }
    store<u8>(dst + j, bits, 32);
  }
  if (largest > 0) {
    if (qq > 0) d = qx / qq;
    const half = <u64>halfOf(d * 1.1125); // a little more than the fit, by ggml's measurements
    scales |= ((half & 15) << 12) | ((half & 0xf0) << 24) | ((half & 0xf00) << 36) | ((half & 0xf000) << 48);
  }
  store<u64>(dst, scales, 48);
}

export function dequantize_IQ1_M(src: usize, dst: usize, n: i32): void {
  openMembers();
  for (const end = dst + (<usize>n << 2); dst < end; src += 56) {
    const scales = load<u64>(src, 48);
    const half = ((scales >> 12) & 15) | ((scales >> 24) & 0xf0) | ((scales >> 36) & 0xf00) | ((scales >> 48) & 0xf000);
    const d = floatOfHalf(<u16>half);
    for (let j: usize = 0; j < 16; j++, dst += 64) {
      const multiple = ((<i32>(scales >> (16 * (<u64>j >> 2) + 3 * (<u64>j & 3))) & 7) << 1) + 1;
      const bits = <usize>load<u8>(src + j, 32);
      const a = codeOfMember(<usize>load<u8>(src + (j << 1)) | ((bits & 7) << 8));
      const b = codeOfMember(<usize>load<u8>(src + (j << 1), 1) | ((bits & 112) << 4));
      const shifts = shiftsOf(1 - <i8>((bits & 8) >> 2), 1 - <i8>((bits & 128) >> 6));
      storeScaled(dst, eightfold(a, b, shifts), f32x4.splat(d * <f32>multiple * 0.125));
    }
  }
}
