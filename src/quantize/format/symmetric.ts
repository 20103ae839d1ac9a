import { nearestInt } from './nearest.ts';

const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * Scale of one sub-block on a grid around zero, x ~ scale * (code - middle): of 19 inverse scales around -middle /
 * max, the one whose least-squares scale leaves the least weighted error. Fills codes, 0 .. 2 * middle - 1, and
 * returns the scale; both are 0 for a sub-block of (nearly) zeros. ggml: make_qx_quants (rmse_type 1).
 */
export function searchSymmetric(
  x: Float32Array,
  weights: Float32Array,
  codes: Uint8Array,
  middle: number,
): number {
  let max = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(max)) max = value;
  codes.fill(0);
  if (Math.abs(max) < EPS) return 0;

  const codeOf = (level: number) => Math.max(-middle, Math.min(middle - 1, nearestInt(level))) + middle;
  /** Sums of w x l and w l^2, l the level of x at this inverse scale. */
  const moments = (inverse: number): [lx: number, l2: number] => {
    let [lx, l2] = [0, 0];
    for (let i = 0; i < x.length; i++) {
      const l = codeOf(f(inverse * x[i])) - middle;
      lx = f(lx + f(f(weights[i] * x[i]) * l));
      l2 = f(l2 + f(f(weights[i] * l) * l));
    }
    return [lx, l2];
  };

  let inverse = f(-middle / max);
  const [lx, l2] = moments(inverse);
  let scale = l2 === 0 ? 0 : f(lx / l2);
  let best = f(scale * lx);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const candidate = f(-f(middle + f(f(0.1) * step)) / max);
    const [lx, l2] = moments(candidate);
    if (l2 > 0 && f(lx * lx) > f(best * l2)) {
      inverse = candidate;
      scale = f(lx / l2);
      best = f(scale * lx);
    }
  }
  for (let i = 0; i < x.length; i++) codes[i] = codeOf(f(inverse * x[i]));
  return scale;
}
