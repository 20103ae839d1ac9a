import { storeScaled } from './levels';
import { floatOfHalf, halfOf, halfOfQuotient } from './half';
import { sumOfSquares } from './importance';
import { EPS, interleave, signedMaxima, signedMaximum } from './lanes';
import { nearestInt, ROUNDER } from './nearest';
import { weighByImportance, weighBySquares, WEIGHTS, XS } from './symmetric';

/**
 * IQ4_NL and IQ4_XS: 4-bit indices into a grid of 16 int8 values, x = d * grid[index] in blocks of 32. Must
 * agree with `quantize_row_iq4_nl_impl` (ntry 7). Byte i of 16 holds the indices of weights
 * i and i + 16.
 */

const scales = memory.data(32, 16); // f32 per block: NL four blocks, XS the eight sub-blocks

// @ts-ignore: decorator
@inline
function grid(): v128 {
  return i8x16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}

/** Byte of a table of 32 for each index; 0 for an index outside. */
// @ts-ignore: decorator
@inline
function lookUp(table0: v128, table1: v128, index: v128): v128 {
  return v128.or(i8x16.swizzle(table0, index), i8x16.swizzle(table1, i8x16.sub(index, i8x16.splat(16))));
}

/**
 * Indices of the nearest grid values (the upper one at a midpoint) for sixteen values, given doubled,
 * within -300..271.
 *
 * Doubled midpoints are integers, so the integers k = floor decide. From -240 on, runs of 16 integers hold
 * at most one midpoint each: two tables by run give the index at the run's end, and the place in the run
 * from which it is valid (before, it is one less). Below the first run both tables give 0, which is the
 * index there.
 */
// @ts-ignore: decorator
@inline
function indicesOf(v0: v128, v1: v128, v2: v128, v3: v128): v128 {
  const shift = f32x4.splat(ROUNDER + 240); // leaves k + 240 in the low 16 bits
  const word = i32x4.splat(0xffff);
  const k0 = i16x8.narrow_i32x4_u(
    v128.and(f32x4.add(f32x4.floor(v0), shift), word),
    v128.and(f32x4.add(f32x4.floor(v1), shift), word),
  );
  const k1 = i16x8.narrow_i32x4_u(
    v128.and(f32x4.add(f32x4.floor(v2), shift), word),
    v128.and(f32x4.add(f32x4.floor(v3), shift), word),
  );
  const run = i8x16.narrow_i16x8_s(i16x8.shr_s(k0, 4), i16x8.shr_s(k1, 4));
  const place = i8x16.narrow_i16x8_s(v128.and(k0, i16x8.splat(15)), v128.and(k1, i16x8.splat(15)));
  const index = lookUp(
    i8x16(1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9),
    i8x16(9, 10, 11, 11, 12, 12, 13, 13, 14, 14, 14, 15, 15, 15, 15, 15),
    run,
  );
  const from = lookUp(
    i8x16(9, 0, 0, 5, 0, 12, 0, 14, 0, 12, 0, 7, 0, 0, 7, 14),
    i8x16(0, 6, 15, 0, 11, 0, 10, 0, 14, 0, 0, 10, 0, 0, 0, 0),
    run,
  );
  return i8x16.add(index, i8x16.gt_s(from, place));
}

/**
 * Scales of the four blocks of 32 in XS under WEIGHTS, 0 where all is zero: of 16 inverse scales around -127 / max,
 * the one whose least-squares scale leaves the least weighted error. Here |x * inverse| < 135.
 */
