import { storeScaled } from './decode';
import { floatOfHalf, halfOf } from './half';
import {
  codeFour, codeOfMember, eightfold, ERRORS, FIRSTS, INDICES, LANE_RANKS, prefixSums, PRODUCTS_QQ, PRODUCTS_QX, rankFour,
  RANKS, scaleCode, SCALES, SECONDS, SHIFTS, shiftsOf, sixteenProducts, SPLIT_SCALES, SPLIT_SHIFTS, vanishes, weighErrors,
} from './iq1';
import { openMembers, openNeighbours } from './iq1-book';
import { countBelow, offerStart, openStarts, startingScore } from './iq1-split';

/**
 * IQ1_M: sub-blocks of 16 weights, whose two groups have each their own shift. Must agree with
 * `quantize_row_iq1_m_impl`, whose search tries all splits of a sub-block into three runs, with all four pairs of shifts.
 * Sums are kept by half. As neighbouring values are 1 apart, a half's sum of w q x is its total times the highest value,
 * less the sums before both boundaries.
 */

const STRIDE: usize = 80; // of the sums of a sub-block
const HALF: usize = 320; // of the sums of one half of four sub-blocks
const SORTED_HALF: usize = 256;

/** In ascending order, four sub-blocks side by side: w x and w, of the first half, then of the second; else 0. */
const sortedWX: usize = memory.data(512, 16);
const sortedW: usize = memory.data(512, 16);
/** Sums of the first 0, 1, ..., 16 of these, by half, one sub-block after the other; 0 beyond. */
const sumsWX: usize = memory.data(640, 16);
const sumsW: usize = memory.data(640, 16);
/** What the upper boundary adds to the sums of w q^2 of both halves, with either shift; infinite beyond the last. */
const upQQ: usize = memory.data(160, 16);
const downQQ: usize = memory.data(160, 16);

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

/** Tries one split of sub-block k with all pairs of shifts, as a candidate to begin with. */
function tryAt(k: usize, first: usize, second: usize): void {
  let at = k * STRIDE;
  const xs0 = load<f32>(sumsWX + at + (first << 2)) + load<f32>(sumsWX + at + (second << 2));
  const x0 = load<f32>(sumsWX + at, 64), w0 = load<f32>(sumsW + at, 64);
  const low0 = load<f32>(sumsW + at + (first << 2)), high0 = load<f32>(sumsW + at + (second << 2));
  at += HALF;
  const xs1 = load<f32>(sumsWX + at + (first << 2)) + load<f32>(sumsWX + at + (second << 2));
  const x1 = load<f32>(sumsWX + at, 64), w1 = load<f32>(sumsW + at, 64);
  const low1 = load<f32>(sumsW + at + (first << 2)), high1 = load<f32>(sumsW + at + (second << 2));
  const upX0 = x0 * 1.125 - xs0, downX0 = x0 * 0.875 - xs0;
  const upX1 = x1 * 1.125 - xs1, downX1 = x1 * 0.875 - xs1;
  const upW0 = w0 * 1.125 * 1.125 + low0 * 0.75 + high0 * -1.25;
  const downW0 = w0 * 0.875 * 0.875 + low0 * 1.25 + high0 * -0.75;
  const upW1 = w1 * 1.125 * 1.125 + low1 * 0.75 + high1 * -1.25;
  const downW1 = w1 * 0.875 * 0.875 + low1 * 1.25 + high1 * -0.75;
  offerStart(k, upX0 + upX1, upW0 + upW1);
  offerStart(k, upX0 + downX1, upW0 + downW1);
  offerStart(k, downX0 + upX1, downW0 + upW1);
  offerStart(k, downX0 + downX1, downW0 + downW1);
}

const ROUNDS = 2;
const counts: usize = memory.data(96, 16);

