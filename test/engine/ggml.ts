import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi from 'koffi';
import { bytesOf, dataTypes, type TypeName } from '../../src/core/types.ts';

/**
 * The real ggml, llama.cpp v0.5.0, as shipped for Linux x64 on npm: the judge of every byte. `engineDirectory` is
 * null where it is not installed; tests that need it are then skipped by name.
 */
export const engineDirectory: string | null = (() => {
  try {
    const entry = createRequire(import.meta.url).resolve('@node-llama-cpp/linux-x64');
    const directory = join(dirname(entry), '../bins/linux-x64');
    return existsSync(directory) ? directory : null;
  } catch {
    return null;
  }
})();

export interface Ggml {
  /** `ggml_quantize_chunk`: rows of nPerRow float32 to blocks, importance per column or none. */
  quantize(type: TypeName, x: Float32Array, nPerRow?: number, importance?: Float32Array): Uint8Array;
  /** The type's `to_float`. */
  dequantize(type: TypeName, blocks: Uint8Array, n: number): Float32Array;
}

/** Loads libggml-base. */
export function loadGgml(): Ggml {
  const library = koffi.load(join(engineDirectory!, 'libggml-base.so'));
  const quantizeChunk = library.func(
    'size_t ggml_quantize_chunk(int type, const float *src, uint8_t *dst, int64_t start, int64_t nrows, int64_t n_per_row, const float *imatrix)',
  );
  const toFloat = koffi.proto('void to_float(const uint8_t *x, float *y, int64_t k)');
  koffi.struct('ggml_type_traits', {
    type_name: 'const char *',
    blck_size: 'int64_t',
    blck_size_interleave: 'int64_t',
    type_size: 'size_t',
    is_quantized: 'bool',
    to_float: koffi.pointer(toFloat),
  });
  const traitsOf = library.func('const ggml_type_traits *ggml_get_type_traits(int type)');
  return {
    quantize(type, x, nPerRow = x.length, importance) {
      const out = new Uint8Array(bytesOf(type, x.length));
      quantizeChunk(dataTypes[type].ggmlId, x, out, 0, x.length / nPerRow, nPerRow, importance ?? null);
      return out;
    },
    dequantize(type, blocks, n) {
      const out = new Float32Array(n);
      const traits = koffi.decode(traitsOf(dataTypes[type].ggmlId), 'ggml_type_traits');
      koffi.decode(traits.to_float, toFloat)(blocks, out, n);
      return out;
    },
  };
}
