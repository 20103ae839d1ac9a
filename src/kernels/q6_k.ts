import { codesAround, levelsByDivision, levelsByProduct, storeScaled } from './levels';
import { floatOfHalf, halfOf } from './half';
import { interleave, signedMaxima, signedMaximum } from './lanes';
import { nearestInt, ROUNDER } from './nearest';

/**
 * Q6_K: 256 weights as 16 sub-blocks of 16; x = d * scale * (code - 32). A block is 128 bytes of low nibbles, 64 of
 * high pairs, 16 int8 scales and float16 d. Must agree with `quantize_row_q6_K_ref` and `make_qx_quants`
 * (rmse_type 1).
 */

const EPS: f32 = 1e-15; // GROUP_MAX_EPS: a sub-block below is all zero

const xs = memory.data(256, 16); // four sub-blocks, interleaved
const weights = memory.data(256, 16); // x^2
const weighted = memory.data(256, 16); // x^2 * x
const candidates = memory.data(288, 16); // 18 inverse scales
const sumsLx = memory.data(288, 16); // for each: sum of w x l
const sumsLl = memory.data(288, 16); // and of w l^2
const scales = memory.data(64, 16); // f32 per sub-block, as searched
const inverses = memory.data(64, 16); // f32 per sub-block: the inverse scale that won the search
const codes = memory.data(256, 16); // u8 per weight, in order

/** One rounded level in each lane, unclamped: |inverse * x| < 34 here, so the sum with ROUNDER is exact. */
// @ts-ignore: decorator
@inline
function levels(inverse: v128, x: v128): v128 {
  return f32x4.sub(f32x4.add(f32x4.mul(inverse, x), f32x4.splat(ROUNDER)), f32x4.splat(ROUNDER));
}

// @ts-ignore: decorator
@inline
function clamp(level: v128, below: bool): v128 {
  const capped = f32x4.pmin(f32x4.splat(31), level);
  return below ? f32x4.pmax(f32x4.splat(-32), capped) : capped;
}

/**
 * Sums of w x l and w l^2 for six candidates from `first` on, l the levels at the candidate's inverse scale. Six at
 * once keep the float units busy, which one alone does not. Without `below` no level may be less than -32.
 */
