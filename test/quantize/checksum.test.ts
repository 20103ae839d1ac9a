import { describe, expect, it } from 'vitest';
import { checksum, foldChecksum } from '../../src/quantize/checksum.ts';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { uniform } from '../support/random.ts';

const next = uniform(5);
const random = Uint8Array.from({ length: 4099 }, () => 256 * next());

describe('checksum', () => {
  it.each([simdKernels(compileKernels(), 1 << 16), scalarKernels(1 << 16)])(
    'of the $flavour kernels is the definition',
    ({ checksum: kernel, buffer, base }) => {
      new Uint8Array(buffer, base, random.length).set(random);
      for (const length of [0, 1, 3, 4, 5, 127, 128, 129, 131, 132, 255, 256, 383, 4096, 4099]) {
        expect([length, kernel(base, length)]).toEqual([length, checksum(random.subarray(0, length))]);
      }
    },
  );

  it('sees every changed byte, a lost page, a cut end and swapped stripes', () => {
    const bytes = random.slice(0, 1031);
    const sums = new Set([checksum(bytes)]);
    for (let i = 0; i < bytes.length; i++) {
      const changed = bytes.slice();
      changed[i] ^= 0x80;
      sums.add(checksum(changed));
    }
    expect(sums.size).toBe(1 + bytes.length);
    const variants = [
      bytes.slice().fill(0, 0, 512),
      bytes.subarray(0, 1030),
      Uint8Array.of(...bytes, 0),
      Uint8Array.of(...bytes.subarray(128, 256), ...bytes.subarray(0, 128), ...bytes.subarray(256)),
    ];
    for (const variant of variants) sums.add(checksum(variant));
    expect(sums.size).toBe(1 + bytes.length + variants.length);
  });

  it('folds in order', () => {
    const fold = (sums: number[]) => sums.reduce(foldChecksum, 0);
    expect(fold([1, 2, 3])).not.toBe(fold([2, 1, 3]));
    expect(fold([1, 2])).not.toBe(fold([1, 2, 0]));
  });
});
