import { largestLane } from './group';

/**
 * Which neighbour of a point is nearest to a group of weights, at one scale or at several. Must agree with
 * `iq2_find_best_neighbour` and `iq3_find_best_neighbour`: the least sum of w (s q - x)^2 as float32 adds it up, the
 * first of equals. w are roots of weights, s the scale, q = 2 * level + 1 the neighbour's coordinates.
 *
 * The sum is s (a s - 2 b) + c with a = sum w q^2, b = sum w q x, and c the same for all neighbours. So lines in s
 * decide, and two lines cross once: a neighbour that wins at both ends of a range of scales wins in between. Lines
 * decide only where the winner leads by more than rounding could explain; elsewhere the sums are added up as ggml does.
 */

/** Scales to choose neighbours at, in ascending or descending order: f32, 32 at most. */
export const SCALES = memory.data(128, 16);

/** Lead by which a winner must win at each scale, f32; infinite where lines cannot be relied on. */
const margins = memory.data(128, 16);

// The lines of a list: no point has more than 292 neighbours.
const slopes = memory.data(1184, 16); // a; infinite where a list is filled up
const offsets = memory.data(1184, 16); // 2 b
const heights = memory.data(1184, 16); // a s - 2 b at one scale

/** The lowest coordinates of four codes as floats. */
// @ts-ignore: decorator
@inline
export function lowestCoordinates(codes: v128): v128 {
  return f32x4.convert_i32x4_s(v128.and(codes, i32x4.splat(15)));
}

/** Code of the neighbour nearest at a scale, by sums added up as ggml does; the first one if none is finite. */
export function nearestExactly(dimensions: usize, list: usize, x: usize, w: usize, scale: f32): u32 {
  const scales = f32x4.splat(scale);
  let least = f32x4.splat(f32.MAX_VALUE);
  let places = i32x4(0, 1, 2, 3), place = places;
  for (let at = list + 4, end = at + (<usize>load<u32>(list) << 2); at < end; at += 16) {
    let codes = v128.load(at);
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < dimensions << 2; i += 4) {
      const difference = f32x4.sub(f32x4.mul(scales, lowestCoordinates(codes)), v128.load32_splat(x + i));
      sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load32_splat(w + i), difference), difference));
      codes = i32x4.shr_u(codes, 4);
    }
    const less = f32x4.lt(sum, least);
    least = v128.bitselect(sum, least, less);
    places = v128.bitselect(place, places, less);
    place = i32x4.add(place, i32x4.splat(4));
  }
  // Of the lanes that have the least sum, the first place.
  let overall = f32x4.pmin(least, v128.shuffle<i32>(least, least, 2, 3, 0, 1));
  overall = f32x4.pmin(overall, v128.shuffle<i32>(overall, overall, 1, 0, 3, 2));
  places = v128.bitselect(places, i32x4.splat(i32.MAX_VALUE), f32x4.eq(least, overall));
  places = i32x4.min_s(places, v128.shuffle<i32>(places, places, 2, 3, 0, 1));
  places = i32x4.min_s(places, v128.shuffle<i32>(places, places, 1, 0, 3, 2));
  return load<u32>(list + 4 + (<usize>i32x4.extract_lane(places, 0) << 2));
}

/**
 * Sets the margins for `size` weights (a multiple of 4) in any number of groups, at the first `count` SCALES. With
 * S = sum w (Q s + |x|)^2, Q the largest coordinate, no rounding of ggml's sum exceeds 14 S 2^-24, and none of
 * s (a s - 2 b) exceeds 12 S 2^-24. So a lead of s * margin = 64 S 2^-24 is beyond doubt, as long as nothing
 * overflows and no product that matters is subnormal.
 */
