import { describe, expect, it } from 'vitest';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { encoders } from '../../src/quantize/format/index.ts';
import { compileKernels, type Kernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { distributions } from '../support/distributions.ts';

const ARENA = 16 << 20;
const module = compileKernels();
export const [simd, scalar]: readonly Kernels[] = [simdKernels(module, ARENA), scalarKernels(ARENA)];

export const encode = (kernels: Kernels, type: TypeName, x: Float32Array): Uint8Array => {
  const dst = kernels.base + (ARENA >> 1);
  const bytes = bytesOf(type, x.length);
  new Float32Array(kernels.buffer, kernels.base, x.length).set(x);
  new Uint8Array(kernels.buffer, dst, bytes).fill(0xa5); // a kernel must write every byte
  kernels.quantize(type, kernels.base, dst, x.length);
  return new Uint8Array(kernels.buffer, dst, bytes).slice();
};

export const decode = (kernels: Kernels, type: TypeName, blocks: Uint8Array, n: number): Float32Array => {
  const dst = kernels.base + (ARENA >> 1);
  new Uint8Array(kernels.buffer, kernels.base, blocks.length).set(blocks);
  kernels.dequantize(type, kernels.base, dst, n);
  return new Float32Array(kernels.buffer, dst, n).slice();
};

/** The first difference as a sentence, so that a failure names the block; null when equal. */
export function difference(got: Uint8Array, expected: Uint8Array, type: TypeName): string | null {
  for (let i = 0; i < expected.length; i++) {
    if (got[i] !== expected[i]) {
      const { typeSize } = dataTypes[type];
      return `block ${Math.floor(i / typeSize)} byte ${i % typeSize}: ${got[i]} instead of ${expected[i]}`;
    }
  }
  return got.length === expected.length ? null : `${got.length} bytes instead of ${expected.length}`;
}

export const bitsOf = (x: Float32Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

/**
 * Kernels and twins of the types that `included` takes against the real ggml, over every distribution: all blocks for the
 * kernels, the first `scalarBlocks` for their twins, which take most of the time.
 */
export function describeByteIdentity({
  blocks: most,
  scalarBlocks,
  codebookBlocks = most,
  included,
}: {
  /** Of each type for each distribution. */
  blocks: number;
  scalarBlocks: number;
  /** Blocks of the types for which ggml searches a codebook, which takes longest. */
  codebookBlocks?: number;
  included: (type: TypeName) => boolean;
}): void {
  const blocksOf = (type: TypeName) => (/^IQ[123]/.test(type) ? codebookBlocks : most);
  describe.skipIf(engineDirectory === null)('byte identity with ggml', () => {
    const ggml = engineDirectory === null ? null! : loadGgml();

    for (const type of Object.keys(encoders) as TypeName[]) {
      if (!included(type)) continue;
      const { blockSize, kind } = dataTypes[type];

      describe(type, () => {
        for (const [name, values] of Object.entries(distributions)) {
          it(`${name}`, () => {
            const x = values(blocksOf(type) * blockSize, 1);
            const expected = ggml.quantize(type, x);
            const decoded = kind === 'quantized' ? ggml.dequantize(type, expected, x.length) : null;
            for (const [kernels, blocks] of [
              [simd, blocksOf(type)],
              [scalar, Math.min(scalarBlocks, blocksOf(type))],
            ] as const) {
              const n = blocks * blockSize;
              const wanted = expected.subarray(0, bytesOf(type, n));
              const got = encode(kernels, type, x.subarray(0, n));
              expect(difference(got, wanted, type), kernels.flavour).toBeNull();
              if (decoded === null) continue;
              const back = bitsOf(decode(kernels, type, wanted, n));
              const wantedBack = bitsOf(decoded.subarray(0, n));
              expect(difference(back, wantedBack, 'F32'), `${kernels.flavour} decoding`).toBeNull();
            }
          });
        }
      });
    }
  });
}
