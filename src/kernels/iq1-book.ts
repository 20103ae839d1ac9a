import { IQ1_POINTS } from '../core/codebooks';
import { BOOK_BYTES, CODES, codeOf, distances, MAP, measureDistances, nextDistance, openBook, pointsOf } from './codebook';
import { integers } from './rounding';

/**
 * The codebook of IQ1_S and IQ1_M, and the search for the best neighbour of a point that is no member.
 *
 * Lists of neighbours are kept in groups of sixteen, the last neighbour repeated to fill a group: 16 bytes
 * with the levels of coordinates 0..3 of each, then 16 with those of 4..7, two bits a level. In the book, MAP
 * holds for a point that is no member minus (16 * its first group + the number of its groups).
 */

const GROUPS: i32 = 22647; // in all lists
const GROUP_BYTES: i32 = 32;
const SHELLS = 3; // distances that count as near

/** A book as codebook.ts describes it, without that file's lists. */
export const BOOK: usize = memory.data(BOOK_BYTES, 16);
const LISTS: usize = memory.data(GROUP_BYTES * GROUPS, 16);
/** Members' coordinates as in the lists, u16 by index. */
const PACKED: usize = memory.data(4096, 16);
/** Number of a point of four coordinates, u8 by its packed byte. */
const NUMBERS: usize = memory.data(256, 16);

let listed = false;

/** Makes the members' codes available. */
// @ts-ignore: decorator
@inline
export function openMembers(): void {
  openBook(BOOK, IQ1_POINTS, 3);
}

/** Makes members and lists available. */
export function openNeighbours(): void {
  if (listed) return;
  listed = true;
  openMembers();
  for (let byte: u32 = 0; byte < 256; byte++) {
    store<u8>(NUMBERS + byte, (byte & 3) + 3 * ((byte >> 2) & 3) + 9 * ((byte >> 4) & 3) + 27 * (byte >> 6));
  }
  const size: usize = 2048;
  for (let member: usize = 0; member < size; member++) {
    const code = load<u32>(BOOK + (member << 2), CODES);
    let packed: u32 = 0;
    for (let i = 0; i < 8; i++) packed |= ((code >> (4 * i + 1)) & 3) << (2 * i);
    store<u16>(PACKED + (member << 1), packed);
  }
  let first = 0;
  let member: usize = 0; // the first that is not before the point
  for (let point = 0; point < pointsOf(3); point++) {
    const code = codeOf(point, 3);
    if (member < size && load<u32>(BOOK + (member << 2), CODES) == code) {
      member++;
      continue;
    }
    measureDistances(BOOK, size, code);
    const groups = writeList(size, LISTS + <usize>first * GROUP_BYTES);
    store<i32>(BOOK + (<usize>point << 2), -(first * 16 + groups), MAP);
    first += groups;
  }
}

/**
 * Writes the list that the distances give, nearest first, equals in order of index; returns its number of
 * groups.
 */
function writeList(size: usize, list: usize): i32 {
  let count: usize = 0;
  let packed: u32 = 0;
  let shell = 0;
  for (let i = 0; i < SHELLS; i++) {
    shell = nextDistance(size, shell);
    const wanted = i8x16.splat(<i8>shell);
    for (let from: usize = 0; from < size; from += 16) {
      let equal = i8x16.bitmask(i8x16.eq(v128.load(distances + from), wanted));
      for (; equal != 0; equal &= equal - 1) {
        packed = load<u16>(PACKED + ((from + <usize>ctz(equal)) << 1));
        writeEntry(list, count++, packed);
      }
    }
  }
  while ((count & 15) != 0) writeEntry(list, count++, packed);
  return <i32>(count >> 4);
}

// @ts-ignore: decorator
@inline
function writeEntry(list: usize, entry: usize, packed: u32): void {
  const at = list + (entry >> 4) * GROUP_BYTES + (entry & 15);
  store<u8>(at, packed);
  store<u8>(at, packed >> 8, 16);
}

/** Weighted square error of each weight of a group (8 float32) at each of the three levels. */
const ERRORS: usize = memory.data(96, 16);
/** Rounded excess of each neighbour of a list, u8. */
const EXCESSES: usize = memory.data(16 * 16, 16);

