import { LEVELS } from './codebook-search';
import { storeScaled } from './levels';

/** How blocks of the IQ2 and IQ3 types are packed and unpacked. */

/** Seven signs and the one that makes the number of minus signs even. */
// @ts-ignore: decorator
@inline
export function withEighth(signs: u32): u32 {
  return signs | ((popcnt(signs) & 1) << 7);
}

/**
 * Stores sixteen weights: scale * magnitude, negative where the sign's bit is set. Each code has eight coordinates, in
 * nibbles; `table` has the magnitude of a coordinate at its place.
 */
// @ts-ignore: decorator
@inline
export function storeMembers(dst: usize, scale: f32, first: u32, second: u32, signs: u32, table: v128): void {
  const codes = i32x4.replace_lane(i32x4.splat(first), 1, second);
  // Each byte of codes twice; the second time its upper nibble counts.
  const pairs = i8x16.swizzle(codes, i8x16(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7));
  const nibbles = v128.or(
    v128.and(pairs, i16x8.splat(0x000f)),
    v128.and(i16x8.shr_u(pairs, 4), i16x8.splat(0x0f00)),
  );
  const magnitude = i8x16.swizzle(table, nibbles);
  const own = i64x2.splat(<i64>0x8040201008040201);
  const bytes = i8x16.swizzle(i32x4.splat(signs), i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  const negative = i8x16.eq(v128.and(bytes, own), own); // -1 where negative
  storeScaled(dst, scale, i8x16.sub(v128.xor(magnitude, negative), negative));
}

/** The lower bytes of the four u16 at an address. */
// @ts-ignore: decorator
@inline
export function lowerBytes(at: usize): u32 {
  return load<u8>(at) | (<u32>load<u8>(at, 2) << 8) | (<u32>load<u8>(at, 4) << 16) | (<u32>load<u8>(at, 6) << 24);
}

/** The lower seven bits of the four bytes at an address. */
// @ts-ignore: decorator
@inline
export function sevenBits(at: usize): u32 {
  const bytes = load<u32>(at);
  return (bytes & 0x7f) | ((bytes >> 1) & 0x3f80) | ((bytes >> 2) & 0x1fc000) | ((bytes >> 3) & 0xfe00000);
}

/** Pairs of LEVELS as `count` bytes, the first in the lower nibble. */
// @ts-ignore: decorator
@inline
export function storeNibbles(dst: usize, count: usize): void {
  for (let i: usize = 0; i < count; i++) {
    const pair = load<u16>(LEVELS + (i << 1));
    store<u8>(dst + i, <u8>(pair | (pair >> 4)));
  }
}