/** A short descent: levels by the scale of the best split so far, and the scale by the levels. */
function descend(): void {
  openStarts();
  for (let k: usize = 0; k < 4; k++) tryAt(k, 5, 11);
  for (let round = 0; round < ROUNDS; round++) {
    v128.store(counts, countBelow(-0.375, 16));
    v128.store(counts, countBelow(0.625, 16), 16);
    v128.store(counts, countBelow(-0.625, 16), 32);
    v128.store(counts, countBelow(0.375, 16), 48);
    v128.store(counts, countBelow(-0.5, 16), 64);
    v128.store(counts, countBelow(0.5, 16), 80);
    for (let k: usize = 0; k < 4; k++) {
      const at = counts + (k << 2);
      tryAt(k, load<u32>(at), load<u32>(at, 16));
      tryAt(k, load<u32>(at, 32), load<u32>(at, 48));
      tryAt(k, load<u32>(at, 64), load<u32>(at, 80));
    }
  }
}

// The best split so far, and sums of w q x and w q^2 of four candidates with all pairs of shifts.
let bestScore: f32 = 0, bestScale: f32 = 0;
let bestFirst = -1, bestSecond = 0, bestPair = 0;
const candidates: usize = memory.data(128, 16);

/** Goes through the four candidates in order, of which `second` may lie beyond the last rank. */
function takeBetter(first: i32, second: i32): void {
  for (let at = candidates; at < candidates + 16; at += 4, second++) {
    if (second > 16) return;
    for (let pair = 0; pair < 4; pair++) {
      const qx = load<f32>(at + (<usize>pair << 5)), qq = load<f32>(at + (<usize>pair << 5), 16);
      if (!(qq > 0 && qx * qx > bestScore * qq)) continue;
      bestScale = qx / qq;
      bestScore = bestScale * qx;
      bestFirst = first;
      bestSecond = second;
      bestPair = pair;
    }
  }
}

/** Whether some of four candidates is better than the score; writes their sums to `candidates`. */
// @ts-ignore: decorator
@inline
function betterThan(score: v128, qx: v128, qq: v128): v128 {
  return f32x4.gt(f32x4.mul(qx, qx), f32x4.mul(score, qq));
}

