import type { Multiply } from './gemm.ts';

/** m, n, k: odd ones, single ones, and larger than the register tile of any kernel. */
const SHAPES = [
  [1, 1, 1],
  [3, 5, 7],
  [17, 1, 33],
  [1, 19, 65],
  [37, 41, 53],
  [67, 35, 129],
] as const;

/** transposeA, transposeB, accumulate. */
const WAYS = [0, 1, 2, 3, 4, 5, 6, 7].map((way) => [(way & 1) > 0, (way & 2) > 0, (way & 4) > 0] as const);

/** 128 KiB hold any of them. */
const PAGES = 2;

/**
 * Multiplies small matrices in all ways that are used, with rows apart from one another, onto NaN where nothing should be read; the
 * largest difference from float64, relative to the sum of the absolute values of the terms. NaN if C has one.
 */
export function largestError(over: (memory: WebAssembly.Memory) => Multiply): number {
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
  const multiply = over(memory);
  const floats = new Float32Array(memory.buffer);
  let largest = 0;
  for (const [m, n, k] of SHAPES) {
    for (const [transposeA, transposeB, accumulate] of WAYS) {
      const lda = (transposeA ? m : k) + 3;
      const ldb = (transposeB ? k : n) + 1;
      const ldc = n + 2;
      const b = lda * (transposeA ? k : m);
      const c = b + ldb * (transposeB ? n : k);
      for (let i = 0; i < c; i++) floats[i] = Math.sin(1 + i * i);
      floats.fill(accumulate ? 1 : Number.NaN, c, c + ldc * m);
      multiply({ m, n, k, a: 0, lda, transposeA, b: 4 * b, ldb, transposeB, c: 4 * c, ldc, accumulate });
      for (let row = 0; row < m; row++) {
        for (let column = 0; column < n; column++) {
          let sum = accumulate ? 1 : 0;
          let scale = sum;
          for (let step = 0; step < k; step++) {
            const x = floats[transposeA ? step * lda + row : row * lda + step];
            const y = floats[b + (transposeB ? column * ldb + step : step * ldb + column)];
            sum += x * y;
            scale += Math.abs(x * y);
          }
          const error = Math.abs(floats[c + row * ldc + column] - sum) / scale;
          largest = Math.max(largest, error); // a NaN stays
        }
      }
    }
  }
  return largest;
}