/** Smallest, largest but one lane-wise, of three. */
// @ts-ignore: decorator
@inline
function middleOf(a: v128, b: v128, c: v128): v128 {
  return f32x4.pmax(f32x4.pmin(a, b), f32x4.pmin(f32x4.pmax(a, b), c));
}

// @ts-ignore: decorator
@inline
function sumOfLanes(v: v128): f32 {
  v = f32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1);
}

/** Errors of four weights at a level, as ggml computes them: (w * difference) * difference. */
// @ts-ignore: decorator
@inline
function errorsAt(value: f32, x: v128, w: v128): v128 {
  const difference = f32x4.sub(f32x4.splat(value), x);
  return f32x4.mul(f32x4.mul(w, difference), difference);
}

/** Errors beyond the least of each weight in units of 1 / inverse, rounded, at most 255, as int16. */
// @ts-ignore: decorator
@inline
function excesses(e0: v128, e1: v128, least0: v128, least1: v128, inverse: v128): v128 {
  const most = f32x4.splat(255);
  return i16x8.narrow_i32x4_s(
    integers(f32x4.pmin(most, f32x4.mul(f32x4.sub(e0, least0), inverse))),
    integers(f32x4.pmin(most, f32x4.mul(f32x4.sub(e1, least1), inverse))),
  );
}

/**
 * Number of the neighbour of a point (given by what MAP holds for it) with the least weighted square error
 * from the 8 weights at x, w being what their errors count; the first of equals. Must agree with
 * `iq1_find_best_neighbour2`, which adds up float32 errors in order of the coordinates.
 *
 * Errors are first compared as bytes, sixteen neighbours at a time: each weight's error in excess of its
 * least is rounded to a multiple of a unit, so that a sum of eight is off by 4 units at most. Only neighbours
 * within 8 units of the smallest sum can be the best; float32 sums decide between them. The unit is large
 * enough against the errors themselves that float32 rounding is far below it.
 *
 * Where no error is below the largest float32, ggml reads outside its block; here the first neighbour is
 * taken.
 */
