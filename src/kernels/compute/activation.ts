import { exp4 } from './exp';

/** gate = silu(gate) * up for n float32, silu(x) = x / (1 + e^-x) (SwiGLU, Shazeer 2020; ggml_swiglu). */
export function siluMultiply(gate: usize, up: usize, n: i32): void {
  const one = f32x4.splat(1);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const at = (<usize>i) << 2;
    const x = v128.load(gate + at);
    const silu = f32x4.div(x, f32x4.add(one, exp4(f32x4.neg(x))));
    v128.store(gate + at, f32x4.mul(silu, v128.load(up + at)));
  }
  for (let i = whole; i < n; i++) {
    const at = (<usize>i) << 2;
    const x = load<f32>(gate + at);
    const divisor: f32 = <f32>1 + f32x4.extract_lane(exp4(f32x4.splat(-x)), 0);
    store<f32>(gate + at, (x / divisor) * load<f32>(up + at));
  }
}

/**
 * Causal softmax of `rows` rows of scores, ld floats from row to row: row r has `first` + r + 1 entries that count, which
 * become softmax(scale * score); those behind, up to `columns`, become 0.
 */
export function causalSoftmax(
  scores: usize,
  ld: i32,
  rows: i32,
  first: i32,
  columns: i32,
  scale: f32,
): void {
  for (let row = 0; row < rows; row++) {
    const x = scores + ((<usize>row * ld) << 2);
    const n = first + row + 1;
    const whole = n & ~3;
    let largest = f32x4.splat(-Infinity);
    for (let i = 0; i < whole; i += 4) largest = f32x4.max(largest, v128.load(x + ((<usize>i) << 2)));
    let top = max<f32>(
      max<f32>(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
      max<f32>(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
    );
    for (let i = whole; i < n; i++) top = max<f32>(top, load<f32>(x + ((<usize>i) << 2)));

    const scales = f32x4.splat(scale);
    const shift = f32x4.splat(top * scale);
    let sums = f32x4.splat(0);
    for (let i = 0; i < whole; i += 4) {
      const at = (<usize>i) << 2;
      const value = exp4(f32x4.sub(f32x4.mul(v128.load(x + at), scales), shift));
      v128.store(x + at, value);
      sums = f32x4.add(sums, value);
    }
    let sum =
      f32x4.extract_lane(sums, 0) +
      f32x4.extract_lane(sums, 1) +
      (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3));
    for (let i = whole; i < n; i++) {
      const at = x + ((<usize>i) << 2);
      const value = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(at) * scale - top * scale)), 0);
      store<f32>(at, value);
      sum += value;
    }
    const inverse: f32 = <f32>1 / sum;
    const inverses = f32x4.splat(inverse);
    for (let i = 0; i < whole; i += 4) {
      const at = x + ((<usize>i) << 2);
      v128.store(at, f32x4.mul(v128.load(at), inverses));
    }
    for (let i = whole; i < n; i++) {
      const at = x + ((<usize>i) << 2);
      store<f32>(at, load<f32>(at) * inverse);
    }
    memory.fill(x + ((<usize>n) << 2), 0, (<usize>(columns - n)) << 2);
  }
}
