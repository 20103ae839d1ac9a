import { weightOf } from './importance';
import { nearestInts, ROUNDER, ROUNDER_REACH } from './nearest';

/**
 * The search for scale and minimum of a sub-block (x ~ scale * code - min), on eight sub-blocks at once. Must agree
 * with ggml's make_qkx2_quants and make_qkx3_quants bit for bit: each lane does that function's float operations, in its order, for one
 * sub-block; its branches become masks. The eight sub-blocks are two groups of four, A and B: the processor works on
 * one group's sums while the other's chain of additions or its divisions are under way.
 *
 * Each candidate inverse scale fixes codes, weighted least squares over those codes fixes scale and offset, and the
 * best candidate so far moves the offset that the next one starts from.
 */

/** From an element of a group to its weight (not negative), and to its code in a candidate, all three float32. */
// @ts-ignore: decorator
@inline
export const WEIGHTS: usize = 512;
// @ts-ignore: decorator
@inline
const CODES: usize = 1024;
/** Bytes of a group: 32 elements of x, of weights, of codes. */
// @ts-ignore: decorator
@inline
export const GROUP: usize = 1536;
/** The two groups. Element i of a group's four sub-blocks is the v128 at 16 i. */
export const LANES: usize = memory.data(3072, 16);

/** What `code` leaves: sum w l, sum w l^2, sum w l x, four lanes each. */
const SUMS: usize = memory.data(48, 16);
/** What `judge` leaves: the error of each of the eight lanes. */
const ERRORS: usize = memory.data(32, 16);

/** Results, one float32 a sub-block (16 at most): scale, minimum, sum of the weights. */
export const SCALES: usize = memory.data(64, 16);
export const MINS: usize = memory.data(64, 16);
export const TOTALS: usize = memory.data(64, 16);
/** The candidate that won: its codes are nearest_int(inverse * (x - offset)), clamped. */
export const WON_INVERSES: usize = memory.data(64, 16);
export const WON_OFFSETS: usize = memory.data(64, 16);

/** Spreads four consecutive sub-blocks of `size` weights over the lanes of a group. */
// @ts-ignore: decorator
@inline
export function loadLanes(src: usize, size: usize, group: usize): void {
  for (const end = src + (size << 2); src < end; src += 16, group += 64) {
    const r0 = v128.load(src);
    const r1 = v128.load(src + (size << 2));
    const r2 = v128.load(src + (size << 3));
    const r3 = v128.load(src + size * 12);
    const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
    const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
    const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
    const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
    v128.store(group, v128.shuffle<i64>(low01, low23, 0, 2));
    v128.store(group, v128.shuffle<i64>(low01, low23, 1, 3), 16);
    v128.store(group, v128.shuffle<i64>(high01, high23, 0, 2), 32);
    v128.store(group, v128.shuffle<i64>(high01, high23, 1, 3), 48);
  }
}

/** `code` for a candidate within the rounder's reach; `clamps` when some code may need it. */
// @ts-ignore: decorator
@inline
function codeInReach(group: usize, end: usize, top: f32, inverse: v128, offset: v128, clamps: bool): void {
  const least = f32x4.splat(ROUNDER), most = f32x4.splat(ROUNDER + top);
  let l = f32x4.splat(0), ll = f32x4.splat(0), xl = f32x4.splat(0);
  for (let at = group; at < end; at += 16) {
    const x = v128.load(at);
    let code = f32x4.add(f32x4.mul(inverse, f32x4.sub(x, offset)), least);
    if (clamps) code = f32x4.pmin(f32x4.pmax(code, least), most);
    code = f32x4.sub(code, least);
    v128.store(at, code, CODES);
    const weighted = f32x4.mul(v128.load(at, WEIGHTS), code);
    l = f32x4.add(l, weighted);
    ll = f32x4.add(ll, f32x4.mul(weighted, code));
    xl = f32x4.add(xl, f32x4.mul(weighted, x));
  }
  v128.store(SUMS, l);
  v128.store(SUMS, ll, 16);
  v128.store(SUMS, xl, 32);
}

