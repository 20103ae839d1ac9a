// Where the real ggml is and how to call it: plain JavaScript, because the benchmark runs on Node versions that
// cannot load TypeScript. Tests go through ggml.ts.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi from 'koffi';

/**
 * Directory of llama.cpp v0.5.0's libraries as shipped for Linux x64 on npm; null where they are not installed.
 * @type {string | null}
 */
export const engineDirectory = (() => {
  try {
    const entry = createRequire(import.meta.url).resolve('@node-llama-cpp/linux-x64');
    const directory = join(dirname(entry), '../bins/linux-x64');
    return existsSync(directory) ? directory : null;
  } catch {
    return null;
  }
})();

/**
 * Functions of libggml-base. Types are GGUF type numbers.
 * @typedef {object} GgmlLibrary
 * @property {(type: number, x: Float32Array, blocks: Uint8Array, rows: number, nPerRow: number, importance: Float32Array | null) => void} quantizeChunk
 *   `ggml_quantize_chunk` from the first row on
 * @property {(type: number) => (blocks: Uint8Array, x: Float32Array, n: number) => void} toFloat
 *   the type's `to_float`
 */

/**
 * Loads libggml-base; once a process or worker.
 * @returns {GgmlLibrary}
 */
export function loadLibrary() {
  const library = koffi.load(join(/** @type {string} */ (engineDirectory), 'libggml-base.so'));
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
    quantizeChunk: (type, x, blocks, rows, nPerRow, importance) =>
      void quantizeChunk(type, x, blocks, 0, rows, nPerRow, importance),
    toFloat: (type) => koffi.decode(koffi.decode(traitsOf(type), 'ggml_type_traits').to_float, toFloat),
  };
}
