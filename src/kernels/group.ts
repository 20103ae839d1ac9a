/**
 * Four blocks as a group. Extremes are searched block by block with all lanes, then turned so that lane k belongs to
 * block k; scales, their reciprocals and float16 forms are computed once for the four, and each block is coded with
 * its own lane. A last group of fewer blocks repeats its last one in the lanes that are left over.
 */

/** Where block k of a group starts: `bytes` apart, no further than the last of `count` blocks. */
// @ts-ignore: decorator
@inline
export function blockAt(src: usize, k: i32, count: i32, bytes: usize): usize {
  return src + bytes * <usize>min(k, count - 1);
}

/** Lane k is the largest lane of the k-th argument. */
// @ts-ignore: decorator
@inline
export function largestOfEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmax(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmax(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.pmax(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** Lane k is the smallest lane of the k-th argument. */
// @ts-ignore: decorator
@inline
export function smallestOfEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.pmin(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmin(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.pmin(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** max|x| of `vectors` * 4 weights, lane by lane: lane l covers the weights with index l modulo 4. */
// @ts-ignore: decorator
@inline
export function largestMagnitudes(src: usize, vectors: i32): v128 {
  let a = f32x4.abs(v128.load(src));
  let b = f32x4.abs(v128.load(src, 16));
  for (let i = 2; i < vectors; i += 2) {
    a = f32x4.pmax(a, f32x4.abs(v128.load(src + (<usize>i << 4))));
    b = f32x4.pmax(b, f32x4.abs(v128.load(src + (<usize>i << 4), 16)));
  }
  return f32x4.pmax(a, b);
}

/** The largest of four lanes. */
// @ts-ignore: decorator
@inline
export function largestLane(m: v128): f32 {
  m = f32x4.pmax(m, v128.shuffle<i32>(m, m, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.pmax(m, v128.shuffle<i32>(m, m, 1, 0, 3, 2)), 0);
}

/** The first weight, in memory order, whose magnitude is this one; some weight must have it. */
export function firstOfMagnitude(src: usize, magnitude: f32): f32 {
  const wanted = f32x4.splat(magnitude);
  let equal = 0;
  while ((equal = i32x4.bitmask(f32x4.eq(f32x4.abs(v128.load(src)), wanted))) == 0) src += 16;
  return load<f32>(src + (<usize>ctz(equal) << 2));
}

/** 1 / d, lane by lane; 0 where that is not finite: d zero, or so far below the normal range that it overflows. */
// @ts-ignore: decorator
@inline
export function finiteReciprocal(d: v128): v128 {
  const inverse = f32x4.div(f32x4.splat(1), d);
  return v128.and(inverse, f32x4.lt(f32x4.abs(inverse), f32x4.splat(Infinity)));
}
