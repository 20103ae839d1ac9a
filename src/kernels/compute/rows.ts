/** Adds the row `addend` of n float32 to each of `rows` rows at x. */
export function addToRows(x: usize, ldx: i32, rows: i32, n: i32, addend: usize): void {
  for (let row = 0; row < rows; row++) addScaled(x + ((<usize>row * ldx) << 2), addend, n, 1);
}

/** to += factor * from, n float32. */
export function addScaled(to: usize, from: usize, n: i32, factor: f32): void {
  const factors = f32x4.splat(factor);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const at = (<usize>i) << 2;
    v128.store(to + at, f32x4.add(v128.load(to + at), f32x4.mul(v128.load(from + at), factors)));
  }
  for (let i = whole; i < n; i++) {
    const at = (<usize>i) << 2;
    store<f32>(to + at, load<f32>(to + at) + load<f32>(from + at) * factor);
  }
}

/** Whether n float32 are all finite. */
export function allFinite(x: usize, n: i32): bool {
  // 0 times what is not finite is NaN, and a sum keeps it.
  let sums = f32x4.splat(0);
  const zero = f32x4.splat(0);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    sums = f32x4.add(sums, f32x4.mul(v128.load(x + ((<usize>i) << 2)), zero));
  }
  let sum =
    f32x4.extract_lane(sums, 0) +
    f32x4.extract_lane(sums, 1) +
    f32x4.extract_lane(sums, 2) +
    f32x4.extract_lane(sums, 3);
  for (let i = whole; i < n; i++) sum += load<f32>(x + ((<usize>i) << 2)) * <f32>0;
  return sum == 0;
}

/** Rows whose squares are added in float32 before they go to float64. */
const RUN: i32 = 16;

/**
 * Adds to `sums` (float64) the squares of each of n columns of `rows` rows of float32 at x: in float32 over 16 rows,
 * then in float64.
 */
export function addColumnSquares(x: usize, ldx: i32, rows: i32, n: i32, sums: usize): void {
  const stride = (<usize>ldx) << 2;
  const whole = n & ~3;
  for (let first = 0; first < rows; first += RUN) {
    const count = min(RUN, rows - first);
    const from = x + <usize>first * stride;
    for (let column = 0; column < whole; column += 4) {
      let at = from + ((<usize>column) << 2);
      let run = f32x4.splat(0);
      for (let row = 0; row < count; row++, at += stride) {
        const value = v128.load(at);
        run = f32x4.add(run, f32x4.mul(value, value));
      }
      const sum = sums + ((<usize>column) << 3);
      v128.store(sum, f64x2.add(v128.load(sum), f64x2.promote_low_f32x4(run)));
      const upper = v128.shuffle<i32>(run, run, 2, 3, 2, 3);
      v128.store(sum, f64x2.add(v128.load(sum, 16), f64x2.promote_low_f32x4(upper)), 16);
    }
    for (let column = whole; column < n; column++) {
      let at = from + ((<usize>column) << 2);
      let run: f32 = 0;
      for (let row = 0; row < count; row++, at += stride) run += load<f32>(at) * load<f32>(at);
      const sum = sums + ((<usize>column) << 3);
      store<f64>(sum, load<f64>(sum) + <f64>run);
    }
  }
}