/**
 * `code` for any candidate, by way of integers: for NaN (a range that overflows, or whose inverse does), and for
 * offsets so far from x that the rounder fails, which takes weights of extreme ratio.
 */
// @ts-ignore: decorator
@inline
function codeAnywhere(group: usize, end: usize, top: f32, inverse: v128, offset: v128): void {
  const zero = i32x4.splat(0), most = i32x4.splat(<i32>top);
  let l = f32x4.splat(0), ll = f32x4.splat(0), xl = f32x4.splat(0);
  for (let at = group; at < end; at += 16) {
    const x = v128.load(at);
    const nearest = nearestInts(f32x4.mul(inverse, f32x4.sub(x, offset)));
    const code = f32x4.convert_i32x4_s(i32x4.max_s(i32x4.min_s(nearest, most), zero));
    v128.store(at, code, CODES);
    const weighted = f32x4.mul(v128.load(at, WEIGHTS), code);
    l = f32x4.add(l, weighted);
    ll = f32x4.add(ll, f32x4.mul(weighted, code));
    xl = f32x4.add(xl, f32x4.mul(weighted, x));
  }
  v128.store(SUMS, l);
  v128.store(SUMS, ll, 16);
  v128.store(SUMS, xl, 32);
}

/**
 * Turns the importances beside the lanes of a group into weights, importance * sqrt(variance + x^2).
 */
export function weighByImportance(group: usize, size: usize, variance: f32): void {
  const by = f32x4.splat(variance);
  for (let at = group, end = group + (size << 4); at < end; at += 16) {
    v128.store(at, weightOf(v128.load(at), v128.load(at, WEIGHTS), by), WEIGHTS);
  }
}

/** Whether from <= least and most <= to in all lanes; false for NaN. */
// @ts-ignore: decorator
@inline
function within(least: v128, most: v128, from: f32, to: f32): bool {
  return i32x4.all_true(v128.and(f32x4.ge(least, f32x4.splat(from)), f32x4.le(most, f32x4.splat(to))));
}

/**
 * Writes a candidate's codes, nearest_int(inverse * (x - offset)) clamped to 0..top, and its SUMS. low and high are
 * the extremes of x: subtraction and product are monotonic, so that what holds for them holds for every x between.
 */
function code(group: usize, size: usize, top: f32, inverse: v128, offset: v128, low: v128, high: v128): void {
  const end = group + (size << 4);
  const atLow = f32x4.mul(inverse, f32x4.sub(low, offset)), atHigh = f32x4.mul(inverse, f32x4.sub(high, offset));
  const least = f32x4.min(atLow, atHigh), most = f32x4.max(atLow, atHigh);
  if (within(least, most, -0.5, top + 0.49)) codeInReach(group, end, top, inverse, offset, false);
  else if (within(least, most, -ROUNDER_REACH, ROUNDER_REACH)) codeInReach(group, end, top, inverse, offset, true);
  else codeAnywhere(group, end, top, inverse, offset);
}

