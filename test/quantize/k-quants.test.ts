import { describe, expect, it } from 'vitest';
import { bytesOf, type TypeName } from '../../src/core/types.ts';
import { nearestCode, nearestInt } from '../../src/quantize/format/nearest.ts';
import { packScales6, SCALES6_BYTES, unpackScales6 } from '../../src/quantize/format/scales6.ts';
import { compileKernels, type Kernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { gaussian, uniform } from '../support/random.ts';

const N = 256 * 256;
const ARENA = 8 << 20;
const ggml = engineDirectory === null ? null! : loadGgml();
const implementations: Kernels[] = [simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)];

/** Finite weights that no model has, but on which ggml still gives definite bytes. */
const extremes: Record<string, () => Float32Array> = {
  'ranges that overflow': () => fill(uniform(1), (u) => (u() - 0.5) * 6.8e38),
  'squares that overflow': () => fill(gaussian(2), (g) => g() * 1e19),
  'the smallest subnormals': () => fill(gaussian(3), (g) => g() * 2 ** -148),
  'every exponent': () => fill(uniform(4), (u) => (u() - 0.5) * 10 ** (76 * u() - 38)),
  'every exponent, negative': () => fill(uniform(5), (u) => -u() * 10 ** (38 * u() - 19)),
  'float32 neighbours': () => fill(uniform(6), (u) => -1 - (u() < 0.1 ? 2 ** -23 : 0)),
  // Sub-blocks whose scale comes out as 0, so that the codes of the search stay.
  'sub-blocks of unlike size': () => {
    const [g, u] = [gaussian(7), uniform(8)];
    let size = 1;
    return Float32Array.from({ length: N }, (_, i) => {
      if (i % 16 === 0) size = 10 ** (12 * u() - 8);
      return size * g();
    });
  },
  // x - offset far beyond a step, up to where the rounding constant fails.
  'sub-blocks far from zero': () => {
    const [g, u] = [gaussian(9), uniform(10)];
    let [size, offset] = [1, 0];
    return Float32Array.from({ length: N }, (_, i) => {
      if (i % 32 === 0) [size, offset] = [10 ** (12 * u() - 8), (u() - 0.5) * 10 ** (10 * u() - 4)];
      return offset + size * g();
    });
  },
};

function fill(source: () => number, value: (source: () => number) => number): Float32Array {
  return Float32Array.from({ length: N }, () => value(source));
}

function encode(kernels: Kernels, type: TypeName, x: Float32Array): Uint8Array {
  const dst = kernels.base + (ARENA >> 1);
  new Float32Array(kernels.buffer, kernels.base, N).set(x);
  kernels.quantize(type as 'Q4_K', kernels.base, dst, N);
  return new Uint8Array(kernels.buffer, dst, bytesOf(type, N)).slice();
}

describe.skipIf(engineDirectory === null)('search for scale and minimum, extremes against ggml', () => {
  for (const type of ['Q2_K', 'Q4_K', 'Q5_K'] as const) {
    it.each(Object.keys(extremes))(`${type}, %s`, (name) => {
      const x = extremes[name]();
      const expected = Buffer.from(ggml.quantize(type, x));
      for (const kernels of implementations) {
        expect(expected.equals(encode(kernels, type, x)), kernels.flavour).toBe(true);
      }
    });
  }
});

/**
 * Enough super-blocks for what is rare: fits whose scale is negative, so that its code wraps as a byte; codes of scales
 * that still move in the fifth pass.
 */
describe.skipIf(engineDirectory === null)('scales of a super-block under importance, against ggml', () => {
  const [ROWS, COLUMNS] = [512, 1024];
  const [g, u] = [gaussian(4), uniform(3)];
  let [size, offset] = [1, 0];
  const x = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => {
    if (i % 16 === 0) [size, offset] = [10 ** (6 * u() - 6), 10 ** (3 * u()) * (u() < 0.5 ? -1 : 1)];
    return offset + size * g();
  });
  const columns = (value: () => number) => Float32Array.from({ length: COLUMNS }, value);
  const importances = {
    'log-normal, sigma 3': columns(() => Math.exp(3 * g())),
    'log-normal, sigma 8': columns(() => Math.exp(8 * g())),
    'some columns above all': columns(() => (u() < 0.06 ? 1e12 : 1)),
  };

  for (const type of ['Q2_K', 'Q4_K', 'Q5_K'] as const) {
    it.each(Object.entries(importances))(`${type}, %s`, (_, importance) => {
      const expected = Buffer.from(ggml.quantize(type, x, COLUMNS, importance));
      for (const { flavour, buffer, base, quantizeWeighted } of implementations) {
        const importanceAt = base + 4 * x.length;
        const dst = importanceAt + 4 * COLUMNS;
        new Float32Array(buffer, base, x.length).set(x);
        new Float32Array(buffer, importanceAt, COLUMNS).set(importance);
        const rows = flavour === 'simd' ? ROWS : ROWS / 4; // the twin is slow
        quantizeWeighted(type, base, dst, rows, COLUMNS, importanceAt);
        const got = new Uint8Array(buffer, dst, bytesOf(type, rows * COLUMNS));
        expect(expected.subarray(0, got.length).equals(got), flavour).toBe(true);
      }
    });
  }
});

describe('nearestInt', () => {
  it.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, 0],
    [-1.5, -2],
    [2.4999998, 2],
    [4194303, 4194303],
    [-4194303, -4194303],
    // Beyond its reach: the mantissa of v + 1.5 * 2^23, whatever it is.
    [4194304, -4194304],
    [1e30, 651978],
    [Number.POSITIVE_INFINITY, -4194304],
    [Number.NaN, 0],
  ])('%f', (v, expected) => {
    expect(nearestInt(v)).toBe(expected);
  });

  it('is clamped to codes', () => {
    expect([-3, 1.4, 20].map((v) => nearestCode(v, 15))).toEqual([0, 1, 15]);
  });
});

it('six-bit scales survive packing', () => {
  const scales = Uint8Array.from([63, 0, 21, 42, 1, 62, 31, 48]);
  const mins = Uint8Array.from([5, 63, 16, 15, 47, 0, 33, 60]);
  const packed = new Uint8Array(SCALES6_BYTES);
  packScales6(scales, mins, packed);
  const [unpackedScales, unpackedMins] = [new Uint8Array(8), new Uint8Array(8)];
  unpackScales6(packed, unpackedScales, unpackedMins);
  expect(unpackedScales).toEqual(scales);
  expect(unpackedMins).toEqual(mins);
});
