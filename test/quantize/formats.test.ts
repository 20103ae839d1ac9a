import { describe, expect, it } from 'vitest';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { encoders } from '../../src/quantize/format/index.ts';
import { distributions } from '../support/distributions.ts';
import { bitsOf, decode, describeByteIdentity, difference, encode, scalar, simd } from './byte-identity.ts';

// More blocks are in the long tests, and IQ1 and IQ2_S, for which ggml sorts for seconds before it begins.
describeByteIdentity({
  ...{ blocks: 128, scalarBlocks: 32, codebookBlocks: 16 },
  included: (type) => !/^IQ(1|2_S)/.test(type),
});

describe('simd kernels equal their scalar twins', () => {
  for (const type of Object.keys(encoders) as TypeName[]) {
    const n = (/^IQ[123]/.test(type) ? 8 : 32) * dataTypes[type].blockSize; // codebooks are searched slowly
    it.each(Object.keys(distributions))(`${type}, %s`, (name) => {
      const x = distributions[name](n, 2);
      const expected = encode(scalar, type, x);
      expect(difference(encode(simd, type, x), expected, type)).toBeNull();
    });
  }

  for (const type of Object.keys(dataTypes) as TypeName[]) {
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
    const results = [simd, scalar].map((kernels) => {
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
