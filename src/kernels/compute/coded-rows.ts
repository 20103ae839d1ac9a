/**
 * Quantized activations, simulated: rows of float32 become what their codes stand for. Codes are rounded to nearest, half to
 * even. `out` may be `x`.
 */
import { floatOfHalf, floatsOfHalves, halfOf, halvesOf } from '../half';

/**
 * Codes -highest .. highest over runs of `block` values (the last of a row may be shorter), each with the scale amax / highest.
 * With `half` the scale is kept as float16, the codes being those of the exact one: with runs of 32 and 127 that is
 * quantize_row_q8_0 of ggml's x86 code, without `half` and with runs of 256 quantize_row_q8_K.
 */
export function codeRows(
  x: usize,
  ldx: i32,
  out: usize,
  ldo: i32,
  rows: i32,
  n: i32,
  block: i32,
  highest: f32,
  half: bool,
): void {
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    const to = out + ((<usize>row * ldo) << 2);
    for (let first = 0; first < n; first += block) {
      const at = (<usize>first) << 2;
      const count = min(block, n - first);
      const amax = largestMagnitude(from + at, count);
      const inverse: f32 = highest / amax;
      const scale: f32 = half ? floatOfHalf(halfOf(amax / highest)) : <f32>1 / inverse;
      // Infinite where amax is 0 or too small for a float to divide by: such a run has no codes but 0.
      const usable = inverse < Infinity;
      code(from + at, to + at, count, usable ? inverse : 0, usable ? scale : 0, 0, -highest, highest);
    }
  }
}

/**
 * Codes 0 .. highest over runs of `block` values: scale (max - min) / highest, where the range is extended to 0, and the zero
 * point round(-min / scale), so that 0 stays 0. `ends`: 8 bytes of this thread's own.
 */
export function codeRowsAffine(
  x: usize,
  ldx: i32,
  out: usize,
  ldo: i32,
  rows: i32,
  n: i32,
  block: i32,
  highest: f32,
  ends: usize,
): void {
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    const to = out + ((<usize>row * ldo) << 2);
    for (let first = 0; first < n; first += block) {
      const at = (<usize>first) << 2;
      const count = min(block, n - first);
      extremes(from + at, 0, 1, count, ends);
      const low = load<f32>(ends);
      const high = load<f32>(ends, 4);
      const scale: f32 = (high - low) / highest;
      const inverse: f32 = <f32>1 / scale;
      const usable = inverse < Infinity;
      const zero: f32 = usable ? nearest<f32>(-low * inverse) : 0;
      code(from + at, to + at, count, usable ? inverse : 0, usable ? scale : 0, zero, 0, highest);
    }
  }
}

/** Codes lowest .. highest with a scale and a zero point that were found beforehand. */
export function codeRowsFixed(
  x: usize,
  ldx: i32,
  out: usize,
  ldo: i32,
  rows: i32,
  n: i32,
  scale: f32,
  zero: f32,
  lowest: f32,
  highest: f32,
): void {
  const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    code(from, out + ((<usize>row * ldo) << 2), n, inverse, scale, zero, lowest, highest);
  }
}

/** Rounded to float16. */
export function halfRows(x: usize, ldx: i32, out: usize, ldo: i32, rows: i32, n: i32): void {
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    const to = out + ((<usize>row * ldo) << 2);
    const whole = n & ~3;
    for (let i = 0; i < whole; i += 4) {
      const at = (<usize>i) << 2;
      v128.store(to + at, floatsOfHalves(halvesOf(v128.load(from + at))));
    }
    for (let i = whole; i < n; i++) {
      const at = (<usize>i) << 2;
      store<f32>(to + at, floatOfHalf(halfOf(load<f32>(from + at))));
    }
  }
}

/** Rounded to bfloat16, of finite numbers. */
export function bfloatRows(x: usize, ldx: i32, out: usize, ldo: i32, rows: i32, n: i32): void {
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    const to = out + ((<usize>row * ldo) << 2);
    for (let i = 0; i < n; i++) {
      const at = (<usize>i) << 2;
      const bits = load<u32>(from + at);
      store<u32>(to + at, (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000);
    }
  }
}

/** The codes of `codeRows` with one run a row, as int8 without gaps, and each row's scale. */
export function byteRows(x: usize, ldx: i32, rows: i32, n: i32, codes: usize, scales: usize): void {
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    const amax = largestMagnitude(from, n);
    let inverse: f32 = <f32>127 / amax;
    let scale: f32 = <f32>1 / inverse;
    if (!(inverse < Infinity)) inverse = scale = 0;
    store<f32>(scales + ((<usize>row) << 2), scale);
    const to = codes + <usize>row * n;
    for (let i = 0; i < n; i++) {
      store<i8>(to + i, <i8>(<i32>nearest<f32>(load<f32>(from + ((<usize>i) << 2)) * inverse)));
    }
  }
}

