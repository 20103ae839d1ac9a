/**
 * Adds n float32 at x to `counts`, 2 * HALF counters of 32 bits: a value of magnitude m goes HALF + trunc(m * scale)
 * bins from the start, or its mirror image if it is below 0; magnitudes beyond the last bin count there. `scale` is a
 * power of two, so that no rounding moves a value across an edge. Scalar twin: `countBins` in
 * src/quantize/histogram.ts.
 */
const HALF = 2048;

export function histogram(x: usize, n: i32, scale: f32, counts: usize): void {
  const scales = f32x4.splat(scale);
  const last = i32x4.splat(HALF - 1);
  const zero = i32x4.splat(<i32>counts + 4 * HALF);
  const end = x + (<usize>(n & ~3) << 2);
  for (; x < end; x += 16) {
    const value = v128.load(x);
    const steps = i32x4.min_s(i32x4.trunc_sat_f32x4_s(f32x4.mul(f32x4.abs(value), scales)), last);
    const bins = v128.xor(steps, f32x4.lt(value, f32x4.splat(0))); // ~t = -1 - t
    const at = i32x4.add(zero, i32x4.shl(bins, 2));
    increment(i32x4.extract_lane(at, 0));
    increment(i32x4.extract_lane(at, 1));
    increment(i32x4.extract_lane(at, 2));
    increment(i32x4.extract_lane(at, 3));
  }
  for (let left = n & 3; left > 0; left--, x += 4) {
    const value = load<f32>(x);
    const steps = min(<i32>(abs<f32>(value) * scale), HALF - 1); // saturates
    increment(<i32>counts + 4 * (HALF + (value < 0 ? ~steps : steps)));
  }
}

// @ts-ignore: decorator
@inline
function increment(at: i32): void {
  store<u32>(<usize>at, load<u32>(<usize>at) + 1);
}
