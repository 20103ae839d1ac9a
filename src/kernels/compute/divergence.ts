import { exp2 } from './exp';

/**
 * Running normalizer of a row of logits that comes in parts. State, three float64: the largest logit m so far, the sum of
 * e^(x - m), the index of the first largest. It begins as -Infinity, 0, -1. This part is n float32 at x, the first of
 * them of index `first`. All in float64.
 */
export function addToNormalizer(x: usize, n: i32, first: i32, state: usize): void {
  const max = raise(x, n, first, state, false);
  let sums = f64x2.splat(0);
  const shift = f64x2.splat(max);
  const whole = n & ~1;
  for (let i = 0; i < whole; i += 2) {
    const value = f64x2.promote_low_f32x4(v128.load64_zero(x + ((<usize>i) << 2)));
    sums = f64x2.add(sums, exp2(f64x2.sub(value, shift)));
  }
  let sum = load<f64>(state, 8) + (f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1));
  for (let i = whole; i < n; i++) sum += single(<f64>load<f32>(x + ((<usize>i) << 2)) - max);
  store<f64>(state, sum, 8);
}

/**
 * The same, and in a fourth float64, which begins as 0, the sum of e^(x - m) (x - y) over the logits y of another model:
 * with it the divergence of that model is sum / sum(e^(x - m)) - ln normalizer(x) + ln normalizer(y).
 */
export function addToDivergence(x: usize, y: usize, n: i32, first: i32, state: usize): void {
  const max = raise(x, n, first, state, true);
  let sums = f64x2.splat(0);
  let weighted = f64x2.splat(0);
  const shift = f64x2.splat(max);
  const whole = n & ~1;
  for (let i = 0; i < whole; i += 2) {
    const value = f64x2.promote_low_f32x4(v128.load64_zero(x + ((<usize>i) << 2)));
    const other = f64x2.promote_low_f32x4(v128.load64_zero(y + ((<usize>i) << 2)));
    const weight = exp2(f64x2.sub(value, shift));
    sums = f64x2.add(sums, weight);
    weighted = f64x2.add(weighted, f64x2.mul(weight, f64x2.sub(value, other)));
  }
  let sum = load<f64>(state, 8) + (f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1));
  let cross = load<f64>(state, 24) + (f64x2.extract_lane(weighted, 0) + f64x2.extract_lane(weighted, 1));
  for (let i = whole; i < n; i++) {
    const value = <f64>load<f32>(x + ((<usize>i) << 2));
    const weight = single(value - max);
    sum += weight;
    cross += weight * (value - <f64>load<f32>(y + ((<usize>i) << 2)));
  }
  store<f64>(state, sum, 8);
  store<f64>(state, cross, 24);
}

/** Takes the largest logit of a part into the state, whose sums then belong to the new largest. Returns that. */
function raise(x: usize, n: i32, first: i32, state: usize, crossed: bool): f64 {
  const before = load<f64>(state);
  let largest = f32x4.splat(-Infinity);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) largest = f32x4.max(largest, v128.load(x + ((<usize>i) << 2)));
  let found: f32 = max<f32>(
    max<f32>(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max<f32>(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  );
  for (let i = whole; i < n; i++) found = max<f32>(found, load<f32>(x + ((<usize>i) << 2)));
  if (<f64>found <= before) return before;
  store<f64>(state, <f64>found);
  for (let i = 0; i < n; i++) {
    if (load<f32>(x + ((<usize>i) << 2)) == found) {
      store<f64>(state, <f64>(first + i), 16);
      break;
    }
  }
  if (before == -Infinity) return <f64>found;
  const factor = single(before - <f64>found);
  store<f64>(state, load<f64>(state, 8) * factor, 8);
  if (crossed) store<f64>(state, load<f64>(state, 24) * factor, 24);
  return <f64>found;
}

// @ts-ignore: decorator
@inline
function single(x: f64): f64 {
  return f64x2.extract_lane(exp2(f64x2.splat(x)), 0);
}
