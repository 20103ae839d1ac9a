// The real ggml for benchmarks (plain JavaScript, so that Node 20 runs it): libggml-base of llama.cpp v0.5.0 as
// shipped for Linux x64 on npm.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi from 'koffi';

export function loadEngine() {
  const entry = createRequire(import.meta.url).resolve('@node-llama-cpp/linux-x64');
  const library = koffi.load(join(dirname(entry), '../bins/linux-x64/libggml-base.so'));
  const quantize = library.func(
    'size_t ggml_quantize_chunk(int type, const float *src, uint8_t *dst, int64_t start, int64_t nrows, int64_t n_per_row, const float *imatrix)',
  );
  const toFloat = {
    BF16: library.func('void ggml_bf16_to_fp32_row(const uint8_t *x, float *y, int64_t n)'),
    F16: library.func('void ggml_fp16_to_fp32_row(const uint8_t *x, float *y, int64_t n)'),
  };
  return {
    /** float32 values to blocks of the type with this ggml number, as one row. */
    quantizeChunk: (id, x, y, n) => void quantize(id, x, y, 0, 1, n, null),
    /** Stored values to float32. */
    toFloat(type, stored, x, n) {
      if (type === 'F32') x.set(new Float32Array(stored.buffer, stored.byteOffset, n));
      else toFloat[type](stored, x, n);
    },
  };
}
