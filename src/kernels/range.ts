import { codes4, divisorOf } from './range-codes';

/** What ranges are chosen from: sums over n weights, weight i in lane i % 4, (l0 + l1) + (l2 + l3) at the end, float64. */

/** Writes min, max, sum x, sum |x| and sum x^2 of n >= 1 weights as five float64 to `out`, a scratch of 128 bytes. */
export function extent(x: usize, n: i32, out: usize): void {
  const first = v128.load32_splat(x);
  let low = first, high = first;
  let sumA = f64x2.splat(0), sumB = sumA, magA = sumA, magB = sumA, sqA = sumA, sqB = sumA;
  const end = x + (<usize>(n & ~3) << 2);
  for (; x < end; x += 16) {
    const v = v128.load(x);
    low = f32x4.pmin(low, v);
    high = f32x4.pmax(high, v);
    const a = f64x2.promote_low_f32x4(v), b = f64x2.promote_low_f32x4(v128.shuffle<i64>(v, v, 1, 1));
    sumA = f64x2.add(sumA, a);
    sumB = f64x2.add(sumB, b);
    magA = f64x2.add(magA, f64x2.abs(a));
    magB = f64x2.add(magB, f64x2.abs(b));
    sqA = f64x2.add(sqA, f64x2.mul(a, a));
    sqB = f64x2.add(sqB, f64x2.mul(b, b));
  }
  // Up to three weights are left: zeros in the other lanes change no sum.
  if ((n & 3) != 0) {
    v128.store(out, f32x4.splat(0));
    memory.copy(out, x, <usize>(n & 3) << 2);
    const v = v128.load(out);
    for (let i: usize = 0; i < <usize>(n & 3); i++) {
      const one = v128.load32_splat(x + (i << 2));
      low = f32x4.pmin(low, one);
      high = f32x4.pmax(high, one);
    }
    const a = f64x2.promote_low_f32x4(v), b = f64x2.promote_low_f32x4(v128.shuffle<i64>(v, v, 1, 1));
    sumA = f64x2.add(sumA, a);
    sumB = f64x2.add(sumB, b);
    magA = f64x2.add(magA, f64x2.abs(a));
    magB = f64x2.add(magB, f64x2.abs(b));
    sqA = f64x2.add(sqA, f64x2.mul(a, a));
    sqB = f64x2.add(sqB, f64x2.mul(b, b));
  }
  low = f32x4.pmin(low, v128.shuffle<i32>(low, low, 2, 3, 0, 1));
  low = f32x4.pmin(low, v128.shuffle<i32>(low, low, 1, 0, 3, 2));
  high = f32x4.pmax(high, v128.shuffle<i32>(high, high, 2, 3, 0, 1));
  high = f32x4.pmax(high, v128.shuffle<i32>(high, high, 1, 0, 3, 2));
  store<f64>(out, <f64>f32x4.extract_lane(low, 0) + 0);
  store<f64>(out, <f64>f32x4.extract_lane(high, 0) + 0, 8);
  store<f64>(out, total(sumA, sumB), 16);
  store<f64>(out, total(magA, magB), 24);
  store<f64>(out, total(sqA, sqB), 32);
}

// @ts-ignore: decorator
@inline
function total(a: v128, b: v128): f64 {
  return (
    f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1) + (f64x2.extract_lane(b, 0) + f64x2.extract_lane(b, 1))
  );
}

/**
 * For each of `count` ranges (float32 scales and offsets), the sum of (x - q)^2 of n weights, n a multiple of 4, as float64
 * to `out`; q = scale * code + offset and the difference are float32.
 */
export function range_errors(
  x: usize, n: i32, scales: usize, offsets: usize, count: i32, least: f32, most: f32, out: usize,
): void {
  const bytes = <usize>n << 2;
  const lowest = f32x4.splat(least), highest = f32x4.splat(most);
  for (let c = 0; c < count; c++, scales += 4, offsets += 4, out += 8) {
    const scale = v128.load32_splat(scales), offset = v128.load32_splat(offsets);
    const divisor = divisorOf(load<f32>(scales));
    let a = f64x2.splat(0), b = a;
    for (let i: usize = 0; i < bytes; i += 16) {
      const v = v128.load(x + i);
      const code = codes4(v, divisor, offset, lowest, highest);
      const e = f32x4.sub(v, f32x4.add(f32x4.mul(code, scale), offset));
      const low = f64x2.promote_low_f32x4(e), high = f64x2.promote_low_f32x4(v128.shuffle<i64>(e, e, 1, 1));
      a = f64x2.add(a, f64x2.mul(low, low));
      b = f64x2.add(b, f64x2.mul(high, high));
    }
    store<f64>(out, total(a, b));
  }
}
