import { describe, expect, it } from 'vitest';
import { bytesOf } from '../../src/core/types.ts';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { gaussian, uniform } from '../support/random.ts';

const types = ['IQ1_S', 'IQ1_M'] as const;
/** ggml's first block waits for its lists of neighbours, 10 s of sorting. */
const ENGINE_TIMEOUT = 300_000;
const ARENA = 1 << 20;
const implementations = [simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)];

/** Weights and importances by super-block, from seeded sources of uniform and normal numbers. */
const cases: Record<string, (u: () => number, g: () => number) => { x: number[]; importance: number[] }> = {
  'few values, equal ones of different importance': (u) => ({
    x: run(() => Math.floor(u() * 5) - 2 + (u() < 0.1 ? -0 : 0)),
    importance: run(() => 0.01 + u()),
  }),
  'nearly all of the same sign': (u, g) => ({
    x: run(() => (u() < 0.05 ? -1 : 1) * (1 + 0.3 * g())),
    importance: run(() => Math.exp(2 * g())),
  }),
  'few weights that count': (u, g) => ({
    x: run(g),
    importance: run(() => (u() < 0.1 ? u() : 0)),
  }),
  'on the values of the levels': (u) => {
    const scale = 0.5 + u();
    const values = u() < 0.5 ? [-0.875, 0.125, 1.125] : [-1.125, -0.125, 0.875];
    return { x: run(() => scale * values[Math.floor(u() * 3)]), importance: run(() => 1) };
  },
  'products at the edges of float32': (u, g) => {
    const [a, b] = [2 ** Math.floor(u() * 72 - 36), 2 ** Math.floor(u() * 88 - 44)];
    return { x: run(() => a * g()), importance: run(() => b * u()) };
  },
  'most weights far below one': (u, g) => ({
    x: run(() => (u() < 0.02 ? 1 : 1e-5 * g())),
    importance: run(() => 10 ** (6 * u())),
  }),
};
const run = (next: () => number) => Array.from({ length: 256 }, next);

describe.skipIf(engineDirectory === null)('IQ1_S and IQ1_M, against ggml', () => {
  const ggml = engineDirectory === null ? null! : loadGgml();

  describe.each(types)('%s', (type) => {
    it('decodes every member, shift and scale alike', () => {
      const n = 256 * 256;
      const next = uniform(7);
      const blocks = Uint8Array.from({ length: bytesOf(type, n) }, () => next() * 256);
      // d, whose upper byte or upper four bits these are, is finite.
      const [at, mask] = type === 'IQ1_S' ? [1, 0x7b] : [55, 0xbf];
      for (let i = at; i < blocks.length; i += bytesOf(type, 256)) blocks[i] &= mask;
      const expected = ggml.dequantize(type, blocks, n);
      for (const { flavour, buffer, base, dequantize } of implementations) {
        new Uint8Array(buffer, base, blocks.length).set(blocks);
        dequantize(type, base, base + (ARENA >> 1), n);
        expect(new Float32Array(buffer, base + (ARENA >> 1), n), flavour).toEqual(expected);
      }
    });

    it.each(Object.keys(cases))(
      'codes alike: %s',
      (name) => {
        const [u, g] = [uniform(5), gaussian(6)];
        const superBlocks = Array.from({ length: 48 }, () => cases[name](u, g));
        const x = Float32Array.from(superBlocks.flatMap((block) => block.x));
        const importance = Float32Array.from(superBlocks.flatMap((block) => block.importance));
        const expected = ggml.quantize(type, x, x.length, importance);
        for (const { flavour, buffer, base, quantizeWeighted } of implementations) {
          const importanceAt = base + 4 * x.length;
          const dst = importanceAt + 4 * x.length;
          new Float32Array(buffer, base, x.length).set(x);
          new Float32Array(buffer, importanceAt, x.length).set(importance);
          quantizeWeighted(type, base, dst, 1, x.length, importanceAt);
          const got = new Uint8Array(buffer, dst, expected.length);
          expect(
            expected.findIndex((byte, i) => byte !== got[i]),
            `${flavour}: first differing byte`,
          ).toBe(-1);
        }
      },
      ENGINE_TIMEOUT,
    );
  });
});
