import { readFileSync } from 'node:fs';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { elementsOf, type TypeName } from '../../src/core/types.ts';
import { decoders } from '../../src/quantize/format/index.ts';
import { readGguf } from '../../src/read/gguf.ts';

/** A tensor of a finished output. */
export interface WrittenTensor {
  readonly type: TypeName;
  /** Slowest axis first. */
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
  /** What the bytes decode to. */
  readonly values: Float32Array;
}

/** Everything in a GGUF file, its tensors decoded by the scalar twins. */
export function readOutput(path: string): {
  metadata: Map<string, MetadataEntry['value']>;
  tensors: Map<string, WrittenTensor>;
} {
  const { metadata, tensors } = readGguf(path);
  const file = readFileSync(path);
  return {
    metadata: new Map(metadata.map(({ key, value }) => [key, value])),
    tensors: new Map(
      tensors.map(({ name, type, shape, offset, byteLength }) => {
        const bytes = new Uint8Array(file.subarray(offset, offset + byteLength));
        const values = new Float32Array(elementsOf(shape));
        decoders[type](bytes, values);
        return [name, { type, shape, bytes, values }];
      }),
    ),
  };
}

/** ||x - q||^2 / ||x||^2, added up in the plainest way. */
export function relativeError(x: ArrayLike<number>, q: ArrayLike<number>): number {
  let [error, norm] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    error += (x[i] - q[i]) ** 2;
    norm += x[i] ** 2;
  }
  return norm === 0 ? error : error / norm;
}
