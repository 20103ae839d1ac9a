import { describe, expect, it } from 'vitest';
import { fromFloat16, roundToFloat16, toFloat16 } from '../../src/core/float.ts';
import {
  type CodedRange,
  endsOf,
  type Granularity,
  gridOf,
  type RangedType,
  type RangeRule,
  type RangeSpec,
  type Symmetry,
} from '../../src/core/ranges.ts';
import { codeOf } from '../../src/quantize/format/range-codes.ts';
import { affineThresholds, Histogram, symmetricThreshold } from '../../src/quantize/range/entropy.ts';
import { rangeOfGroup } from '../../src/quantize/range/group.ts';
import { answerTile, SCRATCH_BYTES } from '../../src/quantize/range/tile.ts';
import { distributions } from '../support/distributions.ts';
import { scalar, simd } from './byte-identity.ts';

/** Each rule against brute force on small groups, and against numbers worked by hand. */

const f = Math.fround;

const specOf = (
  rule: RangeRule,
  granularity: Granularity = 'tensor',
  symmetry: Symmetry | null = 'restricted',
  center = false,
): RangeSpec => ({ rule, granularity, symmetry, center });

/** The range of a group; kernels and twins must agree. */
function rangeOf(type: RangedType, spec: RangeSpec, x: ArrayLike<number>): CodedRange {
  const [found, twin] = [simd, scalar].map((kernels) => {
    new Float32Array(kernels.buffer, kernels.base, x.length).set(x);
    const scratch = kernels.base + Math.ceil((4 * x.length) / 16) * 16;
    new Uint8Array(kernels.buffer, scratch, SCRATCH_BYTES).fill(0xa5);
    return rangeOfGroup(spec, type, kernels, kernels.base, x.length, scratch);
  });
  expect(found).toEqual(twin);
  return found;
}

/** Sum of squared errors of weights coded over a range that need not be stored, in float64. */
const errorOf = (x: Float32Array, range: CodedRange): number =>
  x.reduce((sum, value) => sum + (value - (codeOf(value, range) * range.scale + range.offset)) ** 2, 0);

/** The sums of squared errors over ranges that share their codes; range-kernels.test.ts holds the kernel to coding. */
function errorsOf(x: Float32Array, ranges: readonly CodedRange[]): number[] {
  new Float32Array(simd.buffer, simd.base, x.length).set(x);
  const at = (name: 'scale' | 'offset', from: number) =>
    Float32Array.from(ranges.slice(from, from + 64), (range) => range[name]);
  const [{ lowest, highest }] = ranges;
  const errors: number[] = [];
  for (let from = 0; from < ranges.length; from += 64) {
    const query = {
      kind: 'errors',
      lowest,
      highest,
      scales: at('scale', from),
      offsets: at('offset', from),
    } as const;
    errors.push(...answerTile(query, simd, simd.base, x.length, simd.base + (1 << 20)));
  }
  return errors;
}

/** Least error over every float16 scale that reaches from 1/64 of the peak to the peak, of both signs. */
function leastError(type: RangedType, symmetry: Symmetry | null, x: Float32Array): number {
  const { lowest, highest } = gridOf(type, symmetry);
  const peak = Math.max(...x.map(Math.abs));
  const ranges: CodedRange[] = [];
  for (let bits = toFloat16(peak / 64 / -lowest); bits <= toFloat16(f(peak / highest)); bits++) {
    const scale = fromFloat16(bits);
    ranges.push({ scale, offset: 0, lowest, highest }, { scale: -scale, offset: 0, lowest, highest });
  }
  return errorsOf(x, ranges).reduce((least, error) => Math.min(least, error));
}

const kinds = [
  'gaussian',
  'laplace',
  'heavy tails',
  'uniform',
  'one outlier',
  'positive only',
  'two values',
] as const;

