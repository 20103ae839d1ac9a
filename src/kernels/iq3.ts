import { IQ3_S_POINTS, IQ3_XXS_POINTS } from '../core/codebooks';
import { BOOK_BYTES, CODES, openBook, openLists } from './codebook';
import { lowerBytes, sevenBits, storeMembers, storeNibbles, withEighth } from './codebook-block';
import {
  codeScales, INDICES, LEVELS, openSuperBlock, PART_SCALES, Recode, searchSubBlock, SIGNS,
} from './codebook-search';
import { floatOfHalf, halfOf } from './half';

/**
 * IQ3_XXS and IQ3_S: super-blocks of 256 weights, eight sub-blocks of 32 with a scale of 4 bits each. Four weights are
 * a member of a codebook and four signs. Must agree with `quantize_row_iq3_xxs_impl` (grid of 256) and
 * `quantize_row_iq3_s_impl`. Without importances an error counts x^2.
 */

const bookXXS = memory.data(BOOK_BYTES + 4 * 27992, 16);
const bookS = memory.data(BOOK_BYTES + 4 * 33292, 16);

/** The members of two fours side by side, as one of eight coordinates. */
// @ts-ignore: decorator
@inline
function codeOfPair(book: usize, first: u32, second: u32): u32 {
  return load<u32>(book + (<usize>first << 2), CODES) | (load<u32>(book + (<usize>second << 2), CODES) << 16);
}

/**
 * x = d * (scale + 1/2) / 2 * sign * magnitude. Bytes: float16 d, 64 indices, then for each sub-block four times seven
 * signs under a scale of four bits.
 */
function encodeXXS(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openLists(bookXXS, IQ3_XXS_POINTS, 8, 2);
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 98) {
      openSuperBlock(src, importance != 0 ? importance + i : 0, 2, 0, true);
      for (let j: usize = 0; j < 8; j++) searchSubBlock(bookXXS, 8, 32, j, 1e-8, 15, 0.2, false, Recode.Inexact);
      const largest = codeScales(8);
      if (largest == 0) {
        memory.fill(dst, 0, 98);
        continue;
      }
      store<u16>(dst, halfOf(largest / 31 * <f32>1.0125));
      for (let k: usize = 0; k < 16; k++) store<u32>(dst + (k << 2), lowerBytes(INDICES + (k << 3)), 2);
      for (let j: usize = 0; j < 8; j++) {
        store<u32>(dst + (j << 2), sevenBits(SIGNS + (j << 2)) | (<u32>load<u8>(LEVELS + j) << 28), 66);
      }
    }
  }
}

export function quantize_IQ3_XXS(src: usize, dst: usize, n: i32): void {
  encodeXXS(src, dst, 1, n, 0);
}

export function quantize_IQ3_XXS_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  encodeXXS(src, dst, rows, rowLength, importance);
}

export function dequantize_IQ3_XXS(src: usize, dst: usize, n: i32): void {
  openBook(bookXXS, IQ3_XXS_POINTS, 8);
  // Magnitudes at the places of coordinates 1, 3, .. 15.
  const magnitudes = i8x16(0, 4, 0, 12, 0, 20, 0, 28, 0, 36, 0, 44, 0, 52, 0, 62);
  for (const end = dst + (<usize>n << 2); dst < end; src += 98) {
    const d = floatOfHalf(load<u16>(src));
    for (let j: usize = 0; j < 16; j++, dst += 64) {
      const word = load<u32>(src + (j >> 1 << 2), 66);
      const signs = word >> (14 * (<u32>j & 1));
      const indices = load<u32>(src + (j << 2), 2);
      storeMembers(
        dst, d * (<f32>0.5 + <f32>(word >> 28)) * 0.5,
        codeOfPair(bookXXS, indices & 255, (indices >> 8) & 255),
        codeOfPair(bookXXS, (indices >> 16) & 255, indices >> 24),
        withEighth(signs & 127) | (withEighth((signs >> 7) & 127) << 8),
        magnitudes,
      );
    }
  }
}

/**
 * x = d * (2 * scale + 1) * sign * (2 * level + 1). Bytes: float16 d, lower bytes of the 64 indices, their ninth bits,
 * signs, scales of four bits. A sub-block of zeros leaves no place in what ggml writes: indices and signs of those
 * behind it move up, ninth bits and scales do not.
 */
function encodeS(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openLists(bookS, IQ3_S_POINTS, 8, 3);
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 110) {
      openSuperBlock(src, importance != 0 ? importance + i : 0, 2, 0, false);
      // Nothing is below the smallest float32 but zeros.
      for (let j: usize = 0; j < 8; j++) {
        searchSubBlock(bookS, 8, 32, j, reinterpret<f32>(1), 9, 0.2, false, Recode.AllIfInexact);
      }
      const largest = codeScales(8);
      memory.fill(dst, 0, 110);
      store<u16>(dst, halfOf(largest / 31 * <f32>1.033));
      let place: usize = 0;
      for (let j: usize = 0; j < 8; j++) {
        if (load<f32>(PART_SCALES + (j << 2)) < 0) continue;
        const indices = INDICES + (j << 4);
        store<u32>(dst + (place << 3), lowerBytes(indices), 2);
        store<u32>(dst + (place << 3), lowerBytes(indices + 8), 6);
        let high: u32 = 0;
        for (let k: usize = 0; k < 8; k++) high |= <u32>load<u8>(indices + (k << 1), 1) << <u32>k;
        store<u8>(dst + j, <u8>high, 66);
        store<u32>(dst + (place << 2), load<u32>(SIGNS + (j << 2)), 74);
        place++;
      }
      if (largest != 0) storeNibbles(dst + 106, 4);
    }
  }
}

export function quantize_IQ3_S(src: usize, dst: usize, n: i32): void {
  encodeS(src, dst, 1, n, 0);
}

export function quantize_IQ3_S_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  encodeS(src, dst, rows, rowLength, importance);
}

export function dequantize_IQ3_S(src: usize, dst: usize, n: i32): void {
  openBook(bookS, IQ3_S_POINTS, 8);
  // A magnitude is its coordinate.
  const magnitudes = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (const end = dst + (<usize>n << 2); dst < end; src += 110) {
    const d = floatOfHalf(load<u16>(src));
    for (let j: usize = 0; j < 16; j++, dst += 64) {
      const level = (<u32>load<u8>(src + (j >> 2), 106) >> (2 * (<u32>j & 2))) & 15;
      const low = load<u32>(src + (j << 2), 2);
      const high = <u32>load<u8>(src + (j >> 1), 66) >> (4 * (<u32>j & 1));
      storeMembers(
        dst, d * <f32>(level + level + 1),
        codeOfPair(bookS, (low & 255) | ((high & 1) << 8), ((low >> 8) & 255) | ((high & 2) << 7)),
        codeOfPair(bookS, ((low >> 16) & 255) | ((high & 4) << 6), (low >> 24) | ((high & 8) << 5)),
        <u32>load<u16>(src + (j << 1), 74),
        magnitudes,
      );
    }
  }
}
