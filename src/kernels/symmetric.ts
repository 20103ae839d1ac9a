import { weightOf } from './importance';
import { EPS, signedMaxima, signedMaximum } from './lanes';
import { nearestInt, nearestInts, ROUNDER } from './nearest';

/**
 * The search for the scale of a sub-block on a grid around zero (x ~ scale * level, level in -middle .. middle - 1), on
 * four sub-blocks at once, one a lane. Must agree with `make_qx_quants` (rmse_type 1) bit for bit.
 */

/** Weights of four sub-blocks, interleaved, and what the error of each counts: 32 vectors at most. */
export const XS = memory.data(512, 16);
export const WEIGHTS = memory.data(512, 16);
const products = memory.data(512, 16); // weight * x
const candidates = memory.data(288, 16); // 18 inverse scales
const sumsLx = memory.data(288, 16); // for each: sum of w x l
const sumsLl = memory.data(288, 16); // and of w l^2

/** x * inverse rounded, half to even, without the way through integers: |x * inverse| < middle + 2 here. */
// @ts-ignore: decorator
@inline
function levels(inverse: v128, x: v128): v128 {
  return f32x4.sub(f32x4.add(f32x4.mul(inverse, x), f32x4.splat(ROUNDER)), f32x4.splat(ROUNDER));
}

// @ts-ignore: decorator
@inline
function clamp(level: v128, middle: f32, below: bool): v128 {
  const capped = f32x4.pmin(f32x4.splat(middle - 1), level);
  return below ? f32x4.pmax(f32x4.splat(-middle), capped) : capped;
}

/**
 * Sums of w x l and w l^2 for six candidates from `first` on, l the levels at the candidate's inverse
 * scale. Six at once keep the float units busy, which one alone does not. Without `below` no level may be
 * less than -middle.
 */
// @ts-ignore: decorator
@inline
function sixMoments(first: usize, end: usize, middle: f32, below: bool): void {
  const at = first << 4;
  const inv0 = v128.load(candidates + at), inv1 = v128.load(candidates + at, 16);
  const inv2 = v128.load(candidates + at, 32), inv3 = v128.load(candidates + at, 48);
  const inv4 = v128.load(candidates + at, 64), inv5 = v128.load(candidates + at, 80);
  let lx0 = f32x4.splat(0), lx1 = lx0, lx2 = lx0, lx3 = lx0, lx4 = lx0, lx5 = lx0;
  let ll0 = lx0, ll1 = lx0, ll2 = lx0, ll3 = lx0, ll4 = lx0, ll5 = lx0;
  for (let i: usize = 0; i < end; i += 16) {
    const x = v128.load(XS + i), w = v128.load(WEIGHTS + i), wx = v128.load(products + i);
    const l0 = clamp(levels(inv0, x), middle, below), l1 = clamp(levels(inv1, x), middle, below);
    lx0 = f32x4.add(lx0, f32x4.mul(wx, l0));
    lx1 = f32x4.add(lx1, f32x4.mul(wx, l1));
    ll0 = f32x4.add(ll0, f32x4.mul(f32x4.mul(w, l0), l0));
    ll1 = f32x4.add(ll1, f32x4.mul(f32x4.mul(w, l1), l1));
    const l2 = clamp(levels(inv2, x), middle, below), l3 = clamp(levels(inv3, x), middle, below);
    lx2 = f32x4.add(lx2, f32x4.mul(wx, l2));
    lx3 = f32x4.add(lx3, f32x4.mul(wx, l3));
    ll2 = f32x4.add(ll2, f32x4.mul(f32x4.mul(w, l2), l2));
    ll3 = f32x4.add(ll3, f32x4.mul(f32x4.mul(w, l3), l3));
    const l4 = clamp(levels(inv4, x), middle, below), l5 = clamp(levels(inv5, x), middle, below);
    lx4 = f32x4.add(lx4, f32x4.mul(wx, l4));
    lx5 = f32x4.add(lx5, f32x4.mul(wx, l5));
    ll4 = f32x4.add(ll4, f32x4.mul(f32x4.mul(w, l4), l4));
    ll5 = f32x4.add(ll5, f32x4.mul(f32x4.mul(w, l5), l5));
  }
  v128.store(sumsLx + at, lx0);
  v128.store(sumsLx + at, lx1, 16);
  v128.store(sumsLx + at, lx2, 32);
  v128.store(sumsLx + at, lx3, 48);
  v128.store(sumsLx + at, lx4, 64);
  v128.store(sumsLx + at, lx5, 80);
  v128.store(sumsLl + at, ll0);
  v128.store(sumsLl + at, ll1, 16);
  v128.store(sumsLl + at, ll2, 32);
  v128.store(sumsLl + at, ll3, 48);
  v128.store(sumsLl + at, ll4, 64);
  v128.store(sumsLl + at, ll5, 80);
}

/** Weights of the four sub-blocks in XS without importance: x^2. */
export function weighBySquares(size: i32): void {
  for (let i: usize = 0; i < <usize>size << 4; i += 16) {
    const x = v128.load(XS + i);
    v128.store(WEIGHTS + i, f32x4.mul(x, x));
  }
}