// @ts-ignore: decorator
@inline
function sixMoments(first: usize, below: bool): void {
  const at = first << 4;
  const inv0 = v128.load(candidates + at), inv1 = v128.load(candidates + at, 16);
  const inv2 = v128.load(candidates + at, 32), inv3 = v128.load(candidates + at, 48);
  const inv4 = v128.load(candidates + at, 64), inv5 = v128.load(candidates + at, 80);
  let lx0 = f32x4.splat(0), lx1 = lx0, lx2 = lx0, lx3 = lx0, lx4 = lx0, lx5 = lx0;
  let ll0 = lx0, ll1 = lx0, ll2 = lx0, ll3 = lx0, ll4 = lx0, ll5 = lx0;
  for (let i: usize = 0; i < 256; i += 16) {
    const x = v128.load(xs + i), w = v128.load(weights + i), wx = v128.load(weighted + i);
    const l0 = clamp(levels(inv0, x), below), l1 = clamp(levels(inv1, x), below);
    lx0 = f32x4.add(lx0, f32x4.mul(wx, l0));
    lx1 = f32x4.add(lx1, f32x4.mul(wx, l1));
    ll0 = f32x4.add(ll0, f32x4.mul(f32x4.mul(w, l0), l0));
    ll1 = f32x4.add(ll1, f32x4.mul(f32x4.mul(w, l1), l1));
    const l2 = clamp(levels(inv2, x), below), l3 = clamp(levels(inv3, x), below);
    lx2 = f32x4.add(lx2, f32x4.mul(wx, l2));
    lx3 = f32x4.add(lx3, f32x4.mul(wx, l3));
    ll2 = f32x4.add(ll2, f32x4.mul(f32x4.mul(w, l2), l2));
    ll3 = f32x4.add(ll3, f32x4.mul(f32x4.mul(w, l3), l3));
    const l4 = clamp(levels(inv4, x), below), l5 = clamp(levels(inv5, x), below);
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

/**
 * Scales of the four sub-blocks at src, and the inverse scales that won: of 19 around -32 / max, the one whose
 * least-squares scale leaves the least error weighted by x^2. Both are 0 for a sub-block of zeros.
 */
function searchScales(src: usize, scales: usize, inverses: usize): void {
  interleave(src, src + 64, src + 128, src + 192, 16, xs);
  const max = signedMaxima(xs, 16);
  let lx = f32x4.splat(0), ll = lx;
  let inverse = f32x4.div(f32x4.splat(-32), max);
  for (let i: usize = 0; i < 256; i += 16) {
    const x = v128.load(xs + i);
    const w = f32x4.mul(x, x);
    const wx = f32x4.mul(w, x);
    const l = clamp(levels(inverse, x), false);
    v128.store(weights + i, w);
    v128.store(weighted + i, wx);
    lx = f32x4.add(lx, f32x4.mul(wx, l));
    ll = f32x4.add(ll, f32x4.mul(f32x4.mul(w, l), l));
  }
  let scale = v128.and(f32x4.div(lx, ll), f32x4.ne(ll, f32x4.splat(0)));
  let best = f32x4.mul(scale, lx);

  for (let i = 0; i < 18; i++) {
    const step: f32 = <f32>(i < 9 ? i - 9 : i - 8); // -9..-1, 1..9
    v128.store(candidates + (<usize>i << 4), f32x4.div(f32x4.splat(-(<f32>32 + <f32>0.1 * step)), max));
  }
  sixMoments(0, false); // up to -32.3: rounds to -32 at the least
  sixMoments(6, false);
  sixMoments(12, true);
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

export function quantize_Q6_K(src: usize, dst: usize, n: i32): void {
  const end = src + (<usize>n << 2);
  for (; src < end; src += 1024, dst += 210) {
    for (let group: usize = 0; group < 4; group++) {
      searchScales(src + (group << 8), scales + (group << 4), inverses + (group << 4));
    }
    const max = signedMaximum(scales, 16);
    if (abs<f32>(max) < EPS) {
      memory.fill(dst, 0, 210);
      continue;
    }
    const inverse = <f32>-128 / max;
    const half = halfOf(<f32>1 / inverse);
    store<u16>(dst, half, 208);
    const d = floatOfHalf(half);
    for (let j: usize = 0; j < 16; j++) {
      const scale = load<f32>(scales + (j << 2));
      const rounded = nearestInt(inverse * scale);
      store<i8>(dst + j, <i8>min(127, rounded), 192);
      const step = d * <f32>load<i8>(dst + j, 192);
      const searched = load<f32>(inverses + (j << 2));
      // Where the stored scale vanishes, the codes of the search stay: 0 for a sub-block of zeros.
      if (step != 0) v128.store(codes + (j << 4), codesAround(32, levelsByDivision(src + (j << 6), step)));
      else if (searched != 0) v128.store(codes + (j << 4), codesAround(32, levelsByProduct(src + (j << 6), searched)));
      else v128.store(codes + (j << 4), i8x16.splat(0));
    }
    pack(dst);
  }
}

/** Codes to nibbles and pairs: in each half of 128 weights, four quarters of 32 share bytes. */
function pack(dst: usize): void {
  const nibble = i8x16.splat(15);
  for (let half: usize = 0; half < 2; half++) {
    for (let i: usize = 0; i < 32; i += 16) {
      const at = codes + (half << 7) + i;
      const q0 = v128.load(at), q1 = v128.load(at, 32), q2 = v128.load(at, 64), q3 = v128.load(at, 96);
      const low = dst + (half << 6) + i;
      v128.store(low, v128.or(v128.and(q0, nibble), i16x8.shl(v128.and(q2, nibble), 4)));
      v128.store(low, v128.or(v128.and(q1, nibble), i16x8.shl(v128.and(q3, nibble), 4)), 32);
      // Bits 4 and 5 of each code, moved to their pair.
      const pairs = i8x16.splat(0x30);
      v128.store(
        dst + (half << 5) + i,
        v128.or(
          v128.or(i16x8.shr_u(v128.and(q0, pairs), 4), i16x8.shr_u(v128.and(q1, pairs), 2)),
          v128.or(v128.and(q2, pairs), i16x8.shl(v128.and(q3, pairs), 2)),
        ),
        128,
      );
    }
  }
}

export function dequantize_Q6_K(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const nibble = i8x16.splat(15), pair = i8x16.splat(0x30), zero = i8x16.splat(32);
  for (; dst < end; src += 210) {
    const d = floatOfHalf(load<u16>(src, 208));
    for (let half: usize = 0; half < 2; half++, dst += 384) {
      for (let i: usize = 0; i < 2; i++, dst += 64) {
        const low = src + (half << 6) + (i << 4), scale = src + (half << 3) + i;
        const low0 = v128.load(low), low1 = v128.load(low, 32);
        const high = v128.load(src + (half << 5) + (i << 4), 128);
        const q0 = v128.or(v128.and(low0, nibble), v128.and(i16x8.shl(high, 4), pair));
        const q1 = v128.or(v128.and(low1, nibble), v128.and(i16x8.shl(high, 2), pair));
        const q2 = v128.or(v128.and(i16x8.shr_u(low0, 4), nibble), v128.and(high, pair));
        const q3 = v128.or(v128.and(i16x8.shr_u(low1, 4), nibble), v128.and(i16x8.shr_u(high, 2), pair));
        storeScaled(dst, d * <f32>load<i8>(scale, 192), i8x16.sub(q0, zero));
        storeScaled(dst + 128, d * <f32>load<i8>(scale, 194), i8x16.sub(q1, zero));
        storeScaled(dst + 256, d * <f32>load<i8>(scale, 196), i8x16.sub(q2, zero));
        storeScaled(dst + 384, d * <f32>load<i8>(scale, 198), i8x16.sub(q3, zero));
      }
    }
  }
}
