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

const ROWS = 128;

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
export function multiplyHere({ compute, scratch }: TaskScope, product: Product): void {
  const { m, n, k, a, lda, b, ldb, c, ldc, transposeB, accumulate } = product;
  compute.gemm(m, n, k, a, lda, 0, b, ldb, transposeB ? 1 : 0, c, ldc, accumulate ? 1 : 0, scratch);
}
