import { LANES } from './iq1';

/**
 * The choice of a split. ggml goes through all candidates in order and keeps one after another whenever the new one
 * is better: where qx^2 > score * qq, qx being its sum of w q x and qq that of w q^2, then score = (qx / qq) * qx, all
 * in float32.
 *
 * The kernels first find a good candidate by a short descent and let the search begin with a score just below its:
 * nearly all others then fail a comparison of four at once. The result is the same. Until some candidate decides, each
 * comparison may go wrong by a few roundings, 2^-22 of the score; so what was best before can only have kept its place
 * against a candidate that is better by more than MARGIN if more than MARGIN * 2^22 candidates lay between. There are
 * 1122.
 */
const MARGIN: f32 = 5e-4;

/** Scores (f32) and scales (f32) of the best candidates of the descent, one a sub-block. */
const startScores: usize = memory.data(16, 16);
const startScales: usize = memory.data(16, 16);

/** Begins the descent for four sub-blocks. */
export function openStarts(): void {
  v128.store(startScores, f32x4.splat(0));
  v128.store(startScales, f32x4.splat(0));
}

/** Takes a candidate of sub-block k into account. */
export function offerStart(k: usize, qx: f32, qq: f32): void {
  const scale = qx / qq;
  const score = scale * qx;
  if (score > load<f32>(startScores + (k << 2)) && score < Infinity) {
    store<f32>(startScores + (k << 2), score);
    store<f32>(startScales + (k << 2), scale);
  }
}

/** Boundaries between the levels, in units of the best scale so far: a number of weights below each, i32 by lane. */
// @ts-ignore: decorator
@inline
export function countBelow(boundary: f32, n: i32): v128 {
  const limit = f32x4.mul(f32x4.abs(v128.load(startScales)), f32x4.splat(boundary));
  let count = i32x4.splat(0);
  for (let i: usize = 0; i < <usize>n << 4; i += 16) count = i32x4.sub(count, f32x4.lt(v128.load(LANES + i), limit));
  return count;
}

/** Whether float32 neither over- nor underflows on the way from this to the squares and products of a comparison. */
// @ts-ignore: decorator
@inline
function harmless(value: f32): bool {
  return value > 1e-24 && value < 1e24;
}

/** The score from which the search for sub-block k begins; `total` is the sum of w, and qq lies within 1/64..2 of it. */
export function startingScore(k: usize, total: f32): f32 {
  const score = load<f32>(startScores + (k << 2));
  return harmless(score) && harmless(total) && harmless(score * total) ? score * (1 - MARGIN) : -f32.MAX_VALUE;
}