/** Turns importances in WEIGHTS into weights: importance * sqrt(variance + x^2), with the variance of each sub-block. */
// @ts-ignore: decorator
@inline
export function weighByImportance(size: i32, variance: v128): void {
  for (let i: usize = 0; i < <usize>size << 4; i += 16) {
    v128.store(WEIGHTS + i, weightOf(v128.load(XS + i), v128.load(WEIGHTS + i), variance));
  }
}

/**
 * Scales of the four sub-blocks of `size` weights in XS under WEIGHTS, and the inverse scales that won: of 19 around
 * -middle / max, the one whose least-squares scale leaves the least weighted error. Four float32 each to `scales` and
 * `inverses`; both are 0 for a sub-block of zeros.
 */
export function searchSymmetric(size: i32, middle: f32, scales: usize, inverses: usize): void {
  const end = <usize>size << 4;
  const max = signedMaxima(XS, size);
  let lx = f32x4.splat(0), ll = lx;
  let inverse = f32x4.div(f32x4.splat(-middle), max);
  for (let i: usize = 0; i < end; i += 16) {
    const x = v128.load(XS + i), w = v128.load(WEIGHTS + i);
    const wx = f32x4.mul(w, x);
    const l = clamp(levels(inverse, x), middle, false);
    v128.store(products + i, wx);
    lx = f32x4.add(lx, f32x4.mul(wx, l));
    ll = f32x4.add(ll, f32x4.mul(f32x4.mul(w, l), l));
  }
  let scale = v128.and(f32x4.div(lx, ll), f32x4.ne(ll, f32x4.splat(0)));
  let best = f32x4.mul(scale, lx);

  for (let i = 0; i < 18; i++) {
    const step: f32 = <f32>(i < 9 ? i - 9 : i - 8); // -9..-1, 1..9
    v128.store(candidates + (<usize>i << 4), f32x4.div(f32x4.splat(-(middle + <f32>0.1 * step)), max));
  }
  sixMoments(0, end, middle, false); // up to -(middle + 0.3): rounds to -middle at the least
  sixMoments(6, end, middle, false);
  sixMoments(12, end, middle, true);
  for (let at: usize = 0; at < 18 << 4; at += 16) {
    const lx = v128.load(sumsLx + at), ll = v128.load(sumsLl + at);
    const better = v128.and(f32x4.gt(ll, f32x4.splat(0)), f32x4.gt(f32x4.mul(lx, lx), f32x4.mul(best, ll)));
    const refitted = f32x4.div(lx, ll);
    inverse = v128.bitselect(v128.load(candidates + at), inverse, better);
    scale = v128.bitselect(refitted, scale, better);
    best = v128.bitselect(f32x4.mul(refitted, lx), best, better);
  }
  const nonzero = f32x4.ge(f32x4.abs(max), f32x4.splat(EPS));
  v128.store(scales, v128.and(scale, nonzero));
  v128.store(inverses, v128.and(inverse, nonzero));
}

/**
 * The same for one sub-block of 16 float32 at xs under 16 weights, whose values may be infinite or NaN: here the
 * candidates are lanes. Returns the scale and writes codes level + middle as bytes, 0 for a sub-block of zeros.
 */
export function searchSymmetricOne(xs: usize, weights: usize, middle: f32, codes: usize): f32 {
  const largest = signedMaximum(xs, 16);
  memory.fill(codes, 0, 16);
  if (abs<f32>(largest) < EPS) return 0;

  store<f32>(candidates, -middle / largest);
  for (let i = 1; i < 20; i++) {
    const step: f32 = <f32>(i < 10 ? i - 10 : min(i - 9, 9)); // -9..-1, 1..9; the last twice, to fill the lanes
    store<f32>(candidates + (<usize>i << 2), -(middle + <f32>0.1 * step) / largest);
  }
  const least = i32x4.splat(<i32>-middle), most = i32x4.splat(<i32>middle - 1);
  for (let at: usize = 0; at < 80; at += 16) {
    const inverse = v128.load(candidates + at);
    let lx = f32x4.splat(0), ll = lx;
    for (let i: usize = 0; i < 64; i += 4) {
      const x = v128.load32_splat(xs + i), w = v128.load32_splat(weights + i);
      const nearest = nearestInts(f32x4.mul(inverse, x));
      const level = f32x4.convert_i32x4_s(i32x4.max_s(least, i32x4.min_s(most, nearest)));
      lx = f32x4.add(lx, f32x4.mul(f32x4.mul(w, x), level));
      ll = f32x4.add(ll, f32x4.mul(f32x4.mul(w, level), level));
    }
    v128.store(sumsLx + at, lx);
    v128.store(sumsLl + at, ll);
  }

  let inverse = load<f32>(candidates), lx = load<f32>(sumsLx), ll = load<f32>(sumsLl);
  let scale: f32 = ll != 0 ? lx / ll : 0;
  let best = scale * lx;
  for (let at: usize = 4; at < 76; at += 4) {
    lx = load<f32>(sumsLx + at);
    ll = load<f32>(sumsLl + at);
    if (ll > 0 && lx * lx > best * ll) {
      inverse = load<f32>(candidates + at);
      scale = lx / ll;
      best = scale * lx;
    }
  }
  for (let i: usize = 0; i < 16; i++) {
    const level = nearestInt(inverse * load<f32>(xs + (i << 2)));
    store<u8>(codes + i, <u8>(max(<i32>-middle, min(<i32>middle - 1, level)) + <i32>middle));
  }
  return scale;
}
