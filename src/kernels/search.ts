import { nearestInts, ROUNDER, ROUNDER_REACH } from './nearest';

/**
 * The search for scale and minimum of a sub-block (x ~ scale * code - min), on eight sub-blocks at once. Must agree
 * with ggml's make_qkx2_quants bit for bit: each of the eight lanes (A: sub-blocks 0..3, B: 4..7) does that
 * function's float operations in its order; its branches become masks. Two vectors rather than one, because the
 * chains of additions are otherwise bound by latency.
 *
 * Each candidate inverse scale fixes codes, weighted least squares over those codes fixes scale and offset, and the
 * best candidate so far moves the offset that the next one starts from.
 */

/** Lanes of the search: element i of the eight sub-blocks is the 32 bytes at LANES + 32 i. */
export const LANES: usize = memory.data(3 * 1024, 16);
/** From an element to its weights (not negative), and to its codes as float32. */
// @ts-ignore: decorator
@inline
export const WEIGHTS: usize = 1024;
// @ts-ignore: decorator
@inline
const CODES: usize = 2048;
/** Scratch: sum w, sum w x, then what a pass leaves, each 32 bytes. */
const SUMS: usize = memory.data(5 * 32, 16);

/** Results, eight float32 each: scale, minimum. */
export const SCALES: usize = memory.data(64, 16);
export const MINS: usize = memory.data(64, 16);
/** The candidate that won: its codes are nearest_int(inverse * (x - offset)), clamped. Eight float32 each. */
export const WON_INVERSES: usize = memory.data(64, 16);
export const WON_OFFSETS: usize = memory.data(64, 16);

/** Writes elements of four sub-blocks of `size` weights, consecutive at src, into the lanes at LANES + group. */
// @ts-ignore: decorator
@inline
export function loadLanes(src: usize, size: usize, group: usize): void {
  const end = src + (size << 2);
  let lanes = LANES + group;
  for (; src < end; src += 16, lanes += 128) {
    const r0 = v128.load(src);
    const r1 = v128.load(src + (size << 2));
    const r2 = v128.load(src + (size << 3));
    const r3 = v128.load(src + size * 12);
    const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
    const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
    const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
    const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
    v128.store(lanes, v128.shuffle<i64>(low01, low23, 0, 2));
    v128.store(lanes, v128.shuffle<i64>(low01, low23, 1, 3), 32);
    v128.store(lanes, v128.shuffle<i64>(high01, high23, 0, 2), 64);
    v128.store(lanes, v128.shuffle<i64>(high01, high23, 1, 3), 96);
  }
}

/**
 * Codes of a candidate, as floats: nearest_int(v) clamped to 0..top. `exact` for any v; otherwise |v| must be within
 * ROUNDER_REACH, which spares the way through integers.
 */
// @ts-ignore: decorator
@inline
function codesOf(v: v128, top: f32, exact: bool): v128 {
  if (exact) {
    const clamped = i32x4.max_s(i32x4.min_s(nearestInts(v), i32x4.splat(<i32>top)), i32x4.splat(0));
    return f32x4.convert_i32x4_s(clamped);
  }
  const rounded = f32x4.add(v, f32x4.splat(ROUNDER));
  const clamped = f32x4.pmin(f32x4.pmax(rounded, f32x4.splat(ROUNDER)), f32x4.splat(ROUNDER + top));
  return f32x4.sub(clamped, f32x4.splat(ROUNDER));
}

