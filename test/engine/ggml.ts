import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';
import { loadLibrary } from './library.js';

/**
 * The real ggml, llama.cpp v0.5.0, as shipped for Linux x64 on npm: the judge of every byte. `engineDirectory` is
 * null where it is not installed; tests that need it are then skipped by name.
 */
export { engineDirectory } from './library.js';

export interface Ggml {
  /** `ggml_quantize_chunk`: rows of nPerRow float32 to blocks, importance per column or none. */
  quantize(type: TypeName, x: Float32Array, nPerRow?: number, importance?: Float32Array): Uint8Array;
  /** The type's `to_float`. */
  dequantize(type: TypeName, blocks: Uint8Array, n: number): Float32Array;
}

const idOf = (type: TypeName): number => {
  const { ggmlId } = dataTypes[type];
  if (ggmlId === null) throw new Error(`ggml has no ${type}`);
  return ggmlId;
};

/** Loads libggml-base. */
export function loadGgml(): Ggml {
  const library = loadLibrary();
  return {
    quantize(type, x, nPerRow = x.length, importance) {
      const blocks = new Uint8Array(bytesOf(type, x.length));
      library.quantizeChunk(idOf(type), x, blocks, x.length / nPerRow, nPerRow, importance ?? null);
      return blocks;
    },
    dequantize(type, blocks, n) {
      const x = new Float32Array(n);
      library.toFloat(idOf(type))(blocks, x, n);
      return x;
    },
  };
}
