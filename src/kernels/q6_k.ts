import { floatOfHalf, halfOf } from './half';
import { interleave, signedMaxima, signedMaximum } from './lanes';
import { nearestInt } from './nearest';

/**
 * Q6_K: 256 weights as 16 sub-blocks of 16; x = d * scale * (code - 32). A block is 128 bytes of low nibbles, 64 of
 * high pairs, 16 int8 scales and float16 d. Must agree with `quantize_row_q6_K_ref` and `make_qx_quants`
 * (rmse_type 1).
 */

const EPS: f32 = 1e-15; // GROUP_MAX_EPS: a sub-block below is all zero
const MAGIC: f32 = 12582912; // 1.5 * 2^23, see nearestInt

const xs = memory.data(256, 16); // four sub-blocks, interleaved
const weights = memory.data(256, 16); // x^2
const weighted = memory.data(256, 16); // x^2 * x
const scales = memory.data(64, 16); // f32 per sub-block, as searched
const inverses = memory.data(64, 16); // f32 per sub-block: the inverse scale that won the search
const codes = memory.data(256, 16); // u8 per weight, in order

/**
 * Scales of the four sub-blocks at src: of 19 inverse scales around -32 / max, the one whose least-squares scale leaves
 * the least error weighted by x^2. Here |x * inverse| < 34, so rounding and clamping need no integers.
 */
function searchScales(src: usize, scales: usize, inverses: usize): void {
  interleave(src, src + 64, src + 128, src + 192, 16, xs);
  const max = signedMaxima(xs, 16);
  for (let i: usize = 0; i < 256; i += 16) {
    const x = v128.load(xs + i);
    const w = f32x4.mul(x, x);
    v128.store(weights + i, w);
    v128.store(weighted + i, f32x4.mul(w, x));
  }

  let inverse = f32x4.splat(0), scale = f32x4.splat(0), best = f32x4.splat(0);
  for (let candidate = 0; candidate < 19; candidate++) {
    const step = candidate == 0 ? 0 : candidate < 10 ? candidate - 10 : candidate - 9; // 0, -9..-1, 1..9
    const inv = f32x4.div(f32x4.splat(-(<f32>32 + <f32>0.1 * <f32>step)), max);
    let lx = f32x4.splat(0), l2 = f32x4.splat(0);
    for (let i: usize = 0; i < 256; i += 16) {
      const rounded = f32x4.sub(f32x4.add(f32x4.mul(inv, v128.load(xs + i)), f32x4.splat(MAGIC)), f32x4.splat(MAGIC));
      const l = f32x4.pmax(f32x4.splat(-32), f32x4.pmin(f32x4.splat(31), rounded));
      lx = f32x4.add(lx, f32x4.mul(v128.load(weighted + i), l));
      l2 = f32x4.add(l2, f32x4.mul(f32x4.mul(v128.load(weights + i), l), l));
    }
    if (candidate == 0) {
      inverse = inv;
      scale = v128.and(f32x4.div(lx, l2), f32x4.ne(l2, f32x4.splat(0)));
      best = f32x4.mul(scale, lx);
    } else {
      const better = v128.and(
        f32x4.gt(l2, f32x4.splat(0)),
        f32x4.gt(f32x4.mul(lx, lx), f32x4.mul(best, l2)),
      );
      const refitted = f32x4.div(lx, l2);
      inverse = v128.bitselect(inv, inverse, better);
      scale = v128.bitselect(refitted, scale, better);
      best = v128.bitselect(f32x4.mul(refitted, lx), best, better);
    }
  }
  const nonzero = f32x4.ge(f32x4.abs(max), f32x4.splat(EPS));
  v128.store(scales, v128.and(scale, nonzero));
  v128.store(inverses, v128.and(inverse, nonzero));
}

/** Sixteen codes (level + 32) of weights at src: levels x / d, or x * inverse where d is zero. */
// @ts-ignore: decorator
@inline
function sixteenLevels(a: v128, b: v128, c: v128, d: v128): v128 {
  const levels = i8x16.narrow_i16x8_s(
    i16x8.narrow_i32x4_s(nearestInt(a), nearestInt(b)),
    i16x8.narrow_i32x4_s(nearestInt(c), nearestInt(d)),
  );
  return i8x16.add(i8x16.max_s(i8x16.min_s(levels, i8x16.splat(31)), i8x16.splat(-32)), i8x16.splat(32));
}

function encodeSubBlock(x: usize, d: f32, inverse: f32, codes: usize): void {
  const x0 = v128.load(x), x1 = v128.load(x, 16), x2 = v128.load(x, 32), x3 = v128.load(x, 48);
  if (d != 0) {
    const by = f32x4.splat(d);
    v128.store(codes, sixteenLevels(f32x4.div(x0, by), f32x4.div(x1, by), f32x4.div(x2, by), f32x4.div(x3, by)));
  } else {
    const by = f32x4.splat(inverse);
    v128.store(codes, sixteenLevels(f32x4.mul(x0, by), f32x4.mul(x1, by), f32x4.mul(x2, by), f32x4.mul(x3, by)));
  }
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
      const rounded = i32x4.extract_lane(nearestInt(f32x4.splat(inverse * scale)), 0);
      store<i8>(dst + j, <i8>min(127, rounded), 192);
      const x = src + (j << 6);
      const step = d * <f32>load<i8>(dst + j, 192);
      if (step == 0 && load<u32>(inverses + (j << 2)) == 0) v128.store(codes + (j << 4), i8x16.splat(0));
      else encodeSubBlock(x, step, load<f32>(inverses + (j << 2)), codes + (j << 4));
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

/** Sixteen values d * (code - 32). */
// @ts-ignore: decorator
@inline
function expand(codes: v128, d: f32, dst: usize): void {
  const levels = i8x16.sub(codes, i8x16.splat(32));
  const low = i16x8.extend_low_i8x16_s(levels), high = i16x8.extend_high_i8x16_s(levels);
  const by = f32x4.splat(d);
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low))));
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low))), 16);
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high))), 32);
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high))), 48);
}

export function dequantize_Q6_K(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  const nibble = i8x16.splat(15), pairs = i8x16.splat(0x30);
  for (; dst < end; src += 210) {
    const d = floatOfHalf(load<u16>(src, 208));
    for (let half: usize = 0; half < 2; half++, dst += 512) {
      for (let part: usize = 0; part < 2; part++) {
        const low = v128.load(src + (half << 6) + (part << 4)), low1 = v128.load(src + (half << 6) + (part << 4), 32);
        const high = v128.load(src + (half << 5) + (part << 4), 128);
        const scale = src + (half << 3) + part;
        const to = dst + (part << 6);
        expand(v128.or(v128.and(low, nibble), v128.and(i16x8.shl(high, 4), pairs)), d * <f32>load<i8>(scale, 192), to);
        expand(v128.or(v128.and(low1, nibble), v128.and(i16x8.shl(high, 2), pairs)), d * <f32>load<i8>(scale, 194), to + 128);
        expand(v128.or(v128.and(i16x8.shr_u(low, 4), nibble), v128.and(high, pairs)), d * <f32>load<i8>(scale, 196), to + 256);
        expand(v128.or(v128.and(i16x8.shr_u(low1, 4), nibble), v128.and(i16x8.shr_u(high, 2), pairs)), d * <f32>load<i8>(scale, 198), to + 384);
      }
    }
  }
}