describe('worked numbers', () => {
  it('3.02 and 3.08 fall into one int8 code under an absmax of 10.8', () => {
    const range = rangeOf('Q8_0', specOf({ kind: 'absmax' }), [10.8, 3.02, 3.08, -7.59]);
    expect(range.scale).toBe(roundToFloat16(f(f(10.8) / 127)));
    expect([10.8, 3.02, 3.08, -7.59].map((x) => codeOf(x, range))).toEqual([127, 36, 36, -89]);
  });

  it('the range -7.59 .. 10.8 of a grid with a minimum', () => {
    const range = rangeOf('Q5_1', specOf({ kind: 'minmax' }, 'tensor', null), [10.8, 3.02, 0, -7.59]);
    expect(range.offset).toBe(roundToFloat16(-7.59));
    expect(range.scale).toBe(roundToFloat16(f(18.39 / 31)));
    expect([-7.59, 0, 10.8].map((x) => codeOf(x, range))).toEqual([0, 13, 31]); // 7.59 * 31 / 18.39 = 12.79
  });

  it('clipping at -5 .. 5', () => {
    const range = rangeOf('Q8_0', specOf({ kind: 'clip', low: -5, high: 5 }), [10.8, 3.02, 3.08, -7.59]);
    expect(range.scale).toBe(roundToFloat16(5 / 127));
    expect([10.8, 3.02, 3.08, -7.59].map((x) => codeOf(x, range))).toEqual([127, 77, 78, -127]);
  });

  it('restricted codes go to -127, full ones to -128, at the peak', () => {
    const x = [-10.8, 3.02, 5, 10];
    expect(endsOf('symmetric', rangeOf('Q8_0', specOf({ kind: 'absmax' }), x))[0]).toBeCloseTo(-10.8, 2);
    const full = rangeOf('Q8_0', specOf({ kind: 'absmax' }, 'tensor', 'full'), x);
    expect(full.scale).toBe(roundToFloat16(f(f(10.8) / 128)));
    expect(codeOf(-10.8, full)).toBe(-128);
    const mirrored = rangeOf(
      'Q4_0',
      specOf({ kind: 'absmax' }, 'tensor', 'full'),
      x.map((value) => -value),
    );
    expect(mirrored.scale).toBe(roundToFloat16(f(f(10.8) / -8)));
    expect(codeOf(10.8, mirrored)).toBe(-8);
  });

  it('absmean is the mean magnitude, rounded to float16, of BitNet b1.58', () => {
    const x = Float32Array.from([0.3, -0.1, 0.05, 0.9, -0.4, 0.2, 0, -0.25]);
    const range = rangeOf('TQ2_0', specOf({ kind: 'absmean' }, 'tensor', null), x);
    expect(range.scale).toBe(roundToFloat16(2.2 / 8));
    expect([...x].map((value) => codeOf(value, range))).toEqual([1, 0, 0, 1, -1, 1, 0, -1]);
    // A weight of exactly half the scale is 0: halves to even.
    expect([range.scale / 2, -range.scale / 2].map((value) => codeOf(value, range))).toEqual([0, 0]);
  });

  it('absmean of zeros and one magnitude is that magnitude, to the last bit of float32', () => {
    const spec = specOf({ kind: 'absmean' }, 'tensor', null);
    for (const magnitude of [0.75, f(0.1), 2 ** -20, 60_000]) {
      const x = Float32Array.from({ length: 4096 }, (_, i) => ((((i * 7919) % 5) % 3) - 1) * magnitude);
      expect(rangeOf('TQ2_0', spec, x).scale).toBe(roundToFloat16(magnitude));
      x[4000] = f(magnitude * (1 - 2 ** -23));
      const mean = x.reduce((sum, value) => sum + Math.abs(value), 0) / x.length;
      expect(rangeOf('TQ2_0', spec, x).scale).toBe(roundToFloat16(mean));
    }
    expect(rangeOf('TQ2_0', spec, new Float32Array(256)).scale).toBe(0);
    expect(rangeOf('TQ2_0', spec, new Float32Array(256).fill(-0.5)).scale).toBe(0.5);
  });

  it('binary: the mean magnitude, and the sign of x or of x - mean', () => {
    const x = [0.5, 0.25, 0.75, -0.5];
    const plain = rangeOf('Q1_0', specOf({ kind: 'absmean' }, 'tensor', null), x);
    expect(plain).toMatchObject({ scale: 0.5, offset: 0 });
    const centred = rangeOf('Q1_0', specOf({ kind: 'absmean' }, 'tensor', null, true), x);
    expect(centred.scale).toBe(0.5);
    // The mean is 0.25, and Sign(0) is -1 (arXiv 2310.11453, equation 2).
    expect([0.25, f(0.25 + 2 ** -25)].map((value) => value >= centred.offset)).toEqual([false, true]);
    for (const [values, mean] of [
      [[-1, -2, -3, -2], -2],
      [[-1, 1, -3, 3], 0],
    ] as const) {
      const { offset } = rangeOf('Q1_0', specOf({ kind: 'absmean' }, 'tensor', null, true), values);
      expect(offset).toBeGreaterThan(mean);
      expect(offset).toBeLessThan(mean + 1e-6);
    }
  });
});