/** Weighted error, absolute or square, of x ~ scale * code + offset over the codes that `code` wrote. */
function judge(size: usize, absolute: bool, scaleA: v128, scaleB: v128, offsetA: v128, offsetB: v128): void {
  const end = LANES + (size << 4);
  let sumA = f32x4.splat(0), sumB = f32x4.splat(0);
  if (absolute) {
    for (let at = LANES; at < end; at += 16) {
      const eA = f32x4.sub(f32x4.add(f32x4.mul(scaleA, v128.load(at, CODES)), offsetA), v128.load(at));
      const eB = f32x4.sub(f32x4.add(f32x4.mul(scaleB, v128.load(at, GROUP + CODES)), offsetB), v128.load(at, GROUP));
      sumA = f32x4.add(sumA, f32x4.mul(v128.load(at, WEIGHTS), f32x4.abs(eA)));
      sumB = f32x4.add(sumB, f32x4.mul(v128.load(at, GROUP + WEIGHTS), f32x4.abs(eB)));
    }
  } else {
    for (let at = LANES; at < end; at += 16) {
      const eA = f32x4.sub(f32x4.add(f32x4.mul(scaleA, v128.load(at, CODES)), offsetA), v128.load(at));
      const eB = f32x4.sub(f32x4.add(f32x4.mul(scaleB, v128.load(at, GROUP + CODES)), offsetB), v128.load(at, GROUP));
      sumA = f32x4.add(sumA, f32x4.mul(v128.load(at, WEIGHTS), f32x4.mul(eA, eA)));
      sumB = f32x4.add(sumB, f32x4.mul(v128.load(at, GROUP + WEIGHTS), f32x4.mul(eB, eB)));
    }
  }
  v128.store(ERRORS, sumA);
  v128.store(ERRORS, sumB, 16);
}

/**
 * Searches the eight sub-blocks of `size` weights (16 or 32) in LANES. Candidates are the inverse scales
 * (first + delta * step + top) / range for step = 0..steps, judged by weighted absolute or square errors. Results go
 * to SCALES, MINS, TOTALS and WON_*, at byte `to`.
 */
