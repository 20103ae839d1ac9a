import { storeScaled } from './decode';
import { floatOfHalf, halfOf } from './half';
import {
  codeFour, codeOfMember, eightfold, ERRORS, FIRSTS, INDICES, LANE_RANKS, prefixSums, rankFour, RANKS, scaleCode,
  SCALES, SECONDS, SHIFTS, SPLIT_SCALES, SPLIT_SHIFTS, vanishes, weighErrors,
} from './iq1';
import { openMembers, openNeighbours } from './iq1-book';
import { countBelow, offerStart, openStarts, startingScore } from './iq1-split';

/**
 * IQ1_S: sub-blocks of 32 weights. Must agree with `quantize_row_iq1_s_impl`, whose search tries all splits of a
 * sub-block into three runs, with both shifts.
 */

const STRIDE: usize = 160;

/** In ascending order, four sub-blocks side by side: w x and w. */
const sortedWX: usize = memory.data(512, 16);
const sortedW: usize = memory.data(512, 16);
/** Sums of the first 0, 1, ..., 32 of these, one sub-block after the other; 0 beyond. */
const sumsWX: usize = memory.data(640, 16);
const sumsW: usize = memory.data(640, 16);
/**
 * What the highest level adds to the sums of w q x and w q^2 with either shift, by the rank it starts from. Beyond the
 * last rank a sum of w q^2 is infinite.
 */
const upQX: usize = memory.data(144, 16);
const upQQ: usize = memory.data(144, 16);
const downQX: usize = memory.data(144, 16);
const downQQ: usize = memory.data(144, 16);

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

/** Tries one split of sub-block k with both shifts, as a candidate to begin with. */
function tryAt(k: usize, first: usize, second: usize): void {
  const wx = sumsWX + k * STRIDE, w = sumsW + k * STRIDE;
  const x1 = load<f32>(wx + (first << 2)), x2 = load<f32>(wx + (second << 2)), x3 = load<f32>(wx, 128);
  const w1 = load<f32>(w + (first << 2)), w2 = load<f32>(w + (second << 2)), w3 = load<f32>(w, 128);
  const middleX = (x2 - x1) * 0.125, highX = x3 - x2;
  const middleW = (w2 - w1) * 0.125 * 0.125, highW = w3 - w2;
  offerStart(k, x1 * -0.875 + middleX + highX * 1.125, w1 * 0.875 * 0.875 + middleW + highW * 1.125 * 1.125);
  offerStart(k, x1 * -1.125 - middleX + highX * 0.875, w1 * 1.125 * 1.125 + middleW + highW * 0.875 * 0.875);
}

/** A short descent: levels by the scale of the best split so far, and the scale by the levels. */
function descend(): void {
  openStarts();
  for (let k: usize = 0; k < 4; k++) tryAt(k, 10, 22);
  for (let round = 0; round < ROUNDS; round++) {
    v128.store(counts, countBelow(-0.375, 32));
    v128.store(counts, countBelow(0.625, 32), 16);
    v128.store(counts, countBelow(-0.625, 32), 32);
    v128.store(counts, countBelow(0.375, 32), 48);
    for (let k: usize = 0; k < 4; k++) {
      const at = counts + (k << 2);
      tryAt(k, load<u32>(at), load<u32>(at, 16));
      tryAt(k, load<u32>(at, 32), load<u32>(at, 48));
    }
  }
}
const ROUNDS = 3;
const counts: usize = memory.data(64, 16);

// The best split so far, and sums of w q x and w q^2 of four candidates with either shift.
let bestScore: f32 = 0, bestScale: f32 = 0, bestShift: f32 = 0;
let bestFirst = -1, bestSecond = 0;
const candidates: usize = memory.data(64, 16);

/** Goes through the four candidates in order, of which `second` may lie beyond the last rank. */
function takeBetter(first: i32, second: i32): void {
  for (let at = candidates; at < candidates + 16; at += 4, second++) {
    if (second > 32) return;
    offer(load<f32>(at), load<f32>(at, 16), first, second, 1);
    offer(load<f32>(at, 32), load<f32>(at, 48), first, second, -1);
  }
}

