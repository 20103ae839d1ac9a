import { roundToHalf } from './grid.ts';

/**
 * Step d, a float16, that lets d * integers of low..high come near `values` (the first `count`), an error in value s costing
 * curvatures[s]: of 61 inverse steps around the extremes the one whose least-squares d leaves the least. 0 when all are.
 */
export function searchStep(
  values: Float64Array,
  curvatures: Float64Array,
  count: number,
  low: number,
  high: number,
): number {
  let peak = 0;
  for (let s = 0; s < count; s++) if (Math.abs(values[s]) > Math.abs(peak)) peak = values[s];
  if (peak === 0) return 0;
  let [best, step] = [-1, 0];
  for (const end of low < 0 ? [high, low] : [high]) {
    for (let k = 0; k <= 60; k++) {
      const inverse = (end * (1.02 - (0.4 * k) / 60)) / peak;
      let [vl, ll] = [0, 0];
      for (let s = 0; s < count; s++) {
        const level = Math.max(low, Math.min(high, Math.round(values[s] * inverse)));
        const weighted = curvatures[s] * level;
        vl += weighted * values[s];
        ll += weighted * level;
      }
      if (ll > 0 && vl * vl > best * ll) {
        best = (vl * vl) / ll;
        step = vl / ll;
      }
    }
  }
  const rounded = roundToHalf(step);
  // Below float16's least number nothing can be stored but the extreme itself, if that.
  return rounded !== 0 ? rounded : roundToHalf(peak / high);
}

/**
 * Changes of d and dmin that lower a loss the most, d moving along a and dmin along -b: least squares with
 * aa, ab, bb the products of both under the loss and ag, bg those with its gradient. A direction that is (nearly)
 * the other, or nothing, stays.
 */
export function fitSteps(
  aa: number,
  ab: number,
  bb: number,
  ag: number,
  bg: number,
): [d: number, dmin: number] {
  const determinant = aa * bb - ab * ab;
  if (determinant > 1e-9 * aa * bb) {
    return [(ag * bb - bg * ab) / determinant, (ag * ab - bg * aa) / determinant];
  }
  return [aa > 0 ? ag / aa : 0, 0];
}