describe('percentile', () => {
  it.each([0.1, 1, 50, 90, 99, 99.9, 100])('%d: the least magnitude that so many have at most', (percent) => {
    const x = distributions.cauchy(512, 3);
    const sorted = [...x.map(Math.abs)].sort((a, b) => a - b);
    const threshold = sorted.find(
      (t) => x.filter((value) => Math.abs(value) <= t).length >= (percent / 100) * 512,
    )!;
    const { scale } = rangeOf('Q8_0', specOf({ kind: 'percentile', percent }), x);
    expect(scale).toBe(roundToFloat16(f(threshold / 127)));
  });

  it('cuts both sides of a grid with a minimum by equal shares', () => {
    const x = distributions['heavy tails'](1000, 3);
    const sorted = [...x].sort((a, b) => a - b);
    const { scale, offset } = rangeOf('Q4_1', specOf({ kind: 'percentile', percent: 99 }, 'tensor', null), x);
    expect(offset).toBe(roundToFloat16(sorted[5])); // 995 weights up to the high end, 995 from the low one
    expect(scale).toBe(roundToFloat16(f(f(sorted[994] - sorted[5]) / 15)));
  });

  it('of weights that are mostly 0 is their peak', () => {
    const x = new Float32Array(64);
    x[5] = 2;
    expect(rangeOf('Q8_0', specOf({ kind: 'percentile', percent: 50 }), x).scale).toBe(
      roundToFloat16(f(2 / 127)),
    );
  });
});

describe('least squared error', () => {
  const choices = [
    ...(['Q8_0', 'Q5_0', 'Q4_0'] as const).flatMap((type) =>
      (['restricted', 'full'] as const).map((symmetry) => [type, symmetry] as const),
    ),
    ['TQ2_0', null] as const,
  ];
  const found = (
    type: RangedType,
    granularity: Granularity,
    symmetry: Symmetry | null,
    x: Float32Array,
  ): number => {
    const [error, known] = (['mse', type === 'TQ2_0' ? 'absmean' : 'absmax'] as const).map(
      (kind) => errorsOf(x, [rangeOf(type, specOf({ kind }, granularity, symmetry), x)])[0],
    );
    expect(error).toBeLessThanOrEqual(known);
    return error;
  };

  it.each(choices)(
    '%s, %s: a tensor within 2.5 percent of the least, never worse than absmax',
    (type, symmetry) => {
      for (const kind of kinds) {
        const x = distributions[kind](2048, 7);
        const least = leastError(type, symmetry, x);
        expect(found(type, 'tensor', symmetry, x), kind).toBeLessThanOrEqual(1.025 * least + 1e-12);
      }
    },
  );

  it.each(choices)(
    '%s, %s: blocks within 3 percent of the least together, never worse than absmax',
    (type, symmetry) => {
      for (const kind of kinds) {
        const blocks = Array.from({ length: 12 }, (_, i) => distributions[kind](32, 20 + i));
        const sum = (error: (x: Float32Array) => number) => blocks.reduce((total, x) => total + error(x), 0);
        const least = sum((x) => leastError(type, symmetry, x));
        expect(
          sum((x) => found(type, 'block', symmetry, x)),
          kind,
        ).toBeLessThanOrEqual(1.03 * least + 1e-12);
      }
    },
  );

  it.each(
    (['Q5_1', 'Q4_1', 'Q2_K'] as const).flatMap((type) =>
      (['block', 'channel', 'tensor'] as const).map((granularity) => [type, granularity] as const),
    ),
  )(
    '%s, a %s: within 8 percent (a block: 12) of a fine grid of ends, never worse than min-max',
    (type, granularity) => {
      for (const kind of kinds) {
        let [error, least] = [0, 0];
        for (let i = 0; i < (granularity === 'block' ? 8 : 1); i++) {
          const x = distributions[kind](granularity === 'block' ? 32 : 1024, 20 + i);
          const { lowest, highest } = gridOf(type, null);
          const [minmax, mse] = (['minmax', 'mse'] as const).map(
            (rule) => errorsOf(x, [rangeOf(type, specOf({ kind: rule }, granularity, null), x)])[0],
          );
          expect(mse).toBeLessThanOrEqual(minmax);
          const [min, max] = [Math.min(...x), Math.max(...x)];
          const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
          const ranges = Array.from({ length: 50 * 50 }, (_, k): CodedRange => {
            const low = mean + (min - mean) * 0.94 ** (k % 50);
            const high = mean + (max - mean) * 0.94 ** Math.floor(k / 50);
            const scale = roundToFloat16(f((high - low) / highest));
            return { scale, offset: roundToFloat16(low), lowest, highest };
          });
          error += mse;
          least += errorsOf(x, ranges).reduce((a, b) => Math.min(a, b));
        }
        const most = granularity === 'block' ? 1.12 : 1.08;
        expect(error, kind).toBeLessThanOrEqual(most * least + 1e-12);
      }
    },
  );

  it('the optimum never lies below the bracket', () => {
    for (const kind of kinds) {
      for (const type of ['Q4_0', 'TQ2_0'] as const) {
        const x = distributions[kind](2048, 11);
        const { lowest, highest } = gridOf(type, 'restricted');
        const mean = x.reduce((sum, value) => sum + Math.abs(value), 0) / x.length;
        const bound = (mean * 2 * highest) / (2 * highest + 1);
        const at = (threshold: number) =>
          errorOf(x, { scale: threshold / highest, offset: 0, lowest, highest });
        for (const share of [0.25, 0.5, 0.9]) expect(at(share * bound)).toBeGreaterThan(at(bound));
      }
    }
  });
});

