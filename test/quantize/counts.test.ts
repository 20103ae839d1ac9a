import { describe, expect, it } from 'vitest';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { decoders, encoders } from '../../src/quantize/format/index.ts';
import { compileKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { distributions } from '../support/distributions.ts';

/** Kernels take several blocks, or several numbers, at a time: any count must work, and nothing beyond be touched. */
const kernels = simdKernels(compileKernels(), 1 << 20);
const src = kernels.base;
const dst = kernels.base + (1 << 19);
const GUARD = 64;

const counts = [1, 2, 3, 4, 5, 7, 9, 15, 17];

describe('counts that are no multiple of what a kernel takes at a time', () => {
  it.each(Object.keys(encoders) as TypeName[])('encoding %s', (type) => {
    const { blockSize } = dataTypes[type];
    const x = distributions['heavy tails'](blockSize * Math.max(...counts), 8);
    for (const count of counts) {
      const weights = x.subarray(0, count * blockSize);
      const expected = new Uint8Array(bytesOf(type, weights.length));
      encoders[type]!(weights, expected);
      new Float32Array(kernels.buffer, src, x.length).set(x);
      const written = new Uint8Array(kernels.buffer, dst, expected.length + GUARD).fill(0xa5);
      kernels.quantize(type, src, dst, weights.length);
      expect(written.subarray(0, expected.length), `${count} blocks`).toEqual(expected);
      expect(written.subarray(expected.length), `behind ${count} blocks`).toEqual(
        new Uint8Array(GUARD).fill(0xa5),
      );
    }
  });

  it.each(Object.keys(decoders) as TypeName[])('decoding %s', (type) => {
    const { blockSize } = dataTypes[type];
    for (const count of counts) {
      const n = count * blockSize;
      // Bytes below 64 keep every scale and float finite, so that values can be compared as bytes.
      const bytes = Uint8Array.from({ length: bytesOf(type, n) }, (_, i) => ((i * 2654435761) >>> 24) & 63);
      const expected = new Float32Array(n);
      decoders[type](bytes, expected);
      new Uint8Array(kernels.buffer, src, bytes.length).set(bytes);
      const written = new Uint8Array(kernels.buffer, dst, 4 * n + GUARD).fill(0xa5);
      kernels.dequantize(type, src, dst, n);
      expect(new Float32Array(kernels.buffer, dst, n), `${count} blocks`).toEqual(expected);
      expect(written.subarray(4 * n), `behind ${count} blocks`).toEqual(new Uint8Array(GUARD).fill(0xa5));
    }
  });
});
