import { IQ2_S_POINTS, IQ2_XS_POINTS, IQ2_XXS_POINTS } from '../core/codebooks';
import { BOOK_BYTES, CODES, openBook, openLists } from './codebook';
import { lowerBytes, sevenBits, storeMembers, storeNibbles, withEighth } from './codebook-block';
import {
  codeScales, INDICES, LEVELS, openSuperBlock, Recode, searchSubBlock, SIGNS,
} from './codebook-search';
import { floatOfHalf, halfOf } from './half';

/**
 * IQ2_XXS, IQ2_XS and IQ2_S: super-blocks of 256 weights. Eight weights are a member of a codebook and eight signs;
 * 16 (IQ2_XXS: 32) weights share a scale of 4 bits: x = d * (scale + 1/2) / 4 * sign * magnitude, with magnitudes 8,
 * 25 and 43. Must agree with `quantize_row_iq2_xxs_impl`, `quantize_row_iq2_xs_impl` and `quantize_row_iq2_s_impl`.
 */

const bookXXS = memory.data(BOOK_BYTES + 4 * 128973, 16);
const bookXS = memory.data(BOOK_BYTES + 4 * 196777, 16);
const bookS = memory.data(BOOK_BYTES + 4 * 59901, 16);

/** Magnitudes at the places of coordinates 1, 3 and 5. */
// @ts-ignore: decorator
@inline
function magnitudes(): v128 {
  return i8x16(0, 8, 0, 25, 0, 43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

// @ts-ignore: decorator
@inline
function codeAt(book: usize, index: u32): u32 {
  return load<u32>(book + (<usize>index << 2), CODES);
}

/** Two scales of four bits each, as what magnitudes are multiplied by. */
// @ts-ignore: decorator
@inline
function scaleOf(d: f32, level: u32): f32 {
  return d * (<f32>0.5 + <f32>level) * 0.25;
}

/** Bytes: float16 d, then for each 32 weights four indices, and four times seven signs under a scale of four bits. */
export function quantize_IQ2_XXS_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openLists(bookXXS, IQ2_XXS_POINTS, 3, 2);
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 66) {
      openSuperBlock(src, importance + i, 1, 0, true);
      for (let j: usize = 0; j < 8; j++) searchSubBlock(bookXXS, 3, 32, j, 1e-15, 6, 0.1, true, Recode.All);
      const largest = codeScales(8);
      if (largest == 0) {
        memory.fill(dst, 0, 66);
        continue;
      }
      store<u16>(dst, halfOf(largest / 31));
      for (let j: usize = 0; j < 8; j++) {
        store<u32>(dst + (j << 3), lowerBytes(INDICES + (j << 3)), 2);
        store<u32>(dst + (j << 3), sevenBits(SIGNS + (j << 2)) | (<u32>load<u8>(LEVELS + j) << 28), 6);
      }
    }
  }
}

export function dequantize_IQ2_XXS(src: usize, dst: usize, n: i32): void {
  openBook(bookXXS, IQ2_XXS_POINTS, 3);
  for (const end = dst + (<usize>n << 2); dst < end; src += 66) {
    const d = floatOfHalf(load<u16>(src));
    for (let j: usize = 0; j < 64; j += 8, dst += 128) {
      const indices = load<u32>(src + j, 2), word = load<u32>(src + j, 6);
      const scale = scaleOf(d, word >> 28);
      for (let k = 0; k < 2; k++) {
        const pair = indices >> (16 * k), signs = word >> (14 * k);
        storeMembers(
          dst + (<usize>k << 6), scale,
          codeAt(bookXXS, pair & 255), codeAt(bookXXS, (pair >> 8) & 255),
          withEighth(signs & 127) | (withEighth((signs >> 7) & 127) << 8),
          magnitudes(),
        );
      }
    }
  }
}

