import { largestLane } from './group';

/**
 * Which neighbour of a point is nearest to a group of weights, at one scale or at several. Must agree with
 * `iq2_find_best_neighbour` and `iq3_find_best_neighbour`: the least sum of w (s q - x)^2 as float32 adds it up, the
 * first of equals. w are roots of weights, s the scale, q = 2 * level + 1 the neighbour's coordinates.
 *
 * The sum is s (a s - 2 b) + c with a = sum w q^2, b = sum w q x, and c the same for all neighbours. So the lowest of
 * the lines a s - 2 b is the nearest, which takes one product and one difference a neighbour and scale. Lines decide
 * only where the lowest leads by more than rounding could explain; elsewhere the sums are added up as ggml does.
 */

/** Scales to choose neighbours at: f32, 32 at most. */
export const SCALES = memory.data(128, 16);

/** Lead by which the lowest line must lead at each scale, f32; infinite where lines cannot be relied on. */
const margins = memory.data(128, 16);

// The lines of a list: no point has more than 292 neighbours.
const slopes = memory.data(1184, 16); // a
const offsets = memory.data(1184, 16); // 2 b

/** Coordinate i of four codes as floats. */
// @ts-ignore: decorator
@inline
export function coordinates(codes: v128, i: i32): v128 {
  return f32x4.convert_i32x4_s(v128.and(i32x4.shr_u(codes, 4 * i), i32x4.splat(15)));
}

/** w (s q - x)^2, for one x and w and four q. */
// @ts-ignore: decorator
@inline
function squares(scale: v128, q: v128, x: usize, w: usize): v128 {
  const difference = f32x4.sub(f32x4.mul(scale, q), v128.load32_splat(x));
  return f32x4.mul(f32x4.mul(v128.load32_splat(w), difference), difference);
}

/** Code of the neighbour nearest at a scale, by sums added up as ggml does; the first one if none is finite. */
export function nearestExactly(dimensions: usize, list: usize, x: usize, w: usize, scale: f32): u32 {
  const scales = f32x4.splat(scale);
  let least = f32x4.splat(f32.MAX_VALUE);
  let places = i32x4(0, 1, 2, 3), place = places;
  for (let at = list + 4, end = at + (<usize>load<u32>(list) << 2); at < end; at += 16) {
    let codes = v128.load(at);
    let sum = f32x4.splat(0);
    for (let i: usize = 0; i < dimensions << 2; i += 16) {
      sum = f32x4.add(sum, squares(scales, coordinates(codes, 0), x + i, w + i));
      sum = f32x4.add(sum, squares(scales, coordinates(codes, 1), x + i + 4, w + i + 4));
      sum = f32x4.add(sum, squares(scales, coordinates(codes, 2), x + i + 8, w + i + 8));
      sum = f32x4.add(sum, squares(scales, coordinates(codes, 3), x + i + 12, w + i + 12));
      codes = i32x4.shr_u(codes, 16);
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
 * Chooses the nearest neighbour at each of the scales from..to-1 (as bytes: 4 * scale) and stores its code at `members`
 * + the same. Up to 12 bytes behind may be overwritten.
 */
// @ts-ignore: decorator
@inline
export function chooseNeighbours(
  dimensions: usize, list: usize, x: usize, w: usize, from: usize, to: usize, members: usize,
): void {
  writeLines(dimensions, list, x, w);
  const bytes = <usize>load<u32>(list) << 2;
  for (let c = from; c < to; c += 16) {
    const scale = v128.load(SCALES + c);
    let lowest = f32x4.splat(Infinity), second = lowest;
    let codes = i32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 4) {
      const height = f32x4.sub(f32x4.mul(v128.load32_splat(slopes + i), scale), v128.load32_splat(offsets + i));
      codes = v128.bitselect(v128.load32_splat(list + i, 4), codes, f32x4.lt(height, lowest));
      second = f32x4.pmin(second, f32x4.pmax(lowest, height));
      lowest = f32x4.pmin(lowest, height);
    }
    v128.store(members + c, codes);
    // Not false for NaN either.
    const sure = i32x4.bitmask(f32x4.gt(f32x4.sub(second, lowest), v128.load(margins + c)));
    if (sure != 15) chooseExactly(dimensions, list, x, w, c, min(to, c + 16), sure, members);
  }
}

/** `chooseNeighbours` by sums, at those of four scales whose bit is not set. */
function chooseExactly(
  dimensions: usize, list: usize, x: usize, w: usize, from: usize, to: usize, sure: i32, members: usize,
): void {
  for (let c = from; c < to; c += 4, sure >>= 1) {
    if ((sure & 1) == 0) store<u32>(members + c, nearestExactly(dimensions, list, x, w, load<f32>(SCALES + c)));
  }
}

/** Writes the lines of a list. */
// @ts-ignore: decorator
@inline
function writeLines(dimensions: usize, list: usize, x: usize, w: usize): void {
  const bytes = <usize>load<u32>(list) << 2;
  for (let at: usize = 0; at < bytes; at += 16) {
    let codes = v128.load(list + at, 4);
    let a = f32x4.splat(0), b = f32x4.splat(0);
    for (let i: usize = 0; i < dimensions << 2; i += 16) {
      const q0 = coordinates(codes, 0), q1 = coordinates(codes, 1);
      const q2 = coordinates(codes, 2), q3 = coordinates(codes, 3);
      const wq0 = f32x4.mul(v128.load32_splat(w + i), q0), wq1 = f32x4.mul(v128.load32_splat(w + i, 4), q1);
      const wq2 = f32x4.mul(v128.load32_splat(w + i, 8), q2), wq3 = f32x4.mul(v128.load32_splat(w + i, 12), q3);
      a = f32x4.add(a, f32x4.add(f32x4.mul(wq0, q0), f32x4.mul(wq1, q1)));
      a = f32x4.add(a, f32x4.add(f32x4.mul(wq2, q2), f32x4.mul(wq3, q3)));
      b = f32x4.add(
        b,
        f32x4.add(f32x4.mul(wq0, v128.load32_splat(x + i)), f32x4.mul(wq1, v128.load32_splat(x + i, 4))),
      );
      b = f32x4.add(
        b,
        f32x4.add(f32x4.mul(wq2, v128.load32_splat(x + i, 8)), f32x4.mul(wq3, v128.load32_splat(x + i, 12))),
      );
      codes = i32x4.shr_u(codes, 16);
    }
    v128.store(slopes + at, a);
    v128.store(offsets + at, f32x4.add(b, b));
  }
}
