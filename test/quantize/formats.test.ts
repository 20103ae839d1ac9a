import { describe, expect, it } from 'vitest';
import { type BlockEncoder, typeOfEncoder } from '../../src/core/plan.ts';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { decoders, encoders } from '../../src/quantize/format/index.ts';
import { compileKernels, type Kernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { distributions } from '../support/distributions.ts';

/** Blocks of each type, for each distribution; the codebook types take longest. */
const blocksOf = (type: TypeName) => (/^IQ[123]/.test(type) ? 64 : 1024);
/** ggml's first IQ1 block waits for its lists of neighbours, 10 s of sorting. */
const ENGINE_TIMEOUT = 300_000;
const ARENA = 16 << 20;
const module = compileKernels();
const implementations: Kernels[] = [simdKernels(module, ARENA), scalarKernels(ARENA)];

const encode = (kernels: Kernels, encoder: BlockEncoder, x: Float32Array): Uint8Array => {
  const dst = kernels.base + (ARENA >> 1);
  const bytes = bytesOf(typeOfEncoder(encoder), x.length);
  new Float32Array(kernels.buffer, kernels.base, x.length).set(x);
  new Uint8Array(kernels.buffer, dst, bytes).fill(0xa5); // a kernel must write every byte
  kernels.quantize(encoder, kernels.base, dst, x.length);
  return new Uint8Array(kernels.buffer, dst, bytes).slice();
};

const decode = (kernels: Kernels, type: TypeName, blocks: Uint8Array, n: number): Float32Array => {
  const dst = kernels.base + (ARENA >> 1);
  new Uint8Array(kernels.buffer, kernels.base, blocks.length).set(blocks);
  kernels.dequantize(type, kernels.base, dst, n);
  return new Float32Array(kernels.buffer, dst, n).slice();
};

/** The first difference as a sentence, so that a failure names the block; null when equal. */
function difference(got: Uint8Array, expected: Uint8Array, type: TypeName): string | null {
  for (let i = 0; i < expected.length; i++) {
    if (got[i] !== expected[i]) {
      const { typeSize } = dataTypes[type];
      return `block ${Math.floor(i / typeSize)} byte ${i % typeSize}: ${got[i]} instead of ${expected[i]}`;
    }
  }
  return got.length === expected.length ? null : `${got.length} bytes instead of ${expected.length}`;
}

const bitsOf = (x: Float32Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

describe.skipIf(engineDirectory === null)('byte identity with ggml', () => {
  const ggml = engineDirectory === null ? null! : loadGgml();

  for (const encoder of Object.keys(encoders) as BlockEncoder[]) {
    if (encoder.includes(':')) continue; // not ggml's own coding
    const type = typeOfEncoder(encoder);
    const n = blocksOf(type) * dataTypes[type].blockSize;

    describe(encoder, () => {
      for (const [name, values] of Object.entries(distributions)) {
        it(
          `${name}`,
          () => {
            const x = values(n, 1);
            const expected = ggml.quantize(type, x);
            for (const kernels of implementations) {
              expect(difference(encode(kernels, encoder, x), expected, type), kernels.flavour).toBeNull();
            }
            if (dataTypes[type].kind !== 'quantized') return;
            const decoded = bitsOf(ggml.dequantize(type, expected, n));
            for (const kernels of implementations) {
              const got = bitsOf(decode(kernels, type, expected, n));
              expect(difference(got, decoded, 'F32'), `${kernels.flavour} decoding`).toBeNull();
            }
          },
          ENGINE_TIMEOUT,
        );
      }
    });
  }
});

describe('simd kernels equal their scalar twins', () => {
  const [simd, scalar] = implementations;

  for (const encoder of Object.keys(encoders) as BlockEncoder[]) {
    const type = typeOfEncoder(encoder);
    const n = 64 * dataTypes[type].blockSize;
    it.each(Object.keys(distributions))(`${encoder}, %s`, (name) => {
      const x = distributions[name](n, 2);
      const expected = encode(scalar, encoder, x);
      expect(difference(encode(simd, encoder, x), expected, type)).toBeNull();
    });
  }

  for (const type of Object.keys(decoders) as TypeName[]) {
    it(`decodes arbitrary ${type} bytes`, () => {
      const n = 256 * 64;
      const bytes = Uint8Array.from({ length: bytesOf(type, n) }, (_, i) => (i * 2654435761) >>> 24);
      const expected = bitsOf(decode(scalar, type, bytes, n));
      const got = bitsOf(decode(simd, type, bytes, n));
      // A scale that is NaN keeps no agreed payload: compare such values as NaN only.
      const [a, b] = [new Float32Array(got.buffer), new Float32Array(expected.buffer)];
      for (let i = 0; i < n; i++) {
        if (!(Number.isNaN(a[i]) && Number.isNaN(b[i])) && !Object.is(a[i], b[i])) {
          expect.fail(`value ${i}: ${a[i]} instead of ${b[i]}`);
        }
      }
    });
  }

  it.each([4, 32, 1023, 1024, 32_768])('measure, %i weights', (n) => {
    const x = distributions['heavy tails'](n, 3);
    const q = distributions['heavy tails'](n, 3).map((value, i) => value + (i % 7) * 1e-3);
    const results = implementations.map((kernels) => {
      const [xAt, qAt, out] = [kernels.base, kernels.base + (1 << 20), kernels.base + (2 << 20)];
      new Float32Array(kernels.buffer, xAt, n).set(x);
      new Float32Array(kernels.buffer, qAt, n).set(q);
      kernels.measure(xAt, qAt, n, out);
      return [...new Float64Array(kernels.buffer, out, 5)];
    });
    expect(results[0]).toEqual(results[1]);
    const squares = x.reduce((sum, value) => sum + value * value, 0);
    expect(results[0][0] / squares).toBeCloseTo(1, 12);
  });
});
