import { describe, expect, it } from 'vitest';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { zeroPointOf } from '../../src/quantize/zero-point.ts';
import { distributions } from '../support/distributions.ts';

const ARENA = 1 << 20;
const implementations = [simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)];
const f = Math.fround;

describe('scale and zero point', () => {
  it('follow the definition: -7.59 .. 10.8', () => {
    const { scale, zeroPoint } = zeroPointOf(f(-7.59), f(10.8));
    expect(scale).toBeCloseTo((10.8 + 7.59) / 255, 8);
    expect(scale).toBe(f(scale));
    expect(zeroPoint).toBe(-23); // -128 + 7.59 * 255 / 18.39 = -22.76
  });

  it('widen a range to contain 0', () => {
    expect(zeroPointOf(1, 2.55)).toEqual({ scale: f(f(2.55) / 255), zeroPoint: -128 });
    expect(zeroPointOf(-2.55, -1)).toEqual({ scale: f(f(2.55) / 255), zeroPoint: 127 });
  });

  it('use scale 1 where all weights are zero or too small for a scale', () => {
    expect(zeroPointOf(0, 0)).toEqual({ scale: 1, zeroPoint: -128 });
    expect(zeroPointOf(-(2 ** -149), 2 ** -149).scale).toBe(1);
  });

  it('stay finite for the widest range', () => {
    const most = f(3.4028234663852886e38);
    const { scale, zeroPoint } = zeroPointOf(-most, most);
    expect(scale).toBe(f(2 * (most / 255)));
    expect(zeroPoint).toBe(0); // -0.5 to even
  });
});

describe.each(implementations)('int8 with zero point, $flavour', (kernels) => {
  const { base } = kernels;
  const dst = base + (ARENA >> 1);

  const encode = (x: ArrayLike<number>, scale: number, zeroPoint: number): number[] => {
    new Float32Array(kernels.buffer, base, x.length).set(x);
    kernels.quantizeZeroPoint(base, dst, x.length, { scale, zeroPoint });
    return [...new Int8Array(kernels.buffer, dst, x.length)];
  };
  const decode = (q: ArrayLike<number>, scale: number, zeroPoint: number): number[] => {
    new Int8Array(kernels.buffer, base, q.length).set(q);
    kernels.dequantizeZeroPoint(base, dst, q.length, { scale, zeroPoint });
    return [...new Float32Array(kernels.buffer, dst, q.length)];
  };
  const range = (x: ArrayLike<number>): number[] => {
    new Float32Array(kernels.buffer, base, x.length).set(x);
    kernels.range(base, x.length, dst);
    return [...new Float32Array(kernels.buffer, dst, 2)];
  };

  it('codes and decodes the ends and the zero of -7.59 .. 10.8', () => {
    const { scale, zeroPoint } = zeroPointOf(f(-7.59), f(10.8));
    const codes = encode([-7.59, 0, 10.8, 5.47, 3.08], scale, zeroPoint);
    expect(codes).toEqual([-128, -23, 127, 53, 20]);
    const decoded = decode(codes, scale, zeroPoint);
    expect(decoded[1]).toBe(0);
    expect(decoded[3]).toBe(f(76 * scale));
  });

  it('rounds halves to even before it adds the zero point', () => {
    expect(encode([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], 1, 1)).toEqual([1, 3, 3, 1, -1, -1]);
  });

  it('limits what lies outside, far outside included', () => {
    expect(encode([200, -200, 3e38, -3e38], 1, 5)).toEqual([127, -128, 127, -128]);
    expect(encode([1, -1], 2 ** -149, 0)).toEqual([127, -128]); // x / scale is infinite
  });

  it.each([1, 3, 15, 16, 17, 40])('every weight comes back within a step, %i weights', (n) => {
    for (const name of ['gaussian', 'cauchy', 'positive only', 'negative only', 'huge', 'mostly zero']) {
      const x = distributions[name](n, 4);
      const [min, max] = range(x);
      expect([min, max]).toEqual([Math.min(...x) + 0, Math.max(...x) + 0]);
      const parameters = zeroPointOf(min, max);
      const decoded = decode(
        encode(x, parameters.scale, parameters.zeroPoint),
        parameters.scale,
        parameters.zeroPoint,
      );
      // Half a step for the code, and at the ends half for the rounding of the zero point.
      const worst = Math.max(...decoded.map((value, i) => Math.abs(value - x[i])));
      expect(worst).toBeLessThanOrEqual(parameters.scale);
    }
  });

  it.each([1, 7, 8, 9, 100])('finds the extremes wherever they are, %i weights', (n) => {
    for (let at = 0; at < n; at++) {
      const x = new Float32Array(n).fill(1);
      x[at] = -5;
      x[n - 1 - at] = 9;
      expect(range(x)).toEqual([Math.min(...x), Math.max(...x)]);
    }
  });

  it('gives +0 for a zero of either sign', () => {
    expect(range([-0, -0, -0]).every((value) => Object.is(value, 0))).toBe(true);
    expect(range(new Float32Array(16).fill(-0)).every((value) => Object.is(value, 0))).toBe(true);
  });
});

describe('int8 with zero point', () => {
  it.each(Object.keys(distributions))('simd kernels equal their scalar twins, %s', (name) => {
    const x = distributions[name](1027, 5);
    const parameters = zeroPointOf(Math.min(...x), Math.max(...x));
    const [simd, scalar] = implementations.map((kernels) => {
      const [q, y] = [kernels.base + 8192, kernels.base + 16_384];
      new Float32Array(kernels.buffer, kernels.base, x.length).set(x);
      kernels.quantizeZeroPoint(kernels.base, q, x.length, parameters);
      kernels.dequantizeZeroPoint(q, y, x.length, parameters);
      return [
        ...new Int8Array(kernels.buffer, q, x.length),
        ...new Float32Array(kernels.buffer, y, x.length),
      ];
    });
    expect(simd).toEqual(scalar);
  });
});
