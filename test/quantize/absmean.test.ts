import { describe, expect, it } from 'vitest';
import { fromFloat16, toFloat16 } from '../../src/core/float.ts';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { distributions } from '../support/distributions.ts';

const ARENA = 1 << 20;

describe.each([simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)])(
  'absmean, $flavour',
  (kernels) => {
    const { base } = kernels;

    describe.each(['TQ1_0', 'TQ2_0'] as const)('%s', (type) => {
      /** The weights as they come back, of whole blocks of 256. */
      const roundTrip = (x: Float32Array): Float32Array => {
        const [blocks, decoded] = [base + 4 * x.length, base + 8 * x.length];
        new Float32Array(kernels.buffer, base, x.length).set(x);
        kernels.quantize(`${type}:absmean`, base, blocks, x.length);
        kernels.dequantize(type, blocks, decoded, x.length);
        return new Float32Array(kernels.buffer, decoded, x.length).slice();
      };

      it.each(['gaussian', 'laplace', 'cauchy', 'ternary', 'mostly zero', 'float16 subnormals', 'ramp'])(
        'every trit is round(clip(x / d, -1, 1)), %s',
        (name) => {
          const x = distributions[name](16 * 256, 6);
          const decoded = roundTrip(x);
          for (let start = 0; start < x.length; start += 256) {
            const mean =
              x.subarray(start, start + 256).reduce((sum, value) => sum + Math.abs(value), 0) / 256;
            const d = Math.max(...decoded.subarray(start, start + 256).map(Math.abs));
            // float16 keeps 11 bits, and below 2^-14 steps of 2^-24; the float32 sum adds less than 1e-5.
            if (d > 0)
              expect(Math.abs(d - mean)).toBeLessThan(Math.max(mean * 2 ** -11, 2 ** -25) + mean * 1e-5);
            const expected = Array.from(x.subarray(start, start + 256), (value) => {
              const ratio = Math.max(-1, Math.min(1, value / d));
              return d > 0 && Math.abs(ratio) > 0.5 ? Math.sign(ratio) * d : 0;
            });
            expect(Array.from(decoded.subarray(start, start + 256), (value) => value + 0)).toEqual(expected);
          }
        },
      );

      it('uses the scale as stored, and a weight of exactly half of it is 0', () => {
        const x = new Float32Array(256).fill(1);
        x[0] = 0.1; // so that the mean is no float16
        const mean = (255 + Math.fround(0.1)) / 256;
        const d = fromFloat16(toFloat16(mean));
        expect(d).not.toBe(Math.fround(mean));
        const half = Float32Array.from(x, (value, i) => (i === 1 ? d / 2 : value));
        half[2] = 2 - d / 2; // keeps the sum
        expect([...roundTrip(half).subarray(0, 3)]).toEqual([0, 0, d]);
        half[1] = d / 2 + 2 ** -24;
        expect(roundTrip(half)[1]).toBe(d);
      });

      it('gives zeros where the scale rounds to 0', () => {
        const x = new Float32Array(256).fill(2 ** -26);
        const decoded = roundTrip(x);
        expect(decoded.every((value) => value === 0)).toBe(true);
      });
    });
  },
);