function offer(qx: f32, qq: f32, first: i32, second: i32, shift: f32): void {
  if (!(qq > 0 && qx * qx > bestScore * qq)) return;
  bestScale = qx / qq;
  bestScore = bestScale * qx;
  bestFirst = first;
  bestSecond = second;
  bestShift = shift;
}

/** Finds the best split of sub-block k, whose sums are filled. */
function search(k: usize): void {
  const wx = sumsWX + k * STRIDE, w = sumsW + k * STRIDE;
  const totalX = v128.load32_splat(wx, 128), totalW = v128.load32_splat(w, 128);
  const less = f32x4.splat(0.875), more = f32x4.splat(1.125), eighth = f32x4.splat(0.125);
  for (let at: usize = 0; at < 144; at += 16) {
    const highX = f32x4.sub(totalX, v128.load(wx + at)), highW = f32x4.sub(totalW, v128.load(w + at));
    v128.store(upQX + at, f32x4.mul(highX, more));
    v128.store(upQQ + at, f32x4.mul(f32x4.mul(highW, more), more));
    v128.store(downQX + at, f32x4.mul(highX, less));
    v128.store(downQQ + at, f32x4.mul(f32x4.mul(highW, less), less));
  }
  for (let at: usize = 132; at < 144; at += 4) {
    store<f32>(upQQ + at, Infinity);
    store<f32>(downQQ + at, Infinity);
  }
  bestFirst = -1;
  bestScore = startingScore(k, load<f32>(w, 128));
  let score = f32x4.splat(bestScore);
  for (let first: usize = 0; first <= 128; first += 4) {
    const lowX = v128.load32_splat(wx + first), lowW = v128.load32_splat(w + first);
    const lowUpQX = f32x4.mul(lowX, f32x4.splat(-0.875)), lowDownQX = f32x4.mul(lowX, f32x4.splat(-1.125));
    const lowUpQQ = f32x4.mul(f32x4.mul(lowW, less), less), lowDownQQ = f32x4.mul(f32x4.mul(lowW, more), more);
    for (let second = first; second <= 128; second += 16) {
      const middleX = f32x4.mul(f32x4.sub(v128.load(wx + second), lowX), eighth);
      const middleW = f32x4.mul(f32x4.mul(f32x4.sub(v128.load(w + second), lowW), eighth), eighth);
      const qxUp = f32x4.add(f32x4.add(lowUpQX, middleX), v128.load(upQX + second));
      const qqUp = f32x4.add(f32x4.add(lowUpQQ, middleW), v128.load(upQQ + second));
      const qxDown = f32x4.add(f32x4.sub(lowDownQX, middleX), v128.load(downQX + second));
      const qqDown = f32x4.add(f32x4.add(lowDownQQ, middleW), v128.load(downQQ + second));
      const better = v128.or(
        f32x4.gt(f32x4.mul(qxUp, qxUp), f32x4.mul(score, qqUp)),
        f32x4.gt(f32x4.mul(qxDown, qxDown), f32x4.mul(score, qqDown)),
      );
      if (v128.any_true(better)) {
        v128.store(candidates, qxUp);
        v128.store(candidates, qqUp, 16);
        v128.store(candidates, qxDown, 32);
        v128.store(candidates, qqDown, 48);
        takeBetter(<i32>(first >> 2), <i32>(second >> 2));
        score = f32x4.splat(bestScore);
      }
    }
  }
  store<i32>(FIRSTS + (k << 2), bestFirst);
  store<i32>(SECONDS + (k << 2), bestSecond);
  store<f32>(SPLIT_SCALES + (k << 2), bestScale);
  store<f32>(SPLIT_SHIFTS + (k << 3), bestShift);
  store<f32>(SPLIT_SHIFTS + (k << 3), bestShift, 4);
}

/**
 * A block: float16 d; lower bytes of the indices; for each sub-block 16 bits with the upper three bits of its four
 * indices, its scale, and whether it is shifted down.
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
