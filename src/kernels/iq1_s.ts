import { storeScaled } from './decode';
import { floatOfHalf, halfOf } from './half';
import {
  codeFour, codeOfMember, eightfold, ERRORS, FIRSTS, INDICES, LANE_RANKS, prefixSums, rankFour, RANKS, scaleCode, SCALES,
  SHIFTS, vanishes, weighErrors,
} from './iq1';
import { openMembers, openNeighbours } from './iq1-book';
import {
  closeChoice, countBelow, leastScore, offer, offerStarts, openChoice, openStarts, sumsBefore,
} from './iq1-split';

/**
 * IQ1_S: sub-blocks of 32 weights. Must agree with `quantize_row_iq1_s_impl`, whose search tries all splits
 * of a sub-block into three runs, with both shifts.
 */

const STRIDE: usize = 160;

/** In ascending order, four sub-blocks side by side: w x and w. */
const sortedWX: usize = memory.data(512, 16);
const sortedW: usize = memory.data(512, 16);
/** Sums of the first 0, 1, ..., 32 of these, one sub-block after the other; 0 beyond. */
const sumsWX: usize = memory.data(640, 16);
const sumsW: usize = memory.data(640, 16);
/**
 * For the split being sought, by rank: X2, the sum of w x before it; the largest qx of either shift with that
 * rank as the lower boundary, from which X2 of the upper one is taken; and what either boundary adds to the
 * least qx^2, which is infinite beyond the last rank. 160 bytes each.
 */
const table: usize = memory.data(1120, 16);
// @ts-ignore: decorator
@inline
const X2: usize = 0;
// @ts-ignore: decorator
@inline
const LIMIT2_UP: usize = 160;
// @ts-ignore: decorator
@inline
const LIMIT2_DOWN: usize = 320;
// @ts-ignore: decorator
@inline
const X1_UP: usize = 480;
// @ts-ignore: decorator
@inline
const X1_DOWN: usize = 640;
// @ts-ignore: decorator
@inline
const LIMIT1_UP: usize = 800;
// @ts-ignore: decorator
@inline
const LIMIT1_DOWN: usize = 960;

/** Fills the sums of four sub-blocks whose weights are at x and whose errors count what is at w. */
function sumFour(x: usize, w: usize): void {
  for (let k: usize = 0; k < 4; k++, x += 128, w += 128) {
    for (let i: usize = 0; i < 32; i++) {
      const rank = <usize>load<u32>(LANE_RANKS + (i << 4) + (k << 2));
      const to = (rank << 4) + (k << 2);
      const weight = load<f32>(w + (i << 2));
      store<u8>(RANKS + (k << 5) + i, rank);
      store<f32>(sortedWX + to, weight * load<f32>(x + (i << 2)));
      store<f32>(sortedW + to, weight);
    }
  }
  prefixSums(sortedWX, 32, sumsWX, STRIDE);
  prefixSums(sortedW, 32, sumsW, STRIDE);
}

/**
 * The squares of the values, and by how much a weight below a boundary has a greater one: exact in float32.
 */
// @ts-ignore: decorator
@inline
const HIGH_UP: f32 = 1.265625;
// @ts-ignore: decorator
@inline
const HIGH_DOWN: f32 = 0.765625;

/** Offers one split of each sub-block, with both shifts, for the search to start from. */
function start(first: v128, second: v128, totalWX: v128, totalW: v128): void {
  const x = f32x4.add(sumsBefore(first, sumsWX, STRIDE), sumsBefore(second, sumsWX, STRIDE));
  const low = sumsBefore(first, sumsW, STRIDE), high = sumsBefore(second, sumsW, STRIDE);
  offerStarts(
    f32x4.sub(f32x4.mul(totalWX, f32x4.splat(1.125)), x),
    f32x4.add(
      f32x4.mul(totalW, f32x4.splat(HIGH_UP)),
      f32x4.sub(f32x4.mul(low, f32x4.splat(0.75)), f32x4.mul(high, f32x4.splat(1.25))),
    ),
  );
  offerStarts(
    f32x4.sub(f32x4.mul(totalWX, f32x4.splat(0.875)), x),
    f32x4.add(
      f32x4.mul(totalW, f32x4.splat(HIGH_DOWN)),
      f32x4.sub(f32x4.mul(low, f32x4.splat(1.25)), f32x4.mul(high, f32x4.splat(0.75))),
    ),
  );
}

const ROUNDS = 3;

/**
 * A short descent from a split at zero: levels by the scale of the best split so far, and the scale by the
 * levels.
 */
function descend(): void {
  const all = i32x4.splat(32);
  const totalWX = sumsBefore(all, sumsWX, STRIDE), totalW = sumsBefore(all, sumsW, STRIDE);
  openStarts();
  const negative = countBelow(0, 32);
  start(negative, negative, totalWX, totalW);
  for (let round = 0; round < ROUNDS; round++) {
    const low = countBelow(-0.375, 32), high = countBelow(0.625, 32);
    const lower = countBelow(-0.625, 32), higher = countBelow(0.375, 32);
    start(low, high, totalWX, totalW);
    start(lower, higher, totalWX, totalW);
  }
}