export function nearestNeighbour(entry: i32, x: usize, w: usize, scale: f32, shift: f32): i32 {
  const groups = <usize>(-entry & 15);
  const list = LISTS + <usize>(-entry >> 4) * GROUP_BYTES;
  const x0 = v128.load(x), x1 = v128.load(x, 16);
  const w0 = v128.load(w), w1 = v128.load(w, 16);
  const low = scale * (shift - 1), middle = scale * shift, high = scale * (shift + 1);
  const a0 = errorsAt(low, x0, w0), a1 = errorsAt(low, x1, w1);
  const b0 = errorsAt(middle, x0, w0), b1 = errorsAt(middle, x1, w1);
  const c0 = errorsAt(high, x0, w0), c1 = errorsAt(high, x1, w1);
  const least0 = f32x4.pmin(f32x4.pmin(a0, b0), c0), least1 = f32x4.pmin(f32x4.pmin(a1, b1), c1);
  // The unit is a fraction of what it costs, on average, to give a weight its second best level.
  const least = sumOfLanes(f32x4.add(least0, least1));
  const second = sumOfLanes(f32x4.add(middleOf(a0, b0, c0), middleOf(a1, b1, c1)));
  const inverse = f32x4.splat(min<f32>(1e30, min<f32>(800 / (second - least), 131072 / least)));
  const a = excesses(a0, a1, least0, least1, inverse);
  const b = excesses(b0, b1, least0, least1, inverse);
  const c = excesses(c0, c1, least0, least1, inverse);
  const ab = i8x16.narrow_i16x8_u(a, b), cc = i8x16.narrow_i16x8_u(c, c);
  // By the two levels of a pair of coordinates, the first in the low bits: the sum of their excesses.
  const t01 = i8x16.add_sat_u(
    v128.shuffle<i8>(ab, cc, 0, 8, 16, 16, 0, 8, 16, 16, 0, 8, 16, 16, 0, 8, 16, 16),
    v128.shuffle<i8>(ab, cc, 1, 1, 1, 1, 9, 9, 9, 9, 17, 17, 17, 17, 17, 17, 17, 17),
  );
  const t23 = i8x16.add_sat_u(
    v128.shuffle<i8>(ab, cc, 2, 10, 18, 18, 2, 10, 18, 18, 2, 10, 18, 18, 2, 10, 18, 18),
    v128.shuffle<i8>(ab, cc, 3, 3, 3, 3, 11, 11, 11, 11, 19, 19, 19, 19, 19, 19, 19, 19),
  );
  const t45 = i8x16.add_sat_u(
    v128.shuffle<i8>(ab, cc, 4, 12, 20, 20, 4, 12, 20, 20, 4, 12, 20, 20, 4, 12, 20, 20),
    v128.shuffle<i8>(ab, cc, 5, 5, 5, 5, 13, 13, 13, 13, 21, 21, 21, 21, 21, 21, 21, 21),
  );
  const t67 = i8x16.add_sat_u(
    v128.shuffle<i8>(ab, cc, 6, 14, 22, 22, 6, 14, 22, 22, 6, 14, 22, 22, 6, 14, 22, 22),
    v128.shuffle<i8>(ab, cc, 7, 7, 7, 7, 15, 15, 15, 15, 23, 23, 23, 23, 23, 23, 23, 23),
  );
  const nibble = i8x16.splat(15);
  let smallest = i8x16.splat(-1);
  for (let g: usize = 0; g < groups; g++) {
    const first = v128.load(list + g * GROUP_BYTES), last = v128.load(list + g * GROUP_BYTES, 16);
    const sum = i8x16.add_sat_u(
      i8x16.add_sat_u(
        i8x16.swizzle(t01, v128.and(first, nibble)),
        i8x16.swizzle(t23, v128.and(i16x8.shr_u(first, 4), nibble)),
      ),
      i8x16.add_sat_u(
        i8x16.swizzle(t45, v128.and(last, nibble)),
        i8x16.swizzle(t67, v128.and(i16x8.shr_u(last, 4), nibble)),
      ),
    );
    v128.store(EXCESSES + (g << 4), sum);
    smallest = i8x16.min_u(smallest, sum);
  }
  // The smallest byte to all lanes.
  smallest = i8x16.min_u(smallest, v128.shuffle<i64>(smallest, smallest, 1, 0));
  smallest = i8x16.min_u(smallest, v128.shuffle<i32>(smallest, smallest, 1, 0, 3, 2));
  smallest = i8x16.min_u(smallest, i32x4.shr_u(smallest, 16));
  smallest = i8x16.min_u(smallest, i16x8.shr_u(smallest, 8));
  const limit = i8x16.add_sat_u(
    i8x16.swizzle(smallest, i8x16.splat(0)),
    i8x16.splat(8),
  );

  v128.store(ERRORS, a0);
  v128.store(ERRORS, a1, 16);
  v128.store(ERRORS, b0, 32);
  v128.store(ERRORS, b1, 48);
  v128.store(ERRORS, c0, 64);
  v128.store(ERRORS, c1, 80);
  let best = f32.MAX_VALUE;
  let found = list;
  for (let g: usize = 0; g < groups; g++) {
    let within = i8x16.bitmask(i8x16.le_u(v128.load(EXCESSES + (g << 4)), limit));
    for (; within != 0; within &= within - 1) {
      const at = list + g * GROUP_BYTES + <usize>ctz(within);
      const error = errorOf(<usize>load<u8>(at), <usize>load<u8>(at, 16));
      if (error < best) {
        best = error;
        found = at;
      }
    }
  }
  return <i32>load<u8>(NUMBERS + <usize>load<u8>(found)) + 81 * <i32>load<u8>(NUMBERS + <usize>load<u8>(found, 16));
}

/** Sum of the errors of a neighbour, in order. */
// @ts-ignore: decorator
@inline
function errorOf(first: usize, last: usize): f32 {
  let sum = load<f32>(ERRORS + ((first & 3) << 5));
  sum += load<f32>(ERRORS + ((first & 12) << 3), 4);
  sum += load<f32>(ERRORS + ((first & 48) << 1), 8);
  sum += load<f32>(ERRORS + ((first & 192) >> 1), 12);
  sum += load<f32>(ERRORS + ((last & 3) << 5), 16);
  sum += load<f32>(ERRORS + ((last & 12) << 3), 20);
  sum += load<f32>(ERRORS + ((last & 48) << 1), 24);
  sum += load<f32>(ERRORS + ((last & 192) >> 1), 28);
  return sum;
}
