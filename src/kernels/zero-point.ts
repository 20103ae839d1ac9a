import { signedBytes } from './rounding';

/**
 * Asymmetric int8 over a range given from outside (see `zeroPointOf` for how a range becomes scale and zero point):
 * q = clamp(round(x / scale) + zeroPoint, -128, 127), halves to even; x = (q - zeroPoint) * scale. n may be any count.
 */

/** Codes of four weights as floats. The limits come after the addition, which is exact where they do not decide. */
// @ts-ignore: decorator
@inline
function codes(x: v128, scale: v128, zeroPoint: v128): v128 {
  const q = f32x4.add(f32x4.nearest(f32x4.div(x, scale)), zeroPoint);
  return f32x4.pmin(f32x4.splat(127), f32x4.pmax(f32x4.splat(-128), q));
}

export function quantize_I8_zero_point(src: usize, dst: usize, n: i32, scale: f32, zeroPoint: i32): void {
  const s = f32x4.splat(scale);
  const z = f32x4.splat(<f32>zeroPoint);
  let i = 0;
  for (; i + 16 <= n; i += 16) {
    const from = src + (<usize>i << 2);
    v128.store(
      dst + <usize>i,
      signedBytes(
        codes(v128.load(from), s, z),
        codes(v128.load(from, 16), s, z),
        codes(v128.load(from, 32), s, z),
        codes(v128.load(from, 48), s, z),
      ),
    );
  }
  for (; i < n; i++) {
    const one = codes(f32x4.splat(load<f32>(src + (<usize>i << 2))), s, z);
    store<i8>(dst + <usize>i, <i8>f32x4.extract_lane(one, 0));
  }
}

export function dequantize_I8_zero_point(src: usize, dst: usize, n: i32, scale: f32, zeroPoint: i32): void {
  const s = f32x4.splat(scale);
  const z = i16x8.splat(<i16>zeroPoint);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const q = i16x8.sub(v128.load8x8_s(src + <usize>i), z);
    const to = dst + (<usize>i << 2);
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(q)), s));
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(q)), s), 16);
  }
  for (; i < n; i++) {
    store<f32>(dst + (<usize>i << 2), <f32>(<i32>load<i8>(src + <usize>i) - zeroPoint) * scale);
  }
}

/** Smallest and largest of n >= 1 weights as two float32 at `out`; a zero is +0. */
export function range(x: usize, n: i32, out: usize): void {
  const first = load<f32>(x);
  let low = first, high = first;
  let i = 0;
  if (n >= 8) {
    let lows = v128.load(x), highs = lows;
    let lows2 = v128.load(x, 16), highs2 = lows2;
    for (i = 8; i + 8 <= n; i += 8) {
      const a = v128.load(x + (<usize>i << 2));
      const b = v128.load(x + (<usize>i << 2), 16);
      lows = f32x4.pmin(lows, a);
      highs = f32x4.pmax(highs, a);
      lows2 = f32x4.pmin(lows2, b);
      highs2 = f32x4.pmax(highs2, b);
    }
    lows = f32x4.pmin(lows, lows2);
    highs = f32x4.pmax(highs, highs2);
    low = min(
      min(f32x4.extract_lane(lows, 0), f32x4.extract_lane(lows, 1)),
      min(f32x4.extract_lane(lows, 2), f32x4.extract_lane(lows, 3)),
    );
    high = max(
      max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1)),
      max(f32x4.extract_lane(highs, 2), f32x4.extract_lane(highs, 3)),
    );
  }
  for (; i < n; i++) {
    const value = load<f32>(x + (<usize>i << 2));
    low = min(low, value);
    high = max(high, value);
  }
  store<f32>(out, low + 0);
  store<f32>(out, high + 0, 4);
}