/** Offers the splits at two ranks (times 4) with both shifts, by ggml's formula. */
function consider(wx: usize, w: usize, first: usize, second: usize): void {
  const x1 = load<f32>(wx + first), x2 = load<f32>(wx + second), w1 = load<f32>(w + first), w2 = load<f32>(w + second);
  const middleX = (x2 - x1) * 0.125, highX = load<f32>(wx, 128) - x2;
  const middleW = (w2 - w1) * 0.125 * 0.125, highW = load<f32>(w, 128) - w2;
  first >>= 2;
  second >>= 2;
  offer(x1 * -0.875 + middleX + highX * 1.125, w1 * 0.875 * 0.875 + middleW + highW * 1.125 * 1.125, first, second, 0);
  offer(x1 * -1.125 - middleX + highX * 0.875, w1 * 1.125 * 1.125 + middleW + highW * 0.875 * 0.875, first, second, 3);
}

/** Finds the best split of sub-block k, whose sums are filled. */
function search(k: usize): void {
  const wx = sumsWX + k * STRIDE, w = sumsW + k * STRIDE;
  const total = load<f32>(w, 128);
  const least = leastScore(k, total);
  openChoice();
  if (least > 0) considerNear(wx, w, least);
  else if (total > 0) {
    for (let first: usize = 0; first <= 128; first += 4) {
      for (let second = first; second <= 128; second += 4) consider(wx, w, first, second);
    }
  }
  closeChoice(k);
}

/** Considers, in order, the splits that may reach a score. */
function considerNear(wx: usize, w: usize, score: f32): void {
  const totalWX = load<f32>(wx, 128), totalW = load<f32>(w, 128);
  const xUp = f32x4.splat(totalWX * 1.125), xDown = f32x4.splat(totalWX * 0.875);
  const limitUp = f32x4.splat(score * totalW * HIGH_UP), limitDown = f32x4.splat(score * totalW * HIGH_DOWN);
  for (let i: usize = 0; i < 144; i += 16) {
    const at = table + i;
    const before = v128.load(wx + i), weight = f32x4.mul(f32x4.splat(score), v128.load(w + i));
    const less = f32x4.mul(weight, f32x4.splat(0.75)), more = f32x4.mul(weight, f32x4.splat(1.25));
    v128.store(at, before, X2);
    v128.store(at, f32x4.neg(more), LIMIT2_UP);
    v128.store(at, f32x4.neg(less), LIMIT2_DOWN);
    v128.store(at, f32x4.sub(xUp, before), X1_UP);
    v128.store(at, f32x4.sub(xDown, before), X1_DOWN);
    v128.store(at, f32x4.add(limitUp, less), LIMIT1_UP);
    v128.store(at, f32x4.add(limitDown, more), LIMIT1_DOWN);
  }
  for (let at = table + 132; at < table + 144; at += 4) {
    store<f32>(at, Infinity, LIMIT2_UP);
    store<f32>(at, Infinity, LIMIT2_DOWN);
  }
  considerRows(wx, w, 0, 0, 9);
  considerRows(wx, w, 4, 16, 8);
  considerRows(wx, w, 20, 32, 7);
  considerRows(wx, w, 36, 48, 6);
  considerRows(wx, w, 52, 64, 5);
  considerRows(wx, w, 68, 80, 4);
  considerRows(wx, w, 84, 96, 3);
  considerRows(wx, w, 100, 112, 2);
  considerRows(wx, w, 116, 128, 1);
}

/**
 * Of four splits, from the lower boundary `at` and the upper ones from `offset` above it on: all bits where
 * near.
 */
// @ts-ignore: decorator
@inline
function nearAt(at: usize, offset: usize, xUp: v128, xDown: v128, limitUp: v128, limitDown: v128): v128 {
  const x2 = v128.load(at + offset, X2);
  const qxUp = f32x4.sub(xUp, x2), qxDown = f32x4.sub(xDown, x2);
  return v128.or(
    f32x4.gt(f32x4.mul(qxUp, qxUp), f32x4.add(limitUp, v128.load(at + offset, LIMIT2_UP))),
    f32x4.gt(f32x4.mul(qxDown, qxDown), f32x4.add(limitDown, v128.load(at + offset, LIMIT2_DOWN))),
  );
}

/**
 * Considers the splits with lower boundaries `from`..`to` (times 4), for which the upper ones fill a known
 * number of vectors, so that there is one branch for all of them.
 */