/** Codes of a candidate to CODES, and sum w l, sum w l^2, sum w l x to SUMS + 64. */
// @ts-ignore: decorator
@inline
function code(size: usize, top: f32, exact: bool, inverseA: v128, inverseB: v128, offsetA: v128, offsetB: v128): void {
  let lA = f32x4.splat(0), lB = f32x4.splat(0);
  let llA = f32x4.splat(0), llB = f32x4.splat(0);
  let xlA = f32x4.splat(0), xlB = f32x4.splat(0);
  for (let at = LANES, end = LANES + (size << 5); at < end; at += 32) {
    const xA = v128.load(at), xB = v128.load(at, 16);
    const codeA = codesOf(f32x4.mul(inverseA, f32x4.sub(xA, offsetA)), top, exact);
    const codeB = codesOf(f32x4.mul(inverseB, f32x4.sub(xB, offsetB)), top, exact);
    v128.store(at, codeA, CODES);
    v128.store(at, codeB, CODES + 16);
    const weightedA = f32x4.mul(v128.load(at, WEIGHTS), codeA);
    const weightedB = f32x4.mul(v128.load(at, WEIGHTS + 16), codeB);
    lA = f32x4.add(lA, weightedA);
    lB = f32x4.add(lB, weightedB);
    llA = f32x4.add(llA, f32x4.mul(weightedA, codeA));
    llB = f32x4.add(llB, f32x4.mul(weightedB, codeB));
    xlA = f32x4.add(xlA, f32x4.mul(weightedA, xA));
    xlB = f32x4.add(xlB, f32x4.mul(weightedB, xB));
  }
  v128.store(SUMS, lA, 64);
  v128.store(SUMS, lB, 80);
  v128.store(SUMS, llA, 96);
  v128.store(SUMS, llB, 112);
  v128.store(SUMS, xlA, 128);
  v128.store(SUMS, xlB, 144);
}

/** Weighted error of x ~ scale * code + offset over the codes in CODES, to SUMS + 64: absolute or square. */
// @ts-ignore: decorator
@inline
function judge(size: usize, absolute: bool, scaleA: v128, scaleB: v128, offsetA: v128, offsetB: v128): void {
  let sumA = f32x4.splat(0), sumB = f32x4.splat(0);
  for (let at = LANES, end = LANES + (size << 5); at < end; at += 32) {
    const dA = f32x4.sub(f32x4.add(f32x4.mul(scaleA, v128.load(at, CODES)), offsetA), v128.load(at));
    const dB = f32x4.sub(f32x4.add(f32x4.mul(scaleB, v128.load(at, CODES + 16)), offsetB), v128.load(at, 16));
    const costA = absolute ? f32x4.abs(dA) : f32x4.mul(dA, dA);
    const costB = absolute ? f32x4.abs(dB) : f32x4.mul(dB, dB);
    sumA = f32x4.add(sumA, f32x4.mul(v128.load(at, WEIGHTS), costA));
    sumB = f32x4.add(sumB, f32x4.mul(v128.load(at, WEIGHTS + 16), costB));
  }
  v128.store(SUMS, sumA, 64);
  v128.store(SUMS, sumB, 80);
}

/** Whether v lies within ROUNDER_REACH in every lane; false for NaN. */
// @ts-ignore: decorator
@inline
function reachable(v: v128): v128 {
  return f32x4.le(f32x4.abs(v), f32x4.splat(ROUNDER_REACH));
}

/**
 * Searches the sub-blocks of `size` weights in LANES. Candidates are the inverse scales
 * (first + delta * step + top) / range for step = 0..steps. Results go to SCALES, MINS, WON_*, at byte `to`.
 */