/** Finds the best split of sub-block k, whose sums are filled. */
function search(k: usize): void {
  const wx0 = sumsWX + k * STRIDE, w0 = sumsW + k * STRIDE;
  const wx1 = wx0 + HALF, w1 = w0 + HALF;
  for (let at: usize = 0; at < 80; at += 16) {
    const a = v128.load(w0 + at), b = v128.load(w1 + at);
    v128.store(upQQ + at, f32x4.mul(a, f32x4.splat(-1.25)));
    v128.store(upQQ + at, f32x4.mul(b, f32x4.splat(-1.25)), 80);
    v128.store(downQQ + at, f32x4.mul(a, f32x4.splat(-0.75)));
    v128.store(downQQ + at, f32x4.mul(b, f32x4.splat(-0.75)), 80);
  }
  for (let at: usize = 68; at < 80; at += 4) {
    store<f32>(upQQ + at, Infinity);
    store<f32>(downQQ + at, Infinity);
  }
  const less = f32x4.splat(0.875), more = f32x4.splat(1.125);
  const totalX0 = v128.load32_splat(wx0, 64), totalX1 = v128.load32_splat(wx1, 64);
  const totalW0 = v128.load32_splat(w0, 64), totalW1 = v128.load32_splat(w1, 64);
  const upX0 = f32x4.mul(totalX0, more), downX0 = f32x4.mul(totalX0, less);
  const upX1 = f32x4.mul(totalX1, more), downX1 = f32x4.mul(totalX1, less);
  const upW0 = f32x4.mul(f32x4.mul(totalW0, more), more), downW0 = f32x4.mul(f32x4.mul(totalW0, less), less);
  const upW1 = f32x4.mul(f32x4.mul(totalW1, more), more), downW1 = f32x4.mul(f32x4.mul(totalW1, less), less);
  bestFirst = -1;
  bestScore = startingScore(k, load<f32>(w0, 64) + load<f32>(w1, 64));
  let score = f32x4.splat(bestScore);
  for (let first: usize = 0; first <= 64; first += 4) {
    const lowX0 = v128.load32_splat(wx0 + first), lowX1 = v128.load32_splat(wx1 + first);
    const lowW0 = v128.load32_splat(w0 + first), lowW1 = v128.load32_splat(w1 + first);
    const lowUpW0 = f32x4.add(upW0, f32x4.mul(lowW0, f32x4.splat(0.75)));
    const lowUpW1 = f32x4.add(upW1, f32x4.mul(lowW1, f32x4.splat(0.75)));
    const lowDownW0 = f32x4.add(downW0, f32x4.mul(lowW0, f32x4.splat(1.25)));
    const lowDownW1 = f32x4.add(downW1, f32x4.mul(lowW1, f32x4.splat(1.25)));
    for (let second = first; second <= 64; second += 16) {
      const before0 = f32x4.add(lowX0, v128.load(wx0 + second)), before1 = f32x4.add(lowX1, v128.load(wx1 + second));
      const qxUp0 = f32x4.sub(upX0, before0), qxUp1 = f32x4.sub(upX1, before1);
      const qxDown0 = f32x4.sub(downX0, before0), qxDown1 = f32x4.sub(downX1, before1);
      const qqUp0 = f32x4.add(lowUpW0, v128.load(upQQ + second)), qqUp1 = f32x4.add(lowUpW1, v128.load(upQQ + second, 80));
      const qqDown0 = f32x4.add(lowDownW0, v128.load(downQQ + second));
      const qqDown1 = f32x4.add(lowDownW1, v128.load(downQQ + second, 80));
      const better = v128.or(
        v128.or(
          betterThan(score, f32x4.add(qxUp0, qxUp1), f32x4.add(qqUp0, qqUp1)),
          betterThan(score, f32x4.add(qxUp0, qxDown1), f32x4.add(qqUp0, qqDown1)),
        ),
        v128.or(
          betterThan(score, f32x4.add(qxDown0, qxUp1), f32x4.add(qqDown0, qqUp1)),
          betterThan(score, f32x4.add(qxDown0, qxDown1), f32x4.add(qqDown0, qqDown1)),
        ),
      );
      if (v128.any_true(better)) {
        v128.store(candidates, f32x4.add(qxUp0, qxUp1));
        v128.store(candidates, f32x4.add(qqUp0, qqUp1), 16);
        v128.store(candidates, f32x4.add(qxUp0, qxDown1), 32);
        v128.store(candidates, f32x4.add(qqUp0, qqDown1), 48);
        v128.store(candidates, f32x4.add(qxDown0, qxUp1), 64);
        v128.store(candidates, f32x4.add(qqDown0, qqUp1), 80);
        v128.store(candidates, f32x4.add(qxDown0, qxDown1), 96);
        v128.store(candidates, f32x4.add(qqDown0, qqDown1), 112);
        takeBetter(<i32>(first >> 2), <i32>(second >> 2));
        score = f32x4.splat(bestScore);
      }
    }
  }
  store<i32>(FIRSTS + (k << 2), bestFirst);
  store<i32>(SECONDS + (k << 2), bestSecond);
  store<f32>(SPLIT_SCALES + (k << 2), bestScale);
  store<f32>(SPLIT_SHIFTS + (k << 3), (bestPair & 2) != 0 ? -1 : 1);
  store<f32>(SPLIT_SHIFTS + (k << 3), (bestPair & 1) != 0 ? -1 : 1, 4);
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
 * A block: lower bytes of the indices; for each sub-block two times four bits, the upper three bits of an index and
 * whether the group is shifted down; four times 16 bits, four scales of three bits below four bits of the float16 d.
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
