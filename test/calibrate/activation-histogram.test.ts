import { describe, expect, it } from 'vitest';
import {
  chooseActivationRange,
  codesOver,
  Histogram,
  SIDE,
} from '../../src/calibrate/activation-histogram.ts';
import { type ActivationGrid, highestCode, rangeMethods } from '../../src/core/activations.ts';
import { gaussian, uniform } from '../support/random.ts';

/** A histogram that takes its values in parts, each with its own reach. */
function histogramOf(values: readonly number[], part = values.length): Histogram {
  const histogram = new Histogram();
  for (let from = 0; from < values.length; from += part) {
    const some = values.slice(from, from + part);
    histogram.reachTo(Math.min(0, ...some), Math.max(0, ...some));
    const counts = new Uint32Array(2 * SIDE);
    for (const value of some) counts[SIDE + Math.floor(value / histogram.width)]++;
    histogram.add(counts);
  }
  return histogram;
}

const next = gaussian(11);
const random = uniform(4);
/** Mostly small, some large: what the inputs of a down projection look like. */
const heavy = Array.from({ length: 4000 }, () => Math.fround(next() * (random() < 0.02 ? 8 : 1)));
const shifted = heavy.map((value) => Math.fround(value > 0 ? value : value / 6));
const normal = Array.from({ length: 3000 }, () => Math.fround(next()));
const cases = { heavy, shifted, normal };

const grids: ActivationGrid[] = [
  { bits: 8, symmetric: true },
  { bits: 4, symmetric: true },
  { bits: 8, symmetric: false },
  { bits: 4, symmetric: false },
];

/** The definition: relative squared error of the values themselves. */
function relativeError(values: readonly number[], grid: ActivationGrid, low: number, high: number): number {
  const { scale, zeroPoint } = codesOver(grid, low, high);
  const highest = highestCode(grid);
  const [least, most] = grid.symmetric ? [-highest, highest] : [0, highest];
  let [error, square] = [0, 0];
  for (const x of values) {
    const code = Math.min(most, Math.max(least, Math.round(x / scale) + zeroPoint));
    error += (x - scale * (code - zeroPoint)) ** 2;
    square += x * x;
  }
  return error / square;
}

describe('a histogram', () => {
  it('is the same however the values come', () => {
    const expected = histogramOf(heavy);
    for (const values of [heavy, heavy.toReversed(), heavy.toSorted((a, b) => Math.abs(a) - Math.abs(b))]) {
      const found = histogramOf(values, 7);
      expect(found.width).toBe(expected.width);
      expect(found.counts).toEqual(expected.counts);
      expect([found.min, found.max, found.total]).toEqual([Math.min(...heavy), Math.max(...heavy), 4000]);
    }
  });

  it('spends at least half of its bins on what there is', () => {
    expect(histogramOf(heavy).magnitudes().length).toBeGreaterThan(SIDE / 2);
    expect(histogramOf([1, -1]).magnitudes().length).toBe(SIDE / 2 + 1);
  });
});

