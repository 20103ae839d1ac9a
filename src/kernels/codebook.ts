/**
 * Codebooks of the IQ types in memory, built on first use. Points are tuples of levels: eight of 0..2 (radix 3) or
 * four of 0..7 (radix 8); a point's number is level[0] + radix * level[1] + ... (core/codebooks.ts).
 *
 * A point's code holds its coordinates as odd numbers, 2 * level + 1, coordinate i in bits 4i..4i+3: what ggml's
 * tables hold a byte each. A book is a stretch of zero bytes (which take no room in the module, and no memory before
 * they are used), `BOOK_BYTES + 4 * entries` long, where
 *   CODES     u32 for each member, by index: its code;
 *   MAP       i32 for each point, by number: the index of a member, or minus the address of its neighbours;
 *   then lists of neighbours, for each point that is no member: u32 count, then the codes of the neighbours, the last
 *   repeated to a multiple of four.
 * `entries` is the sum over all lists of 1 + count rounded up to four.
 */

const SIZE: usize = 0; // i32, number of members; 0 before anything is built
const HAS_LISTS: usize = 4; // i32, not 0 once the lists are there
// @ts-ignore: decorator
@inline
export const CODES: usize = 16; // for 2048 members
// @ts-ignore: decorator
@inline
export const MAP: usize = 8208; // for 6561 points
/** Bytes before the lists. */
// @ts-ignore: decorator
@inline
export const BOOK_BYTES: i32 = 34464;

/** Distance of each member from the point whose neighbours are sought, u8. */
export const distances: usize = memory.data(2048, 16);
const extremes: usize = memory.data(16, 16);

/** Number of points of a space: 3^8 or 8^4. */
// @ts-ignore: decorator
@inline
export function pointsOf(radix: i32): i32 {
  return radix == 3 ? 6561 : 4096;
}

/** Code of a point, from its number. */
export function codeOf(point: i32, radix: i32): u32 {
  let code: u32 = 0;
  for (let shift = 0, i = radix == 3 ? 8 : 4; i > 0; i--, shift += 4, point /= radix) {
    code |= <u32>(2 * (point % radix) + 1) << shift;
  }
  return code;
}

/** Number of a point, from its code. */
export function pointOf(code: u32, radix: i32): i32 {
  let point = 0;
  for (let shift = radix == 3 ? 28 : 12; shift >= 0; shift -= 4) {
    point = point * radix + <i32>((code >> (shift + 1)) & 7);
  }
  return point;
}

/** Makes sure that the members of a book are there: enough to decode. `text` is one of core/codebooks.ts. */
export function openBook(book: usize, text: string, radix: i32): void {
  if (load<i32>(book, SIZE) != 0) return;
  const points = pointsOf(radix);
  let size = 0, point = 0;
  for (let i = 0; i < text.length; i++) {
    const bits = text.charCodeAt(i) - 48;
    if (bits < 0) continue; // a line break
    for (let bit = 0; bit < 5 && point < points; bit++, point++) {
      if (((bits >> bit) & 1) == 0) continue;
      store<u32>(book + (<usize>size << 2), codeOf(point, radix), CODES);
      store<i32>(book + (<usize>point << 2), size, MAP);
      size++;
    }
  }
  store<i32>(book, size, SIZE);
}

/**
 * Makes sure that a book has its lists of neighbours: the members at the `shells` smallest distances, nearest first,
 * in order of index where equally near. Must agree with `iq2xs_init_impl` and `iq3xs_init_impl`, of whose points only
 * those with levels below the radix can occur.
 */
export function openLists(book: usize, text: string, radix: i32, shells: i32): void {
  if (load<i32>(book, HAS_LISTS) != 0) return;
  openBook(book, text, radix);
  const size = <usize>load<i32>(book, SIZE);
  let list = book + BOOK_BYTES;
  let member = 0; // the first that is not before the point
  for (let point = 0; point < pointsOf(radix); point++) {
    const code = codeOf(point, radix);
    if (<usize>member < size && load<u32>(book + (<usize>member << 2), CODES) == code) {
      member++;
      continue;
    }
    store<i32>(book + (<usize>point << 2), -(<i32>list), MAP);
    measureDistances(book, size, code);
    list = writeList(book, size, shells, list);
  }
  store<i32>(book, 1, HAS_LISTS);
}

/** Distances of all members from a point: sums of squared differences of levels. */
export function measureDistances(book: usize, size: usize, code: u32): void {
  const own = i32x4.splat(code), nibble = i8x16.splat(15);
  const low = v128.and(own, nibble), high = v128.and(i16x8.shr_u(own, 4), nibble);
  for (let i: usize = 0; i < size; i += 16) {
    const codes = book + (i << 2) + CODES;
    v128.store(
      distances + i,
      i8x16.narrow_i16x8_u(
        i16x8.narrow_i32x4_u(fourDistances(codes, low, high), fourDistances(codes + 16, low, high)),
        i16x8.narrow_i32x4_u(fourDistances(codes + 32, low, high), fourDistances(codes + 48, low, high)),
      ),
    );
  }
}

/** Distances of four members; `low` and `high` are the point's nibbles, one a byte. */
// @ts-ignore: decorator
@inline
function fourDistances(codes: usize, low: v128, high: v128): v128 {
  const nibble = i8x16.splat(15);
  // Squares of levels by differences of 2 * level + 1, which are even.
  const squares = i8x16(0, 0, 1, 0, 4, 0, 9, 0, 16, 0, 25, 0, 36, 0, 49, 0);
  const four = v128.load(codes);
  const sum = i8x16.add(
    i8x16.swizzle(squares, i8x16.abs(i8x16.sub(v128.and(four, nibble), low))),
    i8x16.swizzle(squares, i8x16.abs(i8x16.sub(v128.and(i16x8.shr_u(four, 4), nibble), high))),
  );
  return i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(sum));
}

/** Writes the list that `distances` give; returns its end. */
function writeList(book: usize, size: usize, shells: i32, list: usize): usize {
  const first = list + 4;
  let at = first;
  let shell = 0; // distances below are done; no distance is 0
  for (; shells > 0; shells--) {
    shell = nextDistance(size, shell);
    const wanted = i8x16.splat(<i8>shell);
    for (let i: usize = 0; i < size; i += 16) {
      let equal = i8x16.bitmask(i8x16.eq(v128.load(distances + i), wanted));
      for (; equal != 0; equal &= equal - 1, at += 4) {
        store<u32>(at, load<u32>(book + ((i + <usize>ctz(equal)) << 2), CODES));
      }
    }
  }
  store<u32>(list, <u32>((at - first) >> 2));
  const last = load<u32>(at - 4);
  for (; ((at - first) & 15) != 0; at += 4) store<u32>(at, last);
  return at;
}

/** The smallest of `distances` above a given one. */
export function nextDistance(size: usize, above: i32): i32 {
  const limit = i8x16.splat(<i8>above);
  let least = i8x16.splat(-1);
  for (let i: usize = 0; i < size; i += 16) {
    const distance = v128.load(distances + i);
    least = i8x16.min_u(least, v128.or(distance, i8x16.le_u(distance, limit)));
  }
  v128.store(extremes, least);
  let next = 255;
  for (let i: usize = 0; i < 16; i++) next = min(next, <i32>load<u8>(extremes + i));
  return next;
}