function searchScales(): v128 {
  const max = signedMaxima(XS, 32);
  let scale = f32x4.splat(0), best = f32x4.splat(0);
  for (let step = -8; step <= 7; step++) {
    const plain = step == -8; // the first candidate, tried before -7..7
    const inverse = plain
      ? f32x4.div(f32x4.splat(1), f32x4.div(max, f32x4.splat(127)))
      : f32x4.div(f32x4.splat(<f32>(step - 127)), max);
    const doubled = f32x4.add(inverse, inverse);
    let qx = f32x4.splat(0), qq = f32x4.splat(0);
    for (let i: usize = 0; i < 512; i += 64) {
      const x0 = v128.load(XS + i), x1 = v128.load(XS + i, 16);
      const x2 = v128.load(XS + i, 32), x3 = v128.load(XS + i, 48);
      const index = indicesOf(
        f32x4.mul(doubled, x0),
        f32x4.mul(doubled, x1),
        f32x4.mul(doubled, x2),
        f32x4.mul(doubled, x3),
      );
      const q = i8x16.swizzle(grid(), index);
      const low = i16x8.extend_low_i8x16_s(q), high = i16x8.extend_high_i8x16_s(q);
      const q0 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low));
      const q1 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low));
      const q2 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high));
      const q3 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high));
      const wq0 = f32x4.mul(v128.load(WEIGHTS + i), q0), wq1 = f32x4.mul(v128.load(WEIGHTS + i, 16), q1);
      const wq2 = f32x4.mul(v128.load(WEIGHTS + i, 32), q2), wq3 = f32x4.mul(v128.load(WEIGHTS + i, 48), q3);
      qx = f32x4.add(qx, f32x4.mul(wq0, x0));
      qq = f32x4.add(qq, f32x4.mul(wq0, q0));
      qx = f32x4.add(qx, f32x4.mul(wq1, x1));
      qq = f32x4.add(qq, f32x4.mul(wq1, q1));
      qx = f32x4.add(qx, f32x4.mul(wq2, x2));
      qq = f32x4.add(qq, f32x4.mul(wq2, q2));
      qx = f32x4.add(qx, f32x4.mul(wq3, x3));
      qq = f32x4.add(qq, f32x4.mul(wq3, q3));
    }
    const positive = f32x4.gt(qq, f32x4.splat(0));
    const refitted = f32x4.div(qx, qq);
    if (plain) {
      scale = v128.and(refitted, positive);
      best = f32x4.mul(scale, qx);
    } else {
      const better = v128.and(positive, f32x4.gt(f32x4.mul(qx, qx), f32x4.mul(best, qq)));
      scale = v128.bitselect(refitted, scale, better);
      best = v128.bitselect(f32x4.mul(refitted, qx), best, better);
    }
  }
  return v128.and(scale, f32x4.ge(f32x4.abs(max), f32x4.splat(EPS)));
}

/** Doubled x * inverse, limited to what `indicesOf` takes; NaN goes to the upper end. */
// @ts-ignore: decorator
@inline
function doubledProduct(x: v128, inverse: v128): v128 {
  const product = f32x4.mul(x, inverse);
  return f32x4.pmax(f32x4.splat(-300), f32x4.pmin(f32x4.splat(270), f32x4.add(product, product)));
}

// @ts-ignore: decorator
@inline
function indicesAt(x: usize, inverse: v128): v128 {
  return indicesOf(
    doubledProduct(v128.load(x), inverse),
    doubledProduct(v128.load(x, 16), inverse),
    doubledProduct(v128.load(x, 32), inverse),
    doubledProduct(v128.load(x, 48), inverse),
  );
}

/** Codes 32 weights at a scale; at 0 all get the index of 0. */
function encodeIndices(x: usize, scale: f32, dst: usize): void {
  const inverse = f32x4.splat(scale != 0 ? <f32>1 / scale : 0);
  v128.store(dst, v128.or(indicesAt(x, inverse), i16x8.shl(indicesAt(x + 64, inverse), 4)));
}

// @ts-ignore: decorator
@inline
function decodeIndices(src: usize, d: f32, dst: usize): void {
  const bytes = v128.load(src);
  const nibble = i8x16.splat(15);
  storeScaled(dst, d, i8x16.swizzle(grid(), v128.and(bytes, nibble)));
  storeScaled(dst + 64, d, i8x16.swizzle(grid(), v128.and(i16x8.shr_u(bytes, 4), nibble)));
}

/** Scales of four blocks at a, b, c, d, errors counting x^2. */
function scalesPlain(a: usize, b: usize, c: usize, d: usize): v128 {
  interleave(a, b, c, d, 32, XS);
  weighBySquares(32);
  return searchScales();
}

export function quantize_IQ4_NL(src: usize, dst: usize, n: i32): void {
  for (let blocks = n >> 5; blocks > 0; blocks -= 4) {
    const last = src + ((<usize>min(blocks, 4) - 1) << 7); // fills the lanes that have no block
    v128.store(scales, scalesPlain(src, min(src + 128, last), min(src + 256, last), min(src + 384, last)));
    for (let lane: usize = 0; src <= last; lane += 4, src += 128, dst += 18) encodeBlock(src, load<f32>(scales + lane), dst);
  }
}