describe.each(Object.entries(cases))('ranges of %s values', (_name, values) => {
  const histogram = histogramOf(values, 1000);
  const largest = Math.max(...values.map(Math.abs));

  it.each(grids)('$bits bits, symmetric: $symmetric', (grid) => {
    const of = (method: (typeof rangeMethods)[number], percent = 99) =>
      chooseActivationRange(histogram, grid, method, percent);
    for (const method of rangeMethods) {
      const { low, high, scale, zeroPoint, relativeError: error } = of(method);
      expect(codesOver(grid, low, high)).toEqual({ scale, zeroPoint });
      if (grid.symmetric) expect(-low).toBe(high);
      expect(low).toBeLessThanOrEqual(0);
      expect(high).toBeLessThanOrEqual(largest);
      // The histogram's figure is that of the values: bins are far narrower than codes.
      expect(error / relativeError(values, grid, low, high)).toBeCloseTo(1, 1);
    }

    const full = of('absmax');
    expect([full.low, full.high]).toEqual(
      grid.symmetric ? [-largest, largest] : [Math.min(...values), Math.max(...values)],
    );

    const { low, high } = of('percentile');
    const outside = values.filter((x) => x < low || x > high).length / values.length;
    expect(outside).toBeLessThanOrEqual(0.01);
    expect(outside).toBeGreaterThan(0.007);

    // Brute force over a fine net of ranges finds none that is better by more than 1 %.
    let least = Number.POSITIVE_INFINITY;
    const steps = grid.symmetric ? 1000 : 60;
    for (let i = 1; i <= steps; i++) {
      for (let j = 1; j <= (grid.symmetric ? 1 : steps); j++) {
        const top = (full.high * i) / steps;
        const bottom = grid.symmetric ? -top : (full.low * j) / steps;
        least = Math.min(least, relativeError(values, grid, bottom, top));
      }
    }
    const mse = of('mse');
    expect(relativeError(values, grid, mse.low, mse.high)).toBeLessThan(1.01 * least);
    expect(mse.relativeError).toBeLessThanOrEqual(full.relativeError);
  });

  it('entropy is the least divergence, by the definition', () => {
    const grid: ActivationGrid = { bits: 4, symmetric: true };
    const { high } = chooseActivationRange(histogram, grid, 'entropy', 99);
    const all = histogram.magnitudes();
    const counts = Float64Array.from(
      { length: Math.ceil(all.length / 2) },
      (_, i) => all[2 * i] + (all[2 * i + 1] ?? 0),
    );
    let [best, least] = [0, Number.POSITIVE_INFINITY];
    for (let to = counts.length; to >= 8; to--) {
      const found = divergence(counts, to, 8);
      if (found < least) [best, least] = [to, found];
    }
    expect(high).toBeCloseTo(Math.min(largest, best * 2 * histogram.width), 10);
  });
});

/** KL divergence of the first bins, the rest added to the last of them, from their levels spread over filled bins (TensorRT). */
function divergence(counts: Float64Array, to: number, levels: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const p = counts.slice(0, to);
  const inside = p.reduce((sum, count) => sum + count, 0);
  const q = new Float64Array(to);
  for (let level = 0; level < levels; level++) {
    const [from, end] = [Math.floor((level * to) / levels), Math.floor(((level + 1) * to) / levels)];
    const run = p.subarray(from, end);
    const filled = run.filter((count) => count > 0).length;
    const mass = run.reduce((sum, count) => sum + count, 0);
    for (let i = from; i < end; i++) if (p[i] > 0) q[i] = mass / filled / inside;
  }
  p[to - 1] += total - inside;
  const even = 1e-4 / counts.length;
  const norm = 1 + even * to;
  let sum = 0;
  for (let i = 0; i < to; i++) {
    const [a, b] = [(p[i] / total + even) / norm, (q[i] + even) / norm];
    sum += a * Math.log(a / b);
  }
  return sum;
}

describe('values that need no range', () => {
  it.each(grids)('zeros, $bits bits, symmetric: $symmetric', (grid) => {
    for (const method of rangeMethods) {
      expect(chooseActivationRange(histogramOf([0, 0, 0]), grid, method, 99)).toEqual({
        ...{ low: 0, high: 0, scale: 0, zeroPoint: 0, relativeError: 0 },
      });
    }
  });

  it('values of one sign keep 0 in the range', () => {
    const positive = histogramOf([3, 4, 5, 6]);
    const range = chooseActivationRange(positive, { bits: 8, symmetric: false }, 'absmax', 99);
    expect(range).toMatchObject({ low: 0, high: 6, zeroPoint: 0 });
    const negative = histogramOf([-3, -4, -5, -6]);
    expect(chooseActivationRange(negative, { bits: 8, symmetric: false }, 'absmax', 99)).toMatchObject({
      ...{ low: -6, high: 0, zeroPoint: 255 },
    });
  });
});