// @ts-ignore: decorator
@inline
export function search(
  size: usize, top: f32, first: f32, delta: f32, steps: i32, absolute: bool, to: usize,
): void {
  let lowA = v128.load(LANES), lowB = v128.load(LANES, 16);
  let highA = lowA, highB = lowB;
  let sumWA = v128.load(LANES, WEIGHTS), sumWB = v128.load(LANES, WEIGHTS + 16);
  let sumXA = f32x4.mul(sumWA, lowA), sumXB = f32x4.mul(sumWB, lowB);
  for (let at = LANES + 32, end = LANES + (size << 5); at < end; at += 32) {
    const xA = v128.load(at), xB = v128.load(at, 16);
    const wA = v128.load(at, WEIGHTS), wB = v128.load(at, WEIGHTS + 16);
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
  // Sub-blocks with nothing to search (all equal, none positive): scale 0, codes 0.
  const liveA = f32x4.ne(highA, offsetA), liveB = f32x4.ne(highB, offsetB);

  // Step -1 is the candidate `range / top` without least squares.
  let scaleA = zero, scaleB = zero;
  let bestA = zero, bestB = zero;
  let wonInverseA = zero, wonInverseB = zero;
  let wonOffsetA = offsetA, wonOffsetB = offsetB;
  for (let step = -1; step <= steps; step++) {
    const numerator = f32x4.splat(step < 0 ? top : first + delta * <f32>step + top);
    const inverseA = v128.and(f32x4.div(numerator, f32x4.sub(highA, offsetA)), liveA);
    const inverseB = v128.and(f32x4.div(numerator, f32x4.sub(highB, offsetB)), liveB);
    // Subtraction and product are monotonic, so that the extremes vouch for every x between.
    const inReach = v128.and(
      v128.and(
        reachable(f32x4.mul(inverseA, f32x4.sub(lowA, offsetA))),
        reachable(f32x4.mul(inverseA, f32x4.sub(highA, offsetA)))),
      v128.and(
        reachable(f32x4.mul(inverseB, f32x4.sub(lowB, offsetB))),
        reachable(f32x4.mul(inverseB, f32x4.sub(highB, offsetB)))));
    if (i32x4.all_true(inReach)) code(size, top, false, inverseA, inverseB, offsetA, offsetB);
    else code(size, top, true, inverseA, inverseB, offsetA, offsetB);

    let fitA: v128, fitB: v128, fitOffsetA: v128, fitOffsetB: v128, fitsA: v128, fitsB: v128;
    if (step < 0) {
      fitA = f32x4.div(f32x4.splat(1), inverseA);
      fitB = f32x4.div(f32x4.splat(1), inverseB);
      fitOffsetA = offsetA;
      fitOffsetB = offsetB;
      fitsA = liveA;
      fitsB = liveB;
    } else {
      const lA = v128.load(SUMS, 64), lB = v128.load(SUMS, 80);
      const llA = v128.load(SUMS, 96), llB = v128.load(SUMS, 112);
      const xlA = v128.load(SUMS, 128), xlB = v128.load(SUMS, 144);
      const determinantA = f32x4.sub(f32x4.mul(sumWA, llA), f32x4.mul(lA, lA));
      const determinantB = f32x4.sub(f32x4.mul(sumWB, llB), f32x4.mul(lB, lB));
      fitA = f32x4.div(f32x4.sub(f32x4.mul(sumWA, xlA), f32x4.mul(sumXA, lA)), determinantA);
      fitB = f32x4.div(f32x4.sub(f32x4.mul(sumWB, xlB), f32x4.mul(sumXB, lB)), determinantB);
      fitOffsetA = f32x4.div(f32x4.sub(f32x4.mul(llA, sumXA), f32x4.mul(lA, xlA)), determinantA);
      fitOffsetB = f32x4.div(f32x4.sub(f32x4.mul(llB, sumXB), f32x4.mul(lB, xlB)), determinantB);
      const positiveA = f32x4.gt(fitOffsetA, zero), positiveB = f32x4.gt(fitOffsetB, zero);
      fitA = v128.bitselect(f32x4.div(xlA, llA), fitA, positiveA);
      fitB = v128.bitselect(f32x4.div(xlB, llB), fitB, positiveB);
      fitOffsetA = v128.andnot(fitOffsetA, positiveA);
      fitOffsetB = v128.andnot(fitOffsetB, positiveB);
      fitsA = v128.and(f32x4.gt(determinantA, zero), liveA);
      fitsB = v128.and(f32x4.gt(determinantB, zero), liveB);
    }

    judge(size, absolute, fitA, fitB, fitOffsetA, fitOffsetB);
    const errorA = v128.load(SUMS, 64), errorB = v128.load(SUMS, 80);
    const winsA = step < 0 ? fitsA : v128.and(fitsA, f32x4.lt(errorA, bestA));
    const winsB = step < 0 ? fitsB : v128.and(fitsB, f32x4.lt(errorB, bestB));
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
  v128.store(WON_INVERSES + to, wonInverseA);
  v128.store(WON_INVERSES + to, wonInverseB, 16);
  v128.store(WON_OFFSETS + to, wonOffsetA);
  v128.store(WON_OFFSETS + to, wonOffsetB, 16);
}
