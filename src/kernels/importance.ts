/** What the importance-weighted codings have in common. */

/** Sum of n float32 squared, in order: ggml's sigma2 is added up one by one. */
export function sumOfSquares(src: usize, n: i32): f32 {
  let sum: f32 = 0;
  for (const end = src + (<usize>n << 2); src < end; src += 4) {
    const x = load<f32>(src);
    sum += x * x;
  }
  return sum;
}

/** What the errors of four weights count, of the same importance or of one each: importance * sqrt(variance + x^2). */
// @ts-ignore: decorator
@inline
export function weightOf(x: v128, importance: v128, variance: v128): v128 {
  return f32x4.mul(importance, f32x4.sqrt(f32x4.add(variance, f32x4.mul(x, x))));
}