/** to = (q - zero) * scale with q = round(from * inverse) + zero, held within lowest .. highest. */
function code(
  from: usize,
  to: usize,
  n: i32,
  inverse: f32,
  scale: f32,
  zero: f32,
  lowest: f32,
  highest: f32,
): void {
  const inverses = f32x4.splat(inverse);
  const scales = f32x4.splat(scale);
  const least = f32x4.splat(lowest - zero);
  const most = f32x4.splat(highest - zero);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const at = (<usize>i) << 2;
    const rounded = f32x4.nearest(f32x4.mul(v128.load(from + at), inverses));
    v128.store(to + at, f32x4.mul(f32x4.pmin(most, f32x4.pmax(least, rounded)), scales));
  }
  for (let i = whole; i < n; i++) {
    const at = (<usize>i) << 2;
    const rounded = nearest<f32>(load<f32>(from + at) * inverse);
    store<f32>(to + at, min<f32>(highest - zero, max<f32>(lowest - zero, rounded)) * scale);
  }
}

function largestMagnitude(x: usize, n: i32): f32 {
  let largest = f32x4.splat(0);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    largest = f32x4.pmax(largest, f32x4.abs(v128.load(x + ((<usize>i) << 2))));
  }
  let found: f32 = max<f32>(
    max<f32>(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max<f32>(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  );
  for (let i = whole; i < n; i++) found = max<f32>(found, abs<f32>(load<f32>(x + ((<usize>i) << 2))));
  return found;
}

/** Least and largest of `rows` rows of n float32, and 0: two float32 at `out`. */
export function extremes(x: usize, ldx: i32, rows: i32, n: i32, out: usize): void {
  let least = f32x4.splat(0);
  let most = f32x4.splat(0);
  let low: f32 = 0;
  let high: f32 = 0;
  const whole = n & ~3;
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    for (let i = 0; i < whole; i += 4) {
      const values = v128.load(from + ((<usize>i) << 2));
      least = f32x4.pmin(least, values);
      most = f32x4.pmax(most, values);
    }
    for (let i = whole; i < n; i++) {
      const value = load<f32>(from + ((<usize>i) << 2));
      low = min<f32>(low, value);
      high = max<f32>(high, value);
    }
  }
  low = min<f32>(low, min<f32>(f32x4.extract_lane(least, 0), f32x4.extract_lane(least, 1)));
  low = min<f32>(low, min<f32>(f32x4.extract_lane(least, 2), f32x4.extract_lane(least, 3)));
  high = max<f32>(high, max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)));
  high = max<f32>(high, max<f32>(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)));
  store<f32>(out, low);
  store<f32>(out, high, 4);
}

/**
 * Counts the values of `rows` rows in 2 * side bins (uint32 at `counts`): bin side + floor(x * perUnit). All |x| * perUnit are
 * below `side`.
 */
export function countRows(
  x: usize,
  ldx: i32,
  rows: i32,
  n: i32,
  perUnit: f32,
  side: i32,
  counts: usize,
): void {
  const scale = f32x4.splat(perUnit);
  const whole = n & ~3;
  const middle = counts + ((<usize>side) << 2);
  for (let row = 0; row < rows; row++) {
    const from = x + ((<usize>row * ldx) << 2);
    for (let i = 0; i < whole; i += 4) {
      const bins = f32x4.floor(f32x4.mul(v128.load(from + ((<usize>i) << 2)), scale));
      const places = i32x4.trunc_sat_f32x4_s(bins);
      count(middle, i32x4.extract_lane(places, 0));
      count(middle, i32x4.extract_lane(places, 1));
      count(middle, i32x4.extract_lane(places, 2));
      count(middle, i32x4.extract_lane(places, 3));
    }
    for (let i = whole; i < n; i++) {
      count(middle, <i32>floor<f32>(load<f32>(from + ((<usize>i) << 2)) * perUnit));
    }
  }
}

// @ts-ignore: decorator
@inline
function count(middle: usize, bin: i32): void {
  const at = middle + ((<isize>bin) << 2);
  store<u32>(at, load<u32>(at) + 1);
}

/** Sum of (a - b)^2 and of a^2 over `rows` rows of n float32: two float64 at `out`. */
export function squaredDifference(a: usize, b: usize, rows: i32, n: i32, out: usize): void {
  let errors = f64x2.splat(0);
  let squares = f64x2.splat(0);
  let error: f64 = 0;
  let square: f64 = 0;
  const whole = n & ~1;
  for (let row = 0; row < rows; row++) {
    const start = (<usize>row * n) << 2;
    for (let i = 0; i < whole; i += 2) {
      const at = start + ((<usize>i) << 2);
      const value = f64x2.promote_low_f32x4(v128.load64_zero(a + at));
      const gap = f64x2.sub(value, f64x2.promote_low_f32x4(v128.load64_zero(b + at)));
      errors = f64x2.add(errors, f64x2.mul(gap, gap));
      squares = f64x2.add(squares, f64x2.mul(value, value));
    }
    for (let i = whole; i < n; i++) {
      const at = start + ((<usize>i) << 2);
      const value = <f64>load<f32>(a + at);
      const gap = value - <f64>load<f32>(b + at);
      error += gap * gap;
      square += value * value;
    }
  }
  store<f64>(out, error + (f64x2.extract_lane(errors, 0) + f64x2.extract_lane(errors, 1)));
  store<f64>(out, square + (f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1)), 8);
}
