import { FIRSTS, LANES, SECONDS, SPLIT_SCALES, SPLIT_SHIFTS } from './iq1';

/**
 * The choice of a split, for IQ1_S and IQ1_M. ggml goes through all candidates in order and keeps one after
 * another whenever the new one is better: qx^2 > score * qq, where qx is its sum of w q x and qq that of w
 * q^2; then score = (qx / qq) * qx. All of it is float32.
 *
 * Here a short descent finds a good split first, and only candidates that come near its score are looked at
 * in full: those for which qx^2 > (1 - MARGIN) * score * qq, by sums that may differ from ggml's in rounding.
 * The result is the same:
 * - A comparison of ggml's goes wrong by 2^-22 of the score at most. What was best before could therefore
 *   only stand against a candidate that is better by 2^-22 * n if n candidates lay between; there are 1122,
 *   so that all of importance are better than (1 - 0.00027) times the best score.
 * - qq is at least 1/64 of the sum W of all w, and its rounding errors are below 2^-20 W. Splitting at
 *   zero, where the descent begins, has |qx| >= 7/8 A, A being the sum of all w |x|; so a candidate of
 *   importance has |qx| above A / 11, while rounding errors are below 2^-20 A. Together they are less than
 *   0.0001 of the score, for both scores compared.
 */
const MARGIN: f32 = 5e-4;

/** Scores (f32) and scales (f32) of the best splits of the descent, one a sub-block. */
const startScores: usize = memory.data(16, 16);
const startScales: usize = memory.data(16, 16);

/** Begins the descent for four sub-blocks. */
export function openStarts(): void {
  v128.store(startScores, f32x4.splat(0));
  v128.store(startScales, f32x4.splat(0));
}

/** Takes one split of each sub-block into account. */
// @ts-ignore: decorator
@inline
export function offerStarts(qx: v128, qq: v128): void {
  const scale = f32x4.div(qx, qq), score = f32x4.mul(scale, qx);
  const known = v128.load(startScores);
  const better = v128.and(f32x4.gt(score, known), f32x4.lt(score, f32x4.splat(Infinity)));
  v128.store(startScores, v128.bitselect(score, known, better));
  v128.store(startScales, v128.bitselect(scale, v128.load(startScales), better));
}

/**
 * Of n weights, how many are below a boundary that is given in units of the best scale so far, i32 by lane.
 */
// @ts-ignore: decorator
@inline
export function countBelow(boundary: f32, n: i32): v128 {
  const limit = f32x4.mul(f32x4.abs(v128.load(startScales)), f32x4.splat(boundary));
  let count = i32x4.splat(0);
  for (let i: usize = 0; i < <usize>n << 4; i += 16) count = i32x4.sub(count, f32x4.lt(v128.load(LANES + i), limit));
  return count;
}

/** The sums before a rank, a lane each, from where those of the first sub-block start; ranks are i32. */
// @ts-ignore: decorator
@inline
export function sumsBefore(ranks: v128, sums: usize, stride: usize): v128 {
  let found = v128.load32_zero(sums + (<usize>i32x4.extract_lane(ranks, 0) << 2));
  found = v128.load_lane<u32>(sums + stride + (<usize>i32x4.extract_lane(ranks, 1) << 2), found, 1);
  found = v128.load_lane<u32>(sums + 2 * stride + (<usize>i32x4.extract_lane(ranks, 2) << 2), found, 2);
  return v128.load_lane<u32>(sums + 3 * stride + (<usize>i32x4.extract_lane(ranks, 3) << 2), found, 3);
}

/** Whether float32 neither over- nor underflows between this and the squares and products of a comparison. */
// @ts-ignore: decorator
@inline
function harmless(value: f32): bool {
  return value > 1e-30 && value < 1e30;
}

/**
 * The score that candidates of sub-block k must reach, or 0 where all must be looked at; `total` is the sum
 * of all w.
 */
export function leastScore(k: usize, total: f32): f32 {
  const score = load<f32>(startScores + (k << 2));
  return harmless(score) && harmless(total) && harmless(score * total) ? score * (1 - MARGIN) : 0;
}

/**
 * The best candidate so far: its score and scale, the ranks from which the levels are 1 and 2, its shifts as
 * a number.
 */
let bestScore: f32 = 0, bestScale: f32 = 0;
let bestFirst = -1, bestSecond = 0, bestShifts = 0;

/** Begins the choice for a sub-block. */
// @ts-ignore: decorator
@inline
export function openChoice(): void {
  bestFirst = -1;
  bestScore = -f32.MAX_VALUE;
}

/** Offers a candidate with ggml's own sums; candidates must come in ggml's order. */
// @ts-ignore: decorator
@inline
export function offer(qx: f32, qq: f32, first: usize, second: usize, shifts: i32): void {
  if (!(qq > 0 && qx * qx > bestScore * qq)) return;
  bestScale = qx / qq;
  bestScore = bestScale * qx;
  bestFirst = <i32>first;
  bestSecond = <i32>second;
  bestShifts = shifts;
}

/**
 * Writes the choice for sub-block k; bits 1 and 0 of its shifts are set where the first and the second half
 * go down.
 */
export function closeChoice(k: usize): void {
  store<i32>(FIRSTS + (k << 2), bestFirst);
  store<i32>(SECONDS + (k << 2), bestSecond);
  store<f32>(SPLIT_SCALES + (k << 2), bestScale);
  store<f32>(SPLIT_SHIFTS + (k << 3), (bestShifts & 2) != 0 ? -1 : 1);
  store<f32>(SPLIT_SHIFTS + (k << 3), (bestShifts & 1) != 0 ? -1 : 1, 4);
}