export function quantize_IQ4_NL_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    let w = importance;
    for (let blocks = rowLength >> 5; blocks > 0; blocks -= 4, w += 512) {
      const last = src + ((<usize>min(blocks, 4) - 1) << 7), lastW = w + (last - src);
      interleave(src, min(src + 128, last), min(src + 256, last), min(src + 384, last), 32, XS);
      interleave(w, min(w + 128, lastW), min(w + 256, lastW), min(w + 384, lastW), 32, WEIGHTS);
      let sum = f32x4.splat(0);
      for (let i: usize = 0; i < 512; i += 16) {
        const x = v128.load(XS + i);
        sum = f32x4.add(sum, f32x4.mul(x, x));
      }
      weighByImportance(32, f32x4.mul(sum, f32x4.splat(0.0625)));
      v128.store(scales, searchScales());
      for (let lane: usize = 0; src <= last; lane += 4, src += 128, dst += 18) encodeBlock(src, load<f32>(scales + lane), dst);
    }
  }
}

/** Writes an IQ4_NL block. */
// @ts-ignore: decorator
@inline
function encodeBlock(src: usize, scale: f32, dst: usize): void {
  store<u16>(dst, halfOfQuotient(scale)); // NaN when x^4 leaves float32
  encodeIndices(src, scale, dst + 2);
}

export function dequantize_IQ4_NL(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  for (; dst < end; src += 18, dst += 128) decodeIndices(src + 2, floatOfHalf(load<u16>(src)), dst);
}

export function quantize_IQ4_XS(src: usize, dst: usize, n: i32): void {
  const end = src + (<usize>n << 2);
  for (; src < end; src += 1024, dst += 136) {
    v128.store(scales, scalesPlain(src, src + 128, src + 256, src + 384));
    v128.store(scales, scalesPlain(src + 512, src + 640, src + 768, src + 896), 16);
    encodeSuperBlock(src, dst);
  }
}

export function quantize_IQ4_XS_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>rowLength << 2; column += 1024, src += 1024, dst += 136) {
      const variance = f32x4.splat(sumOfSquares(src, 256) * <f32>0.0078125);
      for (let half: usize = 0; half < 2; half++) {
        const x = src + (half << 9), w = importance + column + (half << 9);
        interleave(x, x + 128, x + 256, x + 384, 32, XS);
        interleave(w, w + 128, w + 256, w + 384, 32, WEIGHTS);
        weighByImportance(32, variance);
        v128.store(scales + (half << 4), searchScales());
      }
      encodeSuperBlock(src, dst);
    }
  }
}

/**
 * Writes an IQ4_XS block: float16 d, the high pairs of eight 6-bit scales, their low nibbles, indices; the scale's value
 * is 32 less.
 */
function encodeSuperBlock(src: usize, dst: usize): void {
  const d = -signedMaximum(scales, 8) / 32;
  const inverse = d != 0 ? <f32>1 / d : 0;
  let low: u32 = 0, high: u32 = 0;
  for (let j = 0; j < 8; j++) {
    const scale = load<f32>(scales + (<usize>j << 2));
    const level = max(-32, min(31, nearestInt(inverse * scale)));
    low |= ((level + 32) & 15) << (4 * j);
    high |= ((level + 32) >> 4) << (2 * j);
    // The indices are for d as searched, not as stored.
    encodeIndices(src + (<usize>j << 7), d * <f32>level, dst + 8 + (<usize>j << 4));
  }
  store<u16>(dst, halfOf(d));
  store<u16>(dst, <u16>high, 2);
  store<u32>(dst, low, 4);
}

export function dequantize_IQ4_XS(src: usize, dst: usize, n: i32): void {
  const end = dst + (<usize>n << 2);
  for (; dst < end; src += 136) {
    const d = floatOfHalf(load<u16>(src));
    const low = load<u32>(src, 4), high = <u32>load<u16>(src, 2);
    for (let j = 0; j < 8; j++, dst += 128) {
      const scale = <i32>(((low >> (4 * j)) & 15) | (((high >> (2 * j)) & 3) << 4)) - 32;
      decodeIndices(src + 8 + (<usize>j << 4), d * <f32>scale, dst);
    }
  }
}
