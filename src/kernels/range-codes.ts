import { signedBytes } from './rounding';

/**
 * Coding over a range given from outside: code = clamp(round((x - offset) / scale), lowest, highest), halves to even, each
 * operation in float32. Scale 0 gives code 0, limited.
 */

/** What is divided by: a scale, or for none what makes every code 0. */
// @ts-ignore: decorator
@inline
export function divisorOf(scale: f32): v128 {
  return f32x4.splat(scale == 0 ? Infinity : scale);
}

/** Codes of four weights as floats. */
// @ts-ignore: decorator
@inline
export function codes4(x: v128, divisor: v128, offset: v128, lowest: v128, highest: v128): v128 {
  const code = f32x4.nearest(f32x4.div(f32x4.sub(x, offset), divisor));
  return f32x4.pmin(highest, f32x4.pmax(lowest, code));
}

/** Codes of sixteen weights as signed bytes. */
// @ts-ignore: decorator
@inline
export function codes16(src: usize, divisor: v128, offset: v128, lowest: v128, highest: v128): v128 {
  return signedBytes(
    codes4(v128.load(src), divisor, offset, lowest, highest),
    codes4(v128.load(src, 16), divisor, offset, lowest, highest),
    codes4(v128.load(src, 32), divisor, offset, lowest, highest),
    codes4(v128.load(src, 48), divisor, offset, lowest, highest),
  );
}
