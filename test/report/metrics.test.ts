import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emptyErrorSums } from '../../src/core/error-sums.ts';
import { metricsOf } from '../../src/report/metrics.ts';

/** Sums by their definitions. */
function sumsOf(x: readonly number[], q: readonly number[]) {
  const sums = emptyErrorSums();
  for (const [i, xi] of x.entries()) {
    const error = Math.abs(xi - q[i]);
    sums.count++;
    sums.sumX2 += xi * xi;
    sums.sumQ2 += q[i] * q[i];
    sums.sumXQ += xi * q[i];
    sums.sumE2 += error * error;
    if (error > sums.maxError) [sums.maxError, sums.maxErrorAt] = [error, i];
  }
  return sums;
}

const weight = fc.float({ min: -8, max: 8, noNaN: true });

describe('metricsOf', () => {
  it('equals the direct formulas', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(weight, weight), { minLength: 1, maxLength: 60 }), (pairs) => {
        const [x, q] = [pairs.map(([a]) => a), pairs.map(([, b]) => b)];
        const norm = (v: readonly number[]) => Math.hypot(...v);
        const errors = x.map((xi, i) => xi - q[i]);
        fc.pre(norm(x) > 1e-6 && norm(q) > 1e-6 && norm(errors) > 1e-6);
        const metrics = metricsOf(sumsOf(x, q), 7);
        expect(metrics.mse).toBeCloseTo(errors.reduce((sum, e) => sum + e ** 2, 0) / x.length, 9);
        expect(metrics.rmse).toBeCloseTo(norm(errors) / Math.sqrt(x.length), 9);
        expect(metrics.relativeError / (norm(errors) / norm(x)) ** 2).toBeCloseTo(1, 9);
        expect(metrics.sqnrDb).toBeCloseTo(20 * Math.log10(norm(x) / norm(errors)), 7);
        const cosine = x.reduce((sum, xi, i) => sum + xi * q[i], 0) / norm(x) / norm(q);
        expect(metrics.cosine).toBeCloseTo(cosine, 9);
        expect(Math.abs(metrics.cosine)).toBeLessThanOrEqual(1);
        const { value, index, row, column } = metrics.maxError;
        expect(value).toBe(Math.max(...errors.map(Math.abs)));
        expect(index).toBe(errors.findIndex((e) => Math.abs(e) === value));
        expect([row * 7 + column, column < 7]).toEqual([index, true]);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it.each([
    ['exact', [1, -2], [1, -2], { mse: 0, relativeError: 0, sqnrDb: Number.POSITIVE_INFINITY, cosine: 1 }],
    [
      'all zero, kept zero',
      [0, 0],
      [0, 0],
      { relativeError: 0, sqnrDb: Number.POSITIVE_INFINITY, cosine: 1 },
    ],
    [
      'all zero, no longer zero',
      [0, 0],
      [0, 2],
      { mse: 2, relativeError: Number.POSITIVE_INFINITY, sqnrDb: Number.NEGATIVE_INFINITY, cosine: 0 },
    ],
    ['lost', [3, 4], [0, 0], { relativeError: 1, sqnrDb: 0, cosine: 0, rmse: Math.sqrt(12.5) }],
    ['turned round', [3, 4], [-3, -4], { relativeError: 4, cosine: -1 }],
    ['no weights', [], [], { mse: 0, rmse: 0, relativeError: 0, cosine: 1 }],
  ])('defines %s', (_name, x, q, expected) => {
    expect(metricsOf(sumsOf(x, q), 2)).toMatchObject(expected);
  });

  it('keeps the cosine of norms whose product leaves float64', () => {
    const tiny = {
      ...emptyErrorSums(),
      count: 1,
      sumX2: 1e-200,
      sumQ2: 4e-200,
      sumXQ: 2e-200,
      sumE2: 1e-200,
    };
    expect(metricsOf(tiny, 1).cosine).toBeCloseTo(1, 12);
  });
});