/** Bytes: float16 d, for each eight weights nine bits of index and seven signs, then scales of four bits. */
export function quantize_IQ2_XS_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openLists(bookXS, IQ2_XS_POINTS, 3, 2);
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 74) {
      openSuperBlock(src, importance + i, 1, 0, true);
      for (let j: usize = 0; j < 16; j++) searchSubBlock(bookXS, 3, 16, j, 1e-15, 9, 0.1, false, Recode.Inexact);
      const largest = codeScales(16);
      if (largest == 0) {
        memory.fill(dst, 0, 74);
        continue;
      }
      store<u16>(dst, halfOf(largest / 31));
      for (let group: usize = 0; group < 32; group++) {
        const signs = <u32>load<u8>(SIGNS + group) & 127;
        store<u16>(dst + (group << 1), <u16>(load<u16>(INDICES + (group << 1)) | (signs << 9)), 2);
      }
      storeNibbles(dst + 66, 8);
    }
  }
}

export function dequantize_IQ2_XS(src: usize, dst: usize, n: i32): void {
  openBook(bookXS, IQ2_XS_POINTS, 3);
  for (const end = dst + (<usize>n << 2); dst < end; src += 74) {
    const d = floatOfHalf(load<u16>(src));
    for (let j: usize = 0; j < 16; j++, dst += 64) {
      const word = load<u32>(src + (j << 2), 2);
      storeMembers(
        dst, scaleOf(d, (load<u8>(src + (j >> 1), 66) >> (4 * (<u8>j & 1))) & 15),
        codeAt(bookXS, word & 511), codeAt(bookXS, (word >> 16) & 511),
        withEighth((word >> 9) & 127) | (withEighth(word >> 25) << 8),
        magnitudes(),
      );
    }
  }
}

/**
 * Bytes: float16 d, lower bytes of the indices, signs, upper pairs of the indices, scales of four bits. Without
 * importances (0) an error counts a quarter of the variance + x^2.
 */
function encodeS(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  openLists(bookS, IQ2_S_POINTS, 3, 1);
  for (let row = 0; row < rows; row++) {
    for (let i: usize = 0; i < <usize>rowLength << 2; i += 1024, src += 1024, dst += 82) {
      openSuperBlock(src, importance != 0 ? importance + i : 0, 2, 0.25, false);
      for (let j: usize = 0; j < 16; j++) searchSubBlock(bookS, 3, 16, j, 1e-8, 9, 0.1, false, Recode.Inexact);
      const largest = codeScales(16);
      store<u16>(dst, halfOf(largest / 31 * <f32>0.9875));
      for (let k: usize = 0; k < 8; k++) {
        const indices = INDICES + (k << 3);
        store<u32>(dst + (k << 2), lowerBytes(indices), 2);
        store<u32>(dst + (k << 2), load<u32>(SIGNS + (k << 2)), 34);
        const high = load<u8>(indices, 1) | (load<u8>(indices, 3) << 2) | (load<u8>(indices, 5) << 4);
        store<u8>(dst + k, high | (load<u8>(indices, 7) << 6), 66);
      }
      if (largest == 0) store<u64>(dst, 0, 74);
      else storeNibbles(dst + 74, 8);
    }
  }
}

export function quantize_IQ2_S(src: usize, dst: usize, n: i32): void {
  encodeS(src, dst, 1, n, 0);
}

export function quantize_IQ2_S_weighted(src: usize, dst: usize, rows: i32, rowLength: i32, importance: usize): void {
  encodeS(src, dst, rows, rowLength, importance);
}

export function dequantize_IQ2_S(src: usize, dst: usize, n: i32): void {
  openBook(bookS, IQ2_S_POINTS, 3);
  for (const end = dst + (<usize>n << 2); dst < end; src += 82) {
    const d = floatOfHalf(load<u16>(src));
    for (let j: usize = 0; j < 16; j++, dst += 64) {
      const low = <u32>load<u16>(src + (j << 1), 2);
      const high = <u32>load<u8>(src + (j >> 1), 66) >> (4 * (<u32>j & 1));
      storeMembers(
        dst, scaleOf(d, (load<u8>(src + (j >> 1), 74) >> (4 * (<u8>j & 1))) & 15),
        codeAt(bookS, (low & 255) | ((high & 3) << 8)), codeAt(bookS, (low >> 8) | ((high & 12) << 6)),
        <u32>load<u16>(src + (j << 1), 34),
        magnitudes(),
      );
    }
  }
}
