import { nearestCode } from './nearest.ts';

const f = Math.fround;

/** What a search tries: inverse scales (first + delta * step + top) / range for step = 0..steps. */
export interface SearchGrid {
  /** Largest code; the smallest is 0. */
  readonly top: number;
  readonly first: number;
  readonly delta: number;
  readonly steps: number;
  /** How a candidate is judged: by weighted absolute errors, or by weighted squares. */
  readonly error: 'absolute' | 'square';
}

/** What ggml tries under an importance matrix, whatever the type. */
export const weightedGrid = (top: number): SearchGrid => ({
  top,
  first: -0.9,
  delta: 0.05,
  steps: 36,
  error: 'square',
});

/** x ~ scale * code - min, with min >= 0. */
export interface ScaleMin {
  scale: number;
  min: number;
}

/**
 * Scale and minimum of one sub-block, so that x ~ scale * code - min with small weighted error; its codes go to
 * `codes`. Each candidate inverse scale fixes codes, weighted least squares over those codes fixes scale and offset,
 * and the best candidate so far moves the offset the next one starts from. ggml: make_qkx2_quants, make_qkx3_quants.
 */
export function searchScaleMin(
  x: Float32Array,
  weights: Float32Array,
  codes: Uint8Array,
  { top, first, delta, steps, error }: SearchGrid,
): ScaleMin {
  const n = x.length;
  let low = x[0];
  let high = x[0];
  let sumW = weights[0];
  let sumX = f(sumW * x[0]);
  for (let i = 1; i < n; i++) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
    sumW = f(sumW + weights[i]);
    sumX = f(sumX + f(weights[i] * x[i]));
  }
  let offset = Math.min(low, 0);
  codes.fill(0);
  if (high === offset) return { scale: 0, min: -offset };

  const errorOf = (candidate: Uint8Array, scale: number, offset: number): number => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const difference = f(f(f(scale * candidate[i]) + offset) - x[i]);
      const cost = error === 'absolute' ? Math.abs(difference) : f(difference * difference);
      sum = f(sum + f(weights[i] * cost));
    }
    return sum;
  };

  const inverse = f(top / f(high - offset));
  let scale = f(1 / inverse);
  for (let i = 0; i < n; i++) codes[i] = nearestCode(f(inverse * f(x[i] - offset)), top);
  let best = errorOf(codes, scale, offset);

  const candidate = new Uint8Array(n);
  for (let step = 0; step <= steps; step++) {
    const inverse = f(f(f(f(first) + f(f(delta) * step)) + top) / f(high - offset));
    let sumL = 0;
    let sumLL = 0;
    let sumXL = 0;
    for (let i = 0; i < n; i++) {
      const code = nearestCode(f(inverse * f(x[i] - offset)), top);
      const weighted = f(weights[i] * code);
      candidate[i] = code;
      sumL = f(sumL + weighted);
      sumLL = f(sumLL + f(weighted * code));
      sumXL = f(sumXL + f(weighted * x[i]));
    }
    const determinant = f(f(sumW * sumLL) - f(sumL * sumL));
    if (!(determinant > 0)) continue;
    let fitted = f(f(f(sumW * sumXL) - f(sumX * sumL)) / determinant);
    let fittedOffset = f(f(f(sumLL * sumX) - f(sumL * sumXL)) / determinant);
    if (fittedOffset > 0) {
      fittedOffset = 0;
      fitted = f(sumXL / sumLL);
    }
    const cost = errorOf(candidate, fitted, fittedOffset);
    if (cost < best) {
      best = cost;
      scale = fitted;
      offset = fittedOffset;
      codes.set(candidate);
    }
  }
  return { scale, min: -offset };
}
