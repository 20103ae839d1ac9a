import { nearestInt } from './nearest.ts';

const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * Scale of values that are coded without sign, value ~ scale * level with level in 0..top, so that the squared errors
 * counted `weights` times are small; 0 where no value is positive. Nine inverse scales around top / max are judged by
 * their errors; from the levels of the best, single levels are moved as long as that improves the fit, in five rounds
 * at most. Levels go to `levels`. ggml: make_qp_quants.
 */
export function searchNonnegative(
  x: Float32Array,
  weights: Float32Array,
  levels: Uint8Array,
  top: number,
): number {
  let max = 0;
  for (const value of x) if (value > max) max = value;
  levels.fill(0);
  if (max < EPS) return 0;

  let inverse = f(top / max);
  // The first candidate's levels are not limited, but kept as bytes.
  let best = errorOf(x, weights, f(1 / inverse), (value) => nearestInt(f(inverse * value)) & 255);
  for (let step = -4; step <= 4; step++) {
    if (step === 0) continue;
    const candidate = f(f(f(f(0.1) * step) + top) / max);
    const level = (value: number) => Math.min(top, nearestInt(f(candidate * value)));
    const error = errorOf(x, weights, f(1 / candidate), level);
    if (error < best) {
      best = error;
      inverse = candidate;
    }
  }

  let sumLX = 0;
  let sumLL = 0;
  for (let i = 0; i < x.length; i++) {
    const level = Math.min(top, nearestInt(f(inverse * x[i])));
    levels[i] = level;
    sumLX = f(sumLX + f(f(weights[i] * x[i]) * level));
    sumLL = f(sumLL + f(f(weights[i] * level) * level));
  }
  for (let round = 0; round < 5; round++) {
    let changed = false;
    for (let i = 0; i < x.length; i++) {
      const wx = f(weights[i] * x[i]);
      const otherLX = f(sumLX - f(wx * levels[i]));
      const otherLL = f(sumLL - f(f(weights[i] * levels[i]) * levels[i]));
      if (!(otherLX > 0 && otherLL > 0)) continue;
      const level = Math.min(top, nearestInt(f(f(x[i] * otherLL) / otherLX)));
      if (level === levels[i]) continue;
      const lx = f(otherLX + f(wx * level));
      const ll = f(otherLL + f(f(weights[i] * level) * level));
      if (f(f(lx * lx) * sumLL) > f(f(sumLX * sumLX) * ll)) {
        levels[i] = level;
        sumLX = lx;
        sumLL = ll;
        changed = true;
      }
    }
    if (!changed) break;
  }
  return sumLL > 0 ? f(sumLX / sumLL) : 0;
}

/** Sum of weighted squared errors of x ~ scale * level. */
function errorOf(
  x: Float32Array,
  weights: Float32Array,
  scale: number,
  levelOf: (value: number) => number,
): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = f(x[i] - f(scale * levelOf(x[i])));
    sum = f(sum + f(f(weights[i] * difference) * difference));
  }
  return sum;
}
