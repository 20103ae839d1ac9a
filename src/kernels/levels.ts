import { nearestInts } from './nearest';

/** Between float32 and codes of one byte, sixteen at a time, in order. */

/** Levels `nearestInts` of sixteen values as int8, saturated. */
// @ts-ignore: decorator
@inline
export function levelsOf(v0: v128, v1: v128, v2: v128, v3: v128): v128 {
  return i8x16.narrow_i16x8_s(
    i16x8.narrow_i32x4_s(nearestInts(v0), nearestInts(v1)),
    i16x8.narrow_i32x4_s(nearestInts(v2), nearestInts(v3)),
  );
}

/** Levels of the sixteen weights at x as multiples of d. */
// @ts-ignore: decorator
@inline
export function levelsByDivision(x: usize, d: f32): v128 {
  const by = f32x4.splat(d);
  return levelsOf(
    f32x4.div(v128.load(x), by),
    f32x4.div(v128.load(x, 16), by),
    f32x4.div(v128.load(x, 32), by),
    f32x4.div(v128.load(x, 48), by),
  );
}

/** Levels of the sixteen weights at x, scaled by an inverse scale. */
// @ts-ignore: decorator
@inline
export function levelsByProduct(x: usize, inverse: f32): v128 {
  const by = f32x4.splat(inverse);
  return levelsOf(
    f32x4.mul(v128.load(x), by),
    f32x4.mul(v128.load(x, 16), by),
    f32x4.mul(v128.load(x, 32), by),
    f32x4.mul(v128.load(x, 48), by),
  );
}

/** Levels limited to -zero..zero-1, as codes level + zero. */
// @ts-ignore: decorator
@inline
export function codesAround(zero: i8, levels: v128): v128 {
  const limited = i8x16.max_s(i8x16.min_s(levels, i8x16.splat(zero - 1)), i8x16.splat(-zero));
  return i8x16.add(limited, i8x16.splat(zero));
}

/** Stores sixteen float32 d * level. */
// @ts-ignore: decorator
@inline
export function storeScaled(dst: usize, d: f32, levels: v128): void {
  const low = i16x8.extend_low_i8x16_s(levels), high = i16x8.extend_high_i8x16_s(levels);
  const by = f32x4.splat(d);
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low))));
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low))), 16);
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high))), 32);
  v128.store(dst, f32x4.mul(by, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high))), 48);
}
