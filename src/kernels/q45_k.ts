import { CODES, codeSubBlock, decode16, largest } from './codes';
import { floatOfHalf, halfOfQuotient } from './half';
import { sumOfSquares } from './importance';
import { nearestInt } from './nearest';
import { searchPositive } from './positive';
import { packScales6, unpackMins, unpackScales } from './scales6';
import { GROUP, LANES, loadLanes, MINS, SCALES, search, TOTALS, weighByImportance, WEIGHTS } from './search';

/**
 * Q4_K and Q5_K: super-blocks of eight sub-blocks of 32 weights, x = (d * scale) * code - dmin * min. Layout in the
 * scalar twin. Must agree with quantize_row_q4_K_ref and quantize_row_q5_K_ref, and with their _impl under importance.
 */

// Of the weighted coding, u8 a sub-block.
const scaleCodes = memory.data(8, 8);
const minCodes = memory.data(8, 8);

/** Weights of the search, |x| plus the root mean square of the sub-block, beside the lanes. */
function weigh(group: usize): void {
  let sum = f32x4.splat(0);
  for (let at = group, end = group + 512; at < end; at += 16) {
    const x = v128.load(at);
    sum = f32x4.add(sum, f32x4.mul(x, x));
  }
  const rms = f32x4.sqrt(f32x4.mul(sum, f32x4.splat(0.03125)));
  for (let at = group, end = group + 512; at < end; at += 16) {
    v128.store(at, f32x4.add(rms, f32x4.abs(v128.load(at))), WEIGHTS);
  }
}

/** Eight scales (or minima) as 6-bit codes, one a byte: a negative one wraps as a byte before it is clamped. */
function codesOfScales(at: usize, inverse: f32): u64 {
  let codes: u64 = 0;
  for (let j: usize = 0; j < 8; j++) {
    const code = nearestInt(inverse * load<f32>(at + (j << 2))) & 255;
    codes |= <u64>min(code, 63) << (j << 3);
  }
  return codes;
}

/** Scales, minima and codes of the sub-blocks as searched, to dst and CODES. */
function encodeScales(src: usize, dst: usize, top: i32): void {
  const maxScale = largest(SCALES, 8), maxMin = largest(MINS, 8);
  const scales = codesOfScales(SCALES, maxScale > 0 ? <f32>63 / maxScale : 0);
  const mins = codesOfScales(MINS, maxMin > 0 ? <f32>63 / maxMin : 0);
  encodeBlock(src, dst, maxScale / <f32>63, maxMin / <f32>63, scales, mins, top);
}

/** The same where the errors of scales and minima count as much as their sub-blocks' weights. */
function encodeScalesWeighted(src: usize, dst: usize, top: i32): void {
  const d = searchPositive(SCALES, TOTALS, 8, 63, scaleCodes);
  const dmin = searchPositive(MINS, TOTALS, 8, 63, minCodes);
  let scales = v128.load64_zero(scaleCodes), mins = v128.load64_zero(minCodes);
  // Codes of negative scales have wrapped; ggml limits them in Q5_K only.
  if (top == 31) {
    scales = i8x16.min_u(scales, i8x16.splat(63));
    mins = i8x16.min_u(mins, i8x16.splat(63));
  }
  encodeBlock(src, dst, d, dmin, i64x2.extract_lane(scales, 0), i64x2.extract_lane(mins, 0), top);
}

/** Writes d, dmin and the scales to dst, the final codes to CODES. */
function encodeBlock(src: usize, dst: usize, exactD: f32, exactDmin: f32, scales: u64, mins: u64, top: i32): void {
  const dHalf = halfOfQuotient(exactD), dminHalf = halfOfQuotient(exactDmin);
  store<u16>(dst, dHalf);
  store<u16>(dst, dminHalf, 2);
  packScales6(scales, mins, dst + 4);
  scales = unpackScales(dst + 4);
  mins = unpackMins(dst + 4);

  const d = floatOfHalf(dHalf), dmin = floatOfHalf(dminHalf);
  for (let j: usize = 0; j < 8; j++) {
    const scale = d * <f32>(<u32>(scales >> (j << 3)) & 63);
    const min = dmin * <f32>(<u32>(mins >> (j << 3)) & 63);
    codeSubBlock(j, 32, src + (j << 7), scale, min, top);
  }
}

// @ts-ignore: decorator
@inline
function loadPlain(src: usize): void {
  loadLanes(src, 32, LANES);
  loadLanes(src + 512, 32, LANES + GROUP);
  weigh(LANES);
  weigh(LANES + GROUP);
}

function loadWeighted(src: usize, importance: usize): void {
  const variance = <f32>2 * sumOfSquares(src, 256) / 256;
  loadLanes(src, 32, LANES);
  loadLanes(src + 512, 32, LANES + GROUP);
  loadLanes(importance, 32, LANES + WEIGHTS);
  loadLanes(importance + 512, 32, LANES + GROUP + WEIGHTS);
  weighByImportance(LANES, 32, variance);
  weighByImportance(LANES + GROUP, 32, variance);
}

