/**
 * Root mean square norm of `rows` rows of n float32: out = x / sqrt(mean(x^2) + epsilon) * weight, the sum in float64
 * (Zhang and Sennrich 2019; ggml_rms_norm and the product that follows it). ld* floats from row to row; out may be x.
 */
export function rmsNorm(
  x: usize,
  ldx: i32,
  weight: usize,
  out: usize,
  ldo: i32,
  rows: i32,
  n: i32,
  epsilon: f32,
): void {
  const whole = n & ~3;
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    const to = out + ((<usize>row * ldo) << 2);
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let i = 0; i < whole; i += 4) {
      const at = from + ((<usize>i) << 2);
      const a = f64x2.promote_low_f32x4(v128.load64_zero(at));
      const b = f64x2.promote_low_f32x4(v128.load64_zero(at, 8));
      low = f64x2.add(low, f64x2.mul(a, a));
      high = f64x2.add(high, f64x2.mul(b, b));
    }
    const both = f64x2.add(low, high);
    let sum = f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1);
    for (let i = whole; i < n; i++) {
      const value = <f64>load<f32>(from + ((<usize>i) << 2));
      sum += value * value;
    }
    const scale: f32 = <f32>1 / sqrt<f32>(<f32>(sum / <f64>n) + epsilon);
    const scales = f32x4.splat(scale);
    for (let i = 0; i < whole; i += 4) {
      const at = (<usize>i) << 2;
      v128.store(to + at, f32x4.mul(f32x4.mul(v128.load(from + at), scales), v128.load(weight + at)));
    }
    for (let i = whole; i < n; i++) {
      const at = (<usize>i) << 2;
      store<f32>(to + at, load<f32>(from + at) * scale * load<f32>(weight + at));
    }
  }
}
