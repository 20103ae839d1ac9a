import { codesAround, levelsByDivision, levelsByProduct, storeScaled } from './levels';
import { floatOfHalf, halfOf } from './half';
import { EPS, interleave, signedMaximum } from './lanes';
import { nearestInt } from './nearest';
import { searchSymmetric, weighBySquares, WEIGHTS, XS } from './symmetric';

/**
 * Q6_K: 256 weights as 16 sub-blocks of 16; x = d * scale * (code - 32). A block is 128 bytes of low
 * nibbles, 64 of high pairs, 16 int8 scales and float16 d. Must agree with `quantize_row_q6_K_ref`: errors count x^2;
 * and with `quantize_row_q6_K_impl`: they count the importance.
 */

const scales = memory.data(64, 16); // f32 per sub-block, as searched
const inverses = memory.data(64, 16); // f32 per sub-block: the inverse scale that won the search
const codes = memory.data(256, 16); // u8 per weight, in order

export function quantize_Q6_K(src: usize, dst: usize, n: i32): void {
  const end = src + (<usize>n << 2);
  for (; src < end; src += 1024, dst += 210) {
    for (let group: usize = 0; group < 4; group++) {
      const x = src + (group << 8);
      interleave(x, x + 64, x + 128, x + 192, 16, XS);
      weighBySquares(16);
      searchSymmetric(16, 32, scales + (group << 4), inverses + (group << 4));
    }
    encodeBlock(src, dst);
  }
}

export function quantize_Q6_K_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  for (let row = 0; row < rows; row++) {
    for (let column: usize = 0; column < <usize>rowLength << 2; column += 1024, src += 1024, dst += 210) {
      for (let group: usize = 0; group < 4; group++) {
        const x = src + (group << 8), w = importance + column + (group << 8);
        interleave(x, x + 64, x + 128, x + 192, 16, XS);
        interleave(w, w + 64, w + 128, w + 192, 16, WEIGHTS);
        searchSymmetric(16, 32, scales + (group << 4), inverses + (group << 4));
      }
      encodeBlock(src, dst);
    }
  }
}

/** Writes the block of the 256 weights at src, whose scales were searched. */
function encodeBlock(src: usize, dst: usize): void {
  const max = signedMaximum(scales, 16);
  if (abs<f32>(max) < EPS) {
    memory.fill(dst, 0, 210);
    return;
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
    const x = src + (j << 6), searched = load<f32>(inverses + (j << 2));
    // Where the stored scale vanishes, the codes of the search stay: 0 for a sub-block of zeros.
    let code = i8x16.splat(0);
    if (step != 0) code = codesAround(32, levelsByDivision(x, step));
    else if (searched != 0) code = codesAround(32, levelsByProduct(x, searched));
    v128.store(codes + (j << 4), code);
  }
  pack(dst);
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
