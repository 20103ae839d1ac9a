import { describe, expect, it } from 'vitest';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { importances } from '../support/importances.ts';
import { gaussian, uniform } from '../support/random.ts';

/** Types whose kernels reproduce ggml wherever the weights are finite, overflow inside the search included. */
const types: TypeName[] = ['Q3_K', 'Q6_K', 'IQ4_NL', 'IQ4_XS', 'MXFP4', 'NVFP4'];
const N = 256 * 64;

/** Weights at the edges of float32 arithmetic, 16 at a time; the sources are seeded. */
const extremes: Record<string, (u: () => number, g: () => number) => number[]> = {
  'arbitrary bits': (u) =>
    run(() => {
      const value = new Float32Array(new Uint32Array([u() * 2 ** 32]).buffer)[0];
      return Number.isFinite(value) ? value : 1;
    }),
  'any exponent': (u, g) => scaled(2 ** (u() * 250 - 130), g),
  'x^4 beyond float32': (u, g) => scaled(2 ** (u() * 20 + 27), g),
  'x^2 beyond float32': (u, g) => scaled(2 ** (u() * 55 + 64), g),
  'scale around the largest float16': (u, g) => scaled(65504 * 2 ** (u() * 12 - 4), g),
  'scale among float16 subnormals': (u, g) => scaled(2 ** (u() * 14 - 28), g),
  'around the limit of zero': (u, g) => run(() => (u() < 0.5 ? g() : Math.sign(g())) * 1e-15),
  'just below a power of two': (u) => {
    const power = 2 ** (Math.floor(u() * 250) - 122);
    return run(() => power * (1 - Math.floor(u() * 64) * 2 ** -24) * (u() < 0.3 ? -1 : u()));
  },
  'around midpoints of 4-bit floats': (u) => {
    const step = (1 + Math.floor(u() * 8) / 8) * 2 ** Math.floor(u() * 20 - 14);
    const midpoint = () => [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5][Math.floor(u() * 7)];
    const values = run(
      () => step * midpoint() * (1 + (Math.floor(u() * 5) - 2) * 2 ** -24) * Math.sign(u() - 0.5),
    );
    return [6 * step, ...values.slice(1)];
  },
  'one weight far above the others': (u, g) => [
    ...run(g)
      .map((x) => x * 1e-7)
      .slice(1),
    u() < 0.5 ? -1 : 1,
  ],
  'far from zero': (u, g) => {
    const [size, offset] = [10 ** (12 * u() - 8), (u() - 0.5) * 10 ** (10 * u() - 4)];
    return run(() => offset + size * g());
  },
};
const arrayOf = (name: string, n: number): Float32Array => {
  const [u, g] = [uniform(5), gaussian(6)];
  return Float32Array.from(Array.from({ length: n / 16 }, () => extremes[name](u, g)).flat());
};
const run = (next: () => number) => Array.from({ length: 16 }, next);
const scaled = (by: number, g: () => number) => run(() => Math.max(-3.4e38, Math.min(3.4e38, g() * by)));

/** Types of which the same holds under importance. */
const weightedTypes: TypeName[] = [
  ...(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'] as const),
  ...(['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'IQ4_NL', 'IQ4_XS'] as const),
];

describe.skipIf(engineDirectory === null)('byte identity with ggml at the edges of float32', () => {
  const ggml = engineDirectory === null ? null! : loadGgml();
  const implementations = [simdKernels(compileKernels(), 1 << 20), scalarKernels(1 << 20)];

  for (const type of types) {
    it.each(Object.keys(extremes))(`${type}, %s`, (name) => {
      const x = arrayOf(name, N);
      const expected = ggml.quantize(type, x);
      for (const { flavour, buffer, base, quantize } of implementations) {
        new Float32Array(buffer, base, N).set(x);
        const dst = base + 4 * N;
        quantize(type, base, dst, N);
        const got = Buffer.from(buffer as ArrayBuffer, dst, expected.length);
        const { typeSize } = dataTypes[type];
        const differing = expected.findIndex((byte, i) => byte !== got[i]);
        expect(differing, `${flavour}: first differing byte, in blocks of ${typeSize}`).toBe(-1);
      }
    });
  }

  const [ROWS, COLUMNS] = [8, 512];
  for (const type of weightedTypes) {
    it.each(Object.keys(extremes))(`${type} under importance, %s`, (name) => {
      const x = arrayOf(name, ROWS * COLUMNS);
      for (const [kind, importanceOf] of Object.entries(importances)) {
        const importance = importanceOf(COLUMNS, 7);
        const expected = ggml.quantize(type, x, COLUMNS, importance);
        for (const { flavour, buffer, base, quantizeWeighted } of implementations) {
          const importanceAt = base + 4 * x.length;
          const dst = importanceAt + 4 * COLUMNS;
          new Float32Array(buffer, base, x.length).set(x);
          new Float32Array(buffer, importanceAt, COLUMNS).set(importance);
          quantizeWeighted(type, base, dst, ROWS, COLUMNS, importanceAt);
          const got = Buffer.from(buffer as ArrayBuffer, dst, expected.length);
          const differing = expected.findIndex((byte, i) => byte !== got[i]);
          expect(differing, `${flavour}, ${kind}: first differing byte`).toBe(-1);
        }
      }
    });
  }
});

describe('IQ4_NL, whose kernel takes four blocks at once', () => {
  const [simd, scalar] = [simdKernels(compileKernels(), 1 << 20), scalarKernels(1 << 20)];

  it.each([1, 2, 3, 4, 5, 7])('codes %i blocks and writes nothing behind them', (blocks) => {
    const g = gaussian(blocks);
    const x = Float32Array.from({ length: 32 * blocks }, g);
    const bytes = bytesOf('IQ4_NL', x.length);
    const [a, b] = [simd, scalar].map(({ buffer, base, quantize }) => {
      new Float32Array(buffer, base, x.length).set(x);
      const out = new Uint8Array(buffer, base + 4096, bytes + 64).fill(0xa5);
      quantize('IQ4_NL', base, base + 4096, x.length);
      return [...out];
    });
    expect(a).toEqual(b);
    expect(a.slice(bytes)).toEqual(new Array(64).fill(0xa5));
  });
});