describe('entropy', () => {
  /** The definition, a step a bin. */
  function divergence(counts: Float64Array, from: number, to: number, levels: number): number {
    const even = 1e-4 / counts.length;
    const inside = counts.slice(from, to);
    const p = inside.slice();
    p[0] += counts.slice(0, from).reduce((a, b) => a + b, 0);
    p[p.length - 1] += counts.slice(to).reduce((a, b) => a + b, 0);
    const q = new Float64Array(p.length);
    for (let level = 0; level < levels; level++) {
      const first = Math.floor((level * p.length) / levels);
      const end = Math.floor(((level + 1) * p.length) / levels);
      const run = inside.slice(first, end);
      const filled = run.filter((count) => count > 0).length;
      for (let i = first; i < end; i++) if (inside[i] > 0) q[i] = run.reduce((a, b) => a + b, 0) / filled;
    }
    const shares = (mass: Float64Array) => {
      const total = mass.reduce((a, b) => a + b, 0);
      const smooth = mass.map((value) => value / total + even);
      const sum = smooth.reduce((a, b) => a + b, 0);
      return smooth.map((value) => value / sum);
    };
    const [a, b] = [shares(p), shares(q)];
    return a.reduce((sum, value, i) => sum + value * Math.log(value / b[i]), 0);
  }

  const histogramOf = (x: Float32Array, bins: number, low: number, high: number) => {
    const counts = new Float64Array(bins);
    for (const value of x) counts[Math.min(bins - 1, Math.floor(((value - low) / (high - low)) * bins))]++;
    return counts;
  };

  it.each(['heavy tails', 'one outlier', 'gaussian', 'mostly zero'])(
    '%s: running sums give the definition',
    (kind) => {
      const magnitudes = distributions[kind](4096, 3).map(Math.abs);
      const counts = histogramOf(magnitudes, 256, 0, Math.max(...magnitudes));
      const histogram = new Histogram(counts);
      for (const [from, to] of [
        [0, 256],
        [0, 255],
        [0, 100],
        [0, 16],
        [3, 40],
        [100, 256],
      ]) {
        for (const levels of [8, 16]) {
          const expected = divergence(counts, from, to, levels);
          const got = histogram.divergence(from, to, levels);
          if (counts.slice(from, to).every((count) => count === 0))
            expect(got).toBe(Number.POSITIVE_INFINITY);
          else expect(got).toBeCloseTo(expected, 9);
        }
      }
    },
  );

  it('takes the best of all thresholds, that of absmax among them', () => {
    const magnitudes = distributions['one outlier'](8192, 3).map(Math.abs);
    const counts = histogramOf(magnitudes, 128, 0, Math.max(...magnitudes));
    const losses = Array.from({ length: 121 }, (_, i) => divergence(counts, 0, 8 + i, 8));
    const best = symmetricThreshold(counts, 8);
    expect(losses[best - 8]).toBeCloseTo(Math.min(...losses), 9);
    expect(best).toBeLessThan(16); // the outlier is 100 times the spread of the rest
    const range = rangeOf('Q4_0', specOf({ kind: 'entropy' }), Float32Array.from(magnitudes));
    expect(range.scale * range.highest).toBeLessThan(Math.max(...magnitudes) / 4);
  });

  it('cuts the two ends of a grid with a minimum each for itself', () => {
    const x = distributions.gaussian(8192, 5);
    x[7] = 3; // far above all others
    const counts = histogramOf(x, 256, Math.min(...x), 3);
    const [from, to] = affineThresholds(counts, 16);
    expect(from).toBeLessThan(4);
    expect(to).toBeLessThan(32);
    const [low, high] = endsOf('affine', rangeOf('Q4_1', specOf({ kind: 'entropy' }, 'tensor', null), x));
    expect(low).toBeGreaterThan(-0.1);
    expect(high).toBeLessThan(0.5);
  });
});

it('groups of zeros, and of weights too small for a scale, are coded as 0', () => {
  for (const rule of ['absmax', 'mse', 'entropy'] as const) {
    for (const value of [0, 2 ** -40]) {
      const x = new Float32Array(256).fill(value);
      expect(rangeOf('Q8_0', specOf({ kind: rule }, 'channel'), x).scale).toBe(0);
    }
  }
  expect(rangeOf('Q8_0', specOf({ kind: 'percentile', percent: 99 }), new Float32Array(32)).scale).toBe(0);
});