/** CODES of 4 bits to bytes at dst. */
function pack4(dst: usize): void {
  for (let j: usize = 0; j < 128; j += 32) {
    const codes = CODES + 2 * j;
    v128.store(dst + j, v128.or(v128.load(codes), i8x16.shl(v128.load(codes, 32), 4)));
    v128.store(dst + j, v128.or(v128.load(codes, 16), i8x16.shl(v128.load(codes, 48), 4)), 16);
  }
}

/** CODES of 5 bits: the fifth bits to dst, the others behind them. */
function pack5(dst: usize): void {
  const nibble = i8x16.splat(15);
  for (let half: usize = 0; half < 32; half += 16) {
    let fifths = i8x16.splat(0);
    for (let j: usize = 0; j < 4; j++) {
      const even = v128.load(CODES + half + (j << 6)), odd = v128.load(CODES + half + (j << 6), 32);
      v128.store(dst + half + (j << 5), v128.or(v128.and(even, nibble), i8x16.shl(odd, 4)), 32);
      fifths = v128.or(fifths, i8x16.shl(i8x16.shr_u(even, 4), <i32>j * 2));
      fifths = v128.or(fifths, i8x16.shl(i8x16.shr_u(odd, 4), <i32>j * 2 + 1));
    }
    v128.store(dst + half, fifths);
  }
}

export function quantize_Q4_K(src: usize, dst: usize, n: i32): void {
  for (const end = src + (<usize>n << 2); src < end; src += 1024, dst += 144) {
    loadPlain(src);
    search(32, 15, -1, 0.1, 20, false, 0);
    encodeScales(src, dst, 15);
    pack4(dst + 16);
  }
}

export function quantize_Q4_K_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>rowLength << 2; column += 1024, src += 1024, dst += 144) {
      loadWeighted(src, importance + column);
      search(32, 15, -0.9, 0.05, 36, false, 0);
      encodeScalesWeighted(src, dst, 15);
      pack4(dst + 16);
    }
  }
}

export function quantize_Q5_K(src: usize, dst: usize, n: i32): void {
  for (const end = src + (<usize>n << 2); src < end; src += 1024, dst += 176) {
    loadPlain(src);
    search(32, 31, -0.5, 0.1, 15, false, 0);
    encodeScales(src, dst, 31);
    pack5(dst + 16);
  }
}

export function quantize_Q5_K_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>rowLength << 2; column += 1024, src += 1024, dst += 176) {
      loadWeighted(src, importance + column);
      search(32, 31, -0.9, 0.05, 36, false, 0);
      encodeScalesWeighted(src, dst, 31);
      pack5(dst + 16);
    }
  }
}

// @ts-ignore: decorator
@inline
function dequantize(src: usize, dst: usize, n: i32, fifthBits: bool): void {
  const size: usize = fifthBits ? 176 : 144, low: usize = fifthBits ? 48 : 16;
  const nibble = i8x16.splat(15), sixteen = i8x16.splat(16);
  for (const end = dst + (<usize>n << 2); dst < end; src += size) {
    const d = floatOfHalf(load<u16>(src)), dmin = floatOfHalf(load<u16>(src, 2));
    let scales = unpackScales(src + 4), mins = unpackMins(src + 4);
    for (let j: usize = 0; j < 4; j++, dst += 256) {
      const scale0 = f32x4.splat(d * <f32>(<u32>scales & 63)), min0 = f32x4.splat(dmin * <f32>(<u32>mins & 63));
      const scale1 = f32x4.splat(d * <f32>(<u32>(scales >> 8) & 63)), min1 = f32x4.splat(dmin * <f32>(<u32>(mins >> 8) & 63));
      scales >>= 16;
      mins >>= 16;
      for (let half: usize = 0; half < 32; half += 16) {
        const nibbles = v128.load(src + low + half + (j << 5));
        let even = v128.and(nibbles, nibble), odd = i8x16.shr_u(nibbles, 4);
        if (fifthBits) {
          const fifths = i8x16.shr_u(v128.load(src + half, 16), <i32>j * 2);
          even = v128.or(even, v128.and(i8x16.shl(fifths, 4), sixteen));
          odd = v128.or(odd, v128.and(i8x16.shl(fifths, 3), sixteen));
        }
        decode16(even, scale0, min0, dst + (half << 2));
        decode16(odd, scale1, min1, dst + (half << 2) + 128);
      }
    }
  }
}

export function dequantize_Q4_K(src: usize, dst: usize, n: i32): void {
  dequantize(src, dst, n, false);
}

export function dequantize_Q5_K(src: usize, dst: usize, n: i32): void {
  dequantize(src, dst, n, true);
}
