import { CODES, codeSubBlock, decode16, largest } from './codes';
import { floatOfHalf, halfOf, halfOfQuotient } from './half';
import { sumOfSquares } from './importance';
import { nearestInt } from './nearest';
import { searchPositive } from './positive';
import { codes16, divisorOf } from './range-codes';
import { GROUP, LANES, loadLanes, MINS, SCALES, search, TOTALS, weighByImportance, WEIGHTS } from './search';

/**
 * Q2_K: super-blocks of 16 sub-blocks of 16 weights, x = (d * scale) * code - dmin * min. Layout in the scalar twin.
 * Must agree with quantize_row_q2_K_ref and quantize_row_q2_K_impl.
 */

// Of the weighted coding, u8 a sub-block.
const scaleCodes = memory.data(16, 16);
const minCodes = memory.data(16, 16);

/** Weights of the search, |x|, beside the lanes of a group. */
function weigh(group: usize): void {
  for (let at = group, end = group + 256; at < end; at += 16) {
    v128.store(at, f32x4.abs(v128.load(at)), WEIGHTS);
  }
}

export function quantize_Q2_K(src: usize, dst: usize, n: i32): void {
  for (const end = src + (<usize>n << 2); src < end; src += 1024, dst += 84) {
    for (let half: usize = 0; half < 2; half++) {
      const x = src + (half << 9);
      loadLanes(x, 16, LANES);
      loadLanes(x + 256, 16, LANES + GROUP);
      weigh(LANES);
      weigh(LANES + GROUP);
      search(16, 3, -0.5, 0.1, 15, true, half << 5);
    }

    const maxScale = largest(SCALES, 16), maxMin = largest(MINS, 16);
    const inverseScale: f32 = maxScale > 0 ? <f32>15 / maxScale : 0, inverseMin: f32 = maxMin > 0 ? <f32>15 / maxMin : 0;
    for (let j: usize = 0; j < 16; j++) {
      // Neither is clamped: a negative scale fills the high nibble too, as in ggml.
      const scale = nearestInt(inverseScale * load<f32>(SCALES + (j << 2)));
      store<u8>(dst + j, <u8>(scale | (nearestInt(inverseMin * load<f32>(MINS + (j << 2))) << 4)));
    }
    encodeBlock(src, dst, maxScale / <f32>15, maxMin / <f32>15);
  }
}

export function quantize_Q2_K_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>rowLength << 2; column += 1024, src += 1024, dst += 84) {
      const variance = sumOfSquares(src, 256) / 256;
      for (let half: usize = 0; half < 2; half++) {
        const x = src + (half << 9), w = importance + column + (half << 9);
        loadLanes(x, 16, LANES);
        loadLanes(x + 256, 16, LANES + GROUP);
        loadLanes(w, 16, LANES + WEIGHTS);
        loadLanes(w + 256, 16, LANES + GROUP + WEIGHTS);
        weighByImportance(LANES, 16, variance);
        weighByImportance(LANES + GROUP, 16, variance);
        search(16, 3, -0.9, 0.05, 36, false, half << 5);
      }
      const d = searchPositive(SCALES, TOTALS, 16, 15, scaleCodes);
      const dmin = searchPositive(MINS, TOTALS, 16, 15, minCodes);
      v128.store(dst, v128.or(v128.load(scaleCodes), i8x16.shl(v128.load(minCodes), 4)));
      encodeBlock(src, dst, d, dmin);
    }
  }
}

/** Writes d, dmin and the codes of the 256 weights at src; the scales and minima stand in the block already. */
function encodeBlock(src: usize, dst: usize, exactD: f32, exactDmin: f32): void {
  const dHalf = halfOfQuotient(exactD), dminHalf = halfOfQuotient(exactDmin);
  store<u16>(dst, dHalf, 80);
  store<u16>(dst, dminHalf, 82);
  const d = floatOfHalf(dHalf), dmin = floatOfHalf(dminHalf);
  for (let j: usize = 0; j < 16; j++) {
    const scales = <i32>load<u8>(dst + j);
    codeSubBlock(j, 16, src + (j << 6), d * <f32>(scales & 15), dmin * <f32>(scales >> 4), 3);
  }

  // A byte holds weights l, l + 32, l + 64, l + 96 of 128, lowest bits first.
  for (let i: usize = 0; i < 64; i += 16) {
    const codes = CODES + (i & 16) + ((i & 32) << 2);
    const low = v128.or(v128.load(codes), i8x16.shl(v128.load(codes, 32), 2));
    const high = v128.or(i8x16.shl(v128.load(codes, 64), 4), i8x16.shl(v128.load(codes, 96), 6));
    v128.store(dst + i, v128.or(low, high), 16);
  }
}

/** All blocks with one scale and one minimum, float16 values: every sub-block has scale 1 and min 1. */
export function quantize_Q2_K_range(
  src: usize, dst: usize, n: i32, scale: f32, offset: f32, lowest: f32, highest: f32,
): void {
  const divisor = divisorOf(scale), m = f32x4.splat(offset), low = f32x4.splat(lowest), high = f32x4.splat(highest);
  const d = halfOf(scale), dmin = halfOf(-offset);
  for (const end = src + (<usize>n << 2); src < end; src += 1024, dst += 84) {
    v128.store(dst, i8x16.splat(0x11));
    for (let i: usize = 0; i < 4; i++) {
      const from = src + ((i >> 1) << 9) + ((i & 1) << 6);
      let v = codes16(from + 384, divisor, m, low, high);
      v = v128.or(i16x8.shl(v, 2), codes16(from + 256, divisor, m, low, high));
      v = v128.or(i16x8.shl(v, 2), codes16(from + 128, divisor, m, low, high));
      v128.store(dst + (i << 4), v128.or(i16x8.shl(v, 2), codes16(from, divisor, m, low, high)), 16);
    }
    store<u16>(dst, d, 80);
    store<u16>(dst, dmin, 82);
  }
}

export function dequantize_Q2_K(src: usize, dst: usize, n: i32): void {
  const twoBits = i8x16.splat(3);
  for (const end = dst + (<usize>n << 2); dst < end; src += 84) {
    const d = floatOfHalf(load<u16>(src, 80)), dmin = floatOfHalf(load<u16>(src, 82));
    for (let j: usize = 0; j < 16; j++, dst += 64) {
      const scales = <u32>load<u8>(src + j);
      // Sub-blocks 0, 2, 4, 6 share 16 bytes, 1, 3, 5, 7 the next, and so on.
      const bytes = v128.load(src + 16 + ((j & 8) << 2) + ((j & 1) << 4));
      const codes = v128.and(i8x16.shr_u(bytes, <i32>(j & 6)), twoBits);
      decode16(codes, f32x4.splat(d * <f32>(scales & 15)), f32x4.splat(dmin * <f32>(scales >> 4)), dst);
    }
  }
}