export function search(
  size: usize, top: f32, first: f32, delta: f32, steps: i32, absolute: bool, to: usize,
): void {
  const groupA = LANES, groupB = LANES + GROUP;
  let lowA = v128.load(groupA), lowB = v128.load(groupB);
  let highA = lowA, highB = lowB;
  let sumWA = v128.load(groupA, WEIGHTS), sumWB = v128.load(groupB, WEIGHTS);
  let sumXA = f32x4.mul(sumWA, lowA), sumXB = f32x4.mul(sumWB, lowB);
  for (let at = groupA + 16, end = groupA + (size << 4); at < end; at += 16) {
    const xA = v128.load(at), xB = v128.load(at, GROUP);
    const wA = v128.load(at, WEIGHTS), wB = v128.load(at, GROUP + WEIGHTS);
    lowA = f32x4.pmin(lowA, xA);
    lowB = f32x4.pmin(lowB, xB);
    highA = f32x4.pmax(highA, xA);
    highB = f32x4.pmax(highB, xB);
    sumWA = f32x4.add(sumWA, wA);
    sumWB = f32x4.add(sumWB, wB);
    sumXA = f32x4.add(sumXA, f32x4.mul(wA, xA));
    sumXB = f32x4.add(sumXB, f32x4.mul(wB, xB));
  }
  const zero = f32x4.splat(0);
  let offsetA = f32x4.pmin(lowA, zero), offsetB = f32x4.pmin(lowB, zero);
  // Lanes with nothing to search (all equal, none positive): an inverse of 0 keeps codes and determinants at 0.
  const liveA = f32x4.ne(highA, offsetA), liveB = f32x4.ne(highB, offsetB);

  // The first candidate spreads the codes over the range, with no least squares.
  let wonInverseA = v128.and(f32x4.div(f32x4.splat(top), f32x4.sub(highA, offsetA)), liveA);
  let wonInverseB = v128.and(f32x4.div(f32x4.splat(top), f32x4.sub(highB, offsetB)), liveB);
  let wonOffsetA = offsetA, wonOffsetB = offsetB;
  let scaleA = v128.and(f32x4.div(f32x4.splat(1), wonInverseA), liveA);
  let scaleB = v128.and(f32x4.div(f32x4.splat(1), wonInverseB), liveB);
  code(groupA, size, top, wonInverseA, offsetA, lowA, highA);
  code(groupB, size, top, wonInverseB, offsetB, lowB, highB);
  judge(size, absolute, scaleA, scaleB, offsetA, offsetB);
  let bestA = v128.load(ERRORS), bestB = v128.load(ERRORS, 16);

  for (let step = 0; step <= steps; step++) {
    const numerator = f32x4.splat(first + delta * <f32>step + top);
    const inverseA = v128.and(f32x4.div(numerator, f32x4.sub(highA, offsetA)), liveA);
    const inverseB = v128.and(f32x4.div(numerator, f32x4.sub(highB, offsetB)), liveB);
    code(groupA, size, top, inverseA, offsetA, lowA, highA);
    const lA = v128.load(SUMS), llA = v128.load(SUMS, 16), xlA = v128.load(SUMS, 32);
    code(groupB, size, top, inverseB, offsetB, lowB, highB);
    const lB = v128.load(SUMS), llB = v128.load(SUMS, 16), xlB = v128.load(SUMS, 32);

    const determinantA = f32x4.sub(f32x4.mul(sumWA, llA), f32x4.mul(lA, lA));
    const determinantB = f32x4.sub(f32x4.mul(sumWB, llB), f32x4.mul(lB, lB));
    let fitA = f32x4.div(f32x4.sub(f32x4.mul(sumWA, xlA), f32x4.mul(sumXA, lA)), determinantA);
    let fitB = f32x4.div(f32x4.sub(f32x4.mul(sumWB, xlB), f32x4.mul(sumXB, lB)), determinantB);
    let fitOffsetA = f32x4.div(f32x4.sub(f32x4.mul(llA, sumXA), f32x4.mul(lA, xlA)), determinantA);
    let fitOffsetB = f32x4.div(f32x4.sub(f32x4.mul(llB, sumXB), f32x4.mul(lB, xlB)), determinantB);
    // A positive offset is not representable: fit the scale alone.
    const positiveA = f32x4.gt(fitOffsetA, zero), positiveB = f32x4.gt(fitOffsetB, zero);
    fitA = v128.bitselect(f32x4.div(xlA, llA), fitA, positiveA);
    fitB = v128.bitselect(f32x4.div(xlB, llB), fitB, positiveB);
    fitOffsetA = v128.andnot(fitOffsetA, positiveA);
    fitOffsetB = v128.andnot(fitOffsetB, positiveB);

    judge(size, absolute, fitA, fitB, fitOffsetA, fitOffsetB);
    const errorA = v128.load(ERRORS), errorB = v128.load(ERRORS, 16);
    const winsA = v128.and(f32x4.gt(determinantA, zero), f32x4.lt(errorA, bestA));
    const winsB = v128.and(f32x4.gt(determinantB, zero), f32x4.lt(errorB, bestB));
    bestA = v128.bitselect(errorA, bestA, winsA);
    bestB = v128.bitselect(errorB, bestB, winsB);
    scaleA = v128.bitselect(fitA, scaleA, winsA);
    scaleB = v128.bitselect(fitB, scaleB, winsB);
    wonInverseA = v128.bitselect(inverseA, wonInverseA, winsA);
    wonInverseB = v128.bitselect(inverseB, wonInverseB, winsB);
    wonOffsetA = v128.bitselect(offsetA, wonOffsetA, winsA);
    wonOffsetB = v128.bitselect(offsetB, wonOffsetB, winsB);
    offsetA = v128.bitselect(fitOffsetA, offsetA, winsA);
    offsetB = v128.bitselect(fitOffsetB, offsetB, winsB);
  }
  v128.store(SCALES + to, scaleA);
  v128.store(SCALES + to, scaleB, 16);
  v128.store(MINS + to, f32x4.neg(offsetA));
  v128.store(MINS + to, f32x4.neg(offsetB), 16);
  v128.store(TOTALS + to, sumWA);
  v128.store(TOTALS + to, sumWB, 16);
  v128.store(WON_INVERSES + to, wonInverseA);
  v128.store(WON_INVERSES + to, wonInverseB, 16);
  v128.store(WON_OFFSETS + to, wonOffsetA);
  v128.store(WON_OFFSETS + to, wonOffsetB, 16);
}
