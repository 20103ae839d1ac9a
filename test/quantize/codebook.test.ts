import { describe, expect, it } from 'vitest';
import { bytesOf, type TypeName } from '../../src/core/types.ts';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { gaussian, uniform } from '../support/random.ts';

const types = ['IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'IQ3_XXS', 'IQ3_S'] as const satisfies readonly TypeName[];
const ARENA = 1 << 20;
const module = compileKernels();
const implementations = [simdKernels(module, ARENA), scalarKernels(ARENA)];

describe.skipIf(engineDirectory === null)('codebooks, against ggml', () => {
  const ggml = engineDirectory === null ? null! : loadGgml();

  it.each(types)('every member, sign and scale of %s decodes alike', (type) => {
    const n = 256 * 256;
    const next = uniform(7);
    const blocks = Uint8Array.from({ length: bytesOf(type, n) }, () => next() * 256);
    for (let at = 1; at < blocks.length; at += bytesOf(type, 256)) blocks[at] &= 0x7b; // d is finite
    const expected = ggml.dequantize(type, blocks, n);
    for (const { flavour, buffer, base, dequantize } of implementations) {
      new Uint8Array(buffer, base, blocks.length).set(blocks);
      dequantize(type, base, base + (ARENA >> 1), n);
      expect(new Float32Array(buffer, base + (ARENA >> 1), n), flavour).toEqual(expected);
    }
  });

  const encode = (type: TypeName, x: Float32Array, importance: Float32Array) =>
    implementations.map(({ buffer, base, quantizeWeighted }) => {
      const dst = base + 8 * x.length;
      new Float32Array(buffer, base, x.length).set(x);
      new Float32Array(buffer, base + 4 * x.length, x.length).set(importance);
      quantizeWeighted(type, base, dst, 1, x.length, base + 4 * x.length);
      return new Uint8Array(buffer, dst, bytesOf(type, x.length)).slice();
    });

  // Seven signs are stored, so one weight of an odd number of negative ones is taken wrong: the one of least w x^2.
  // Where that one's w x is above all others', the best scale is negative.
  it.each(['IQ2_XXS', 'IQ2_XS', 'IQ3_XXS'] as const)('%s turns signs where the scale is negative', (type) => {
    const g = gaussian(3);
    const x = Float32Array.from({ length: 512 }, (_, i) => (i % 8 === 3 ? -1e-3 : 1 + 0.1 * g()));
    const importance = Float32Array.from(x, (value) => (value < 0 ? 1e5 : 1));
    const expected = ggml.quantize(type, x, x.length, importance);
    const decoded = ggml.dequantize(type, expected, x.length);
    expect(decoded.filter((value) => value < 0).length).toBeGreaterThan(256);
    for (const blocks of encode(type, x, importance)) expect(blocks).toEqual(expected);
  });

  it('IQ3_S leaves no place for a sub-block of zeros', () => {
    const g = gaussian(4);
    const x = Float32Array.from({ length: 512 }, (_, i) => (Math.floor(i / 32) % 4 === 1 ? 0 : g()));
    const importance = new Float32Array(x.length).fill(1);
    const expected = ggml.quantize('IQ3_S', x, x.length, importance);
    for (const blocks of encode('IQ3_S', x, importance)) expect(blocks).toEqual(expected);
  });
});
