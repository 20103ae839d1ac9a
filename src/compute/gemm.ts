import type { TaskScope } from './scope.ts';
import type { Team } from './team.ts';

/** C = A B^T, or A B; float32, row-major. */
export interface Product {
  m: number;
  n: number;
  k: number;
  a: number;
  lda: number;
  b: number;
  ldb: number;
  c: number;
  ldc: number;
  transposeB: boolean;
  accumulate?: boolean;
}

const ROWS = 16;

/** All threads. */
export function multiply(team: Team, product: Product): void {
  const { m, n, k, a, lda, b, ldb, c, ldc, transposeB, accumulate } = product;
  const args = [m, n, k, a, lda, b, ldb, c, ldc, Number(transposeB), Number(accumulate ?? false)];
  team.run('gemm', Math.ceil(m / ROWS), args);
}

/** One piece of `multiply`. */
export function multiplyPiece(scope: TaskScope, index: number, args: readonly number[]): void {
  const [m, n, k, a, lda, b, ldb, c, ldc, transposeB, accumulate] = args;
  const first = index * ROWS;
  multiplyHere(scope, {
    m: Math.min(ROWS, m - first),
    n,
    k,
    a: a + 4 * first * lda,
    lda,
    b,
    ldb,
    c: c + 4 * first * ldc,
    ldc,
    transposeB: transposeB !== 0,
    accumulate: accumulate !== 0,
  });
}

/** One thread. */
export function multiplyHere({ memory }: TaskScope, product: Product): void {
  const { m, n, k, a, lda, b, ldb, c, ldc, transposeB, accumulate } = product;
  const floats = new Float32Array(memory.buffer);
  for (let i = 0; i < m; i++) {
    const [from, to] = [a / 4 + i * lda, c / 4 + i * ldc];
    if (accumulate !== true) floats.fill(0, to, to + n);
    if (transposeB) {
      for (let j = 0; j < n; j++) {
        const other = b / 4 + j * ldb;
        let sum = 0;
        for (let l = 0; l < k; l++) sum += floats[from + l] * floats[other + l];
        floats[to + j] += sum;
      }
    } else {
      for (let l = 0; l < k; l++) {
        const [factor, other] = [floats[from + l], b / 4 + l * ldb];
        for (let j = 0; j < n; j++) floats[to + j] += factor * floats[other + j];
      }
    }
  }
}