export function setMargins(top: f32, size: i32, x: usize, w: usize, count: i32): void {
  let sumW = f32x4.splat(0), sumWX = f32x4.splat(0), sumWXX = f32x4.splat(0), largest = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>size << 2; i += 16) {
    const magnitude = f32x4.abs(v128.load(x + i)), weight = v128.load(w + i);
    const product = f32x4.mul(weight, magnitude);
    sumW = f32x4.add(sumW, weight);
    sumWX = f32x4.add(sumWX, product);
    sumWXX = f32x4.add(sumWXX, f32x4.mul(product, magnitude));
    largest = f32x4.pmax(largest, magnitude);
  }
  const a = top * top * sumOfLanes(sumW);
  const tame = largestLane(largest) < <f32>(1 << 30) && a < f32.MAX_VALUE;
  const limit: f32 = tame ? <f32>(1 << 26) : <f32>0; // of the scale
  const as = f32x4.splat(a), bs = f32x4.splat(2 * top * sumOfLanes(sumWX)), cs = f32x4.splat(sumOfLanes(sumWXX));
  for (let i: usize = 0; i < <usize>count << 2; i += 16) {
    const scale = v128.load(SCALES + i);
    const bound = f32x4.add(f32x4.add(f32x4.mul(as, scale), bs), f32x4.div(cs, scale));
    const margin = f32x4.mul(bound, f32x4.splat(reinterpret<f32>(0x36800000))); // 2^-18
    const solid = v128.and(
      f32x4.gt(f32x4.mul(margin, scale), f32x4.splat(reinterpret<f32>(0x09800000))), // 2^-108
      f32x4.lt(scale, f32x4.splat(limit)),
    );
    v128.store(margins + i, v128.bitselect(margin, f32x4.splat(Infinity), solid));
  }
}

// @ts-ignore: decorator
@inline
function sumOfLanes(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/**
 * Chooses the nearest neighbour for each of SCALES from..to-1 (as bytes: 4 * candidate) and stores its code at
 * `members`.
 */
export function chooseNeighbours(
  dimensions: usize, list: usize, x: usize, w: usize, from: usize, to: usize, members: usize,
): void {
  const quads = writeLines(dimensions, list, x, w);
  const last = to - 4;
  const atFirst = winnerAt(quads, from), atLast = from == last ? atFirst : winnerAt(quads, last);
  if (atFirst == atLast && atFirst >= 0) {
    const code = load<u32>(list + 4 + (<usize>atFirst << 2));
    for (let c = from; c < to; c += 4) store<u32>(members + c, code);
    return;
  }
  for (let c = from; c < to; c += 4) {
    const winner = c == from ? atFirst : c == last ? atLast : winnerAt(quads, c);
    store<u32>(
      members + c,
      winner >= 0 ? load<u32>(list + 4 + (<usize>winner << 2)) : nearestExactly(dimensions, list, x, w, load<f32>(SCALES + c)),
    );
  }
}

/** Writes the lines of a list; returns the bytes they take each. */
function writeLines(dimensions: usize, list: usize, x: usize, w: usize): usize {
  const count = load<i32>(list);
  const bytes = (<usize>count << 2) + 15 & ~15;
  let place = i32x4(0, 1, 2, 3);
  for (let at: usize = 0; at < bytes; at += 16) {
    let codes = v128.load(list + at, 4);
    let a = f32x4.splat(0), b = f32x4.splat(0);
    for (let i: usize = 0; i < dimensions << 2; i += 4) {
      const q = lowestCoordinates(codes);
      const wq = f32x4.mul(v128.load32_splat(w + i), q);
      a = f32x4.add(a, f32x4.mul(wq, q));
      b = f32x4.add(b, f32x4.mul(wq, v128.load32_splat(x + i)));
      codes = i32x4.shr_u(codes, 4);
    }
    const filler = i32x4.ge_s(place, i32x4.splat(count));
    v128.store(slopes + at, v128.bitselect(f32x4.splat(Infinity), a, filler));
    v128.store(offsets + at, f32x4.add(b, b));
    place = i32x4.add(place, i32x4.splat(4));
  }
  return bytes;
}

/** Place in the list of the line that is lowest by the margin at SCALES + c; -1 if there is none. */
function winnerAt(bytes: usize, c: usize): i32 {
  const scale = v128.load32_splat(SCALES + c);
  let lowest = f32x4.splat(Infinity);
  for (let at: usize = 0; at < bytes; at += 16) {
    const height = f32x4.sub(f32x4.mul(v128.load(slopes + at), scale), v128.load(offsets + at));
    v128.store(heights + at, height);
    lowest = f32x4.pmin(lowest, height);
  }
  lowest = f32x4.pmin(lowest, v128.shuffle<i32>(lowest, lowest, 2, 3, 0, 1));
  lowest = f32x4.pmin(lowest, v128.shuffle<i32>(lowest, lowest, 1, 0, 3, 2));
  const limit = f32x4.add(lowest, v128.load32_splat(margins + c));
  let winner = -1;
  for (let at: usize = 0; at < bytes; at += 16) {
    const within = i32x4.bitmask(f32x4.le(v128.load(heights + at), limit));
    if (within == 0) continue;
    if (winner >= 0 || (within & (within - 1)) != 0) return -1;
    winner = (<i32>at >> 2) + ctz(within);
  }
  return winner;
}