// @ts-ignore: decorator
@inline
function considerRows(wx: usize, w: usize, from: usize, to: usize, vectors: i32): void {
  for (let first = from; first <= to; first += 4) {
    const at = table + first;
    const xUp = v128.load32_splat(at, X1_UP), xDown = v128.load32_splat(at, X1_DOWN);
    const limitUp = v128.load32_splat(at, LIMIT1_UP), limitDown = v128.load32_splat(at, LIMIT1_DOWN);
    let near = nearAt(at, 0, xUp, xDown, limitUp, limitDown);
    if (vectors > 1) near = v128.or(near, nearAt(at, 16, xUp, xDown, limitUp, limitDown));
    if (vectors > 2) near = v128.or(near, nearAt(at, 32, xUp, xDown, limitUp, limitDown));
    if (vectors > 3) near = v128.or(near, nearAt(at, 48, xUp, xDown, limitUp, limitDown));
    if (vectors > 4) near = v128.or(near, nearAt(at, 64, xUp, xDown, limitUp, limitDown));
    if (vectors > 5) near = v128.or(near, nearAt(at, 80, xUp, xDown, limitUp, limitDown));
    if (vectors > 6) near = v128.or(near, nearAt(at, 96, xUp, xDown, limitUp, limitDown));
    if (vectors > 7) near = v128.or(near, nearAt(at, 112, xUp, xDown, limitUp, limitDown));
    if (vectors > 8) near = v128.or(near, nearAt(at, 128, xUp, xDown, limitUp, limitDown));
    if (v128.any_true(near)) considerRow(wx, w, first);
  }
}

/** Considers the near splits with one lower boundary. */
function considerRow(wx: usize, w: usize, first: usize): void {
  const at = table + first;
  const xUp = v128.load32_splat(at, X1_UP), xDown = v128.load32_splat(at, X1_DOWN);
  const limitUp = v128.load32_splat(at, LIMIT1_UP), limitDown = v128.load32_splat(at, LIMIT1_DOWN);
  for (let second = first; second <= 128; second += 16) {
    let near = i32x4.bitmask(nearAt(table + second, 0, xUp, xDown, limitUp, limitDown));
    for (; near != 0; near &= near - 1) consider(wx, w, first, second + (<usize>ctz(near) << 2));
  }
}

/**
 * A block: float16 d; lower bytes of the indices; for each sub-block 16 bits with the upper three bits of its
 * four indices, its scale, and whether it is shifted down.
 */
export function quantize_IQ1_S_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openNeighbours();
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 50) {
      weighErrors(src, importance + i);
      let largest: f32 = 0;
      for (let j: usize = 0; j < 8; j += 4) {
        const x = src + (j << 7);
        rankFour(x, 32);
        sumFour(x, ERRORS + (j << 7));
        descend();
        for (let k: usize = 0; k < 4; k++) {
          if (vanishes(x + (k << 7), 32, 1e-12)) store<i32>(FIRSTS + (k << 2), -1);
          else search(k);
        }
        largest = max(largest, codeFour(x, 32, j));
      }
      pack(dst, largest);
    }
  }
}

function pack(dst: usize, largest: f32): void {
  const d = largest / 15, inverse: f32 = 1 / d;
  store<u16>(dst, halfOf(d * 1.125)); // a little more than the fit, by ggml's measurements
  for (let j: usize = 0; j < 8; j++) {
    const indices = load<u64>(INDICES + (j << 3));
    let bits: u32 = 0;
    for (let k = 0; k < 4; k++) {
      const index = <u32>(indices >> (16 * k));
      store<u8>(dst + (j << 2) + k, index, 2);
      bits |= ((index >> 8) & 7) << (3 * k);
    }
    if (largest > 0) {
      bits |= scaleCode(load<f32>(SCALES + (j << 2)), inverse) << 12;
      if (load<i8>(SHIFTS + (j << 2)) < 0) bits |= 0x8000;
    }
    store<u16>(dst + (j << 1), bits, 34);
  }
}

export function dequantize_IQ1_S(src: usize, dst: usize, n: i32): void {
  openMembers();
  for (const end = dst + (<usize>n << 2); dst < end; src += 50) {
    const d = floatOfHalf(load<u16>(src));
    for (let j: usize = 0; j < 8; j++, dst += 128) {
      const bits = <usize>load<u16>(src + (j << 1), 34);
      const indices = <usize>load<u32>(src + (j << 2), 2);
      const multiple = ((<i32>(bits >> 12) & 7) << 1) + 1;
      const scale = f32x4.splat(d * <f32>multiple * 0.125);
      const shifts = i8x16.splat(1 - ((<i8>(bits >> 15)) << 1));
      const a = codeOfMember((indices & 255) | ((bits & 7) << 8));
      const b = codeOfMember(((indices >> 8) & 255) | (((bits >> 3) & 7) << 8));
      const e = codeOfMember(((indices >> 16) & 255) | (((bits >> 6) & 7) << 8));
      const f = codeOfMember((indices >> 24) | (((bits >> 9) & 7) << 8));
      storeScaled(dst, eightfold(a, b, shifts), scale);
      storeScaled(dst + 64, eightfold(e, f, shifts), scale);
    }
  }
}
