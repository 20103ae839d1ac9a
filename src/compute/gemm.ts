import type { TaskScope } from './scope.ts';
import type { Team } from './team.ts';

/**
 * C = A B, or C + A B if `accumulate`: C is m x n, A m x k (stored k x m if `transposeA`), B k x n (stored n x k if
 * `transposeB`: a weight matrix as it comes, out x in). Float32, row-major; `a`, `b`, `c` are addresses in bytes, `ld*` the
 * number of floats from one stored row to the next. C overlaps neither A nor B.
 */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: number;
  readonly lda: number;
  readonly transposeA?: boolean;
  readonly b: number;
  readonly ldb: number;
  readonly transposeB: boolean;
  readonly c: number;
  readonly ldc: number;
  readonly accumulate?: boolean;
}

/** Computes a product on the thread that calls. */
export type Multiply = (product: Product) => void;

/** Largest tile of C, in rows and columns: whole register tiles and blocks of the kernel (src/kernels/compute/gemm.ts). */
const ROWS = 520;
const COLUMNS = 512;
/** Below this, copying slices of A and B takes too large a part of the time. */
const LEAST_ROWS = 130;
const LEAST_COLUMNS = 128;
/** Tiles a product should have, so that all threads end at about the same time. */
const PIECES = 16;

/**
 * Computes a product on all threads of a team, whose modules must contain `#compute-tasks`. How it is cut depends on the product
 * alone, so that the result is the same at any number of threads.
 */
export function multiply(team: Team, product: Product): void {
  const { m, n } = product;
  const { rows, columns } = tileOf(m, n);
  team.run('multiply', Math.ceil(m / rows) * Math.ceil(n / columns), [rows, columns], product);
}

/** Computes a product on the thread that calls, inside a task. */
export function multiplyHere({ blas, compute, packing }: TaskScope, product: Product): void {
  if (blas !== null) {
    blas(product);
    return;
  }
  const { m, n, k, a, lda, transposeA, b, ldb, transposeB, c, ldc, accumulate } = product;
  compute.gemm(
    m,
    n,
    k,
    a,
    lda,
    transposeA ? 1 : 0,
    b,
    ldb,
    transposeB ? 1 : 0,
    c,
    ldc,
    accumulate ? 1 : 0,
    packing,
  );
}

/** Task `multiply`: tile `index` of C, tiles of `rows` x `columns` numbered down the columns of C. */
export function multiplyTile(
  scope: TaskScope,
  index: number,
  rows: number,
  columns: number,
  whole: Product,
): void {
  const tilesDown = Math.ceil(whole.m / rows);
  const row = (index % tilesDown) * rows;
  const column = Math.floor(index / tilesDown) * columns;
  multiplyHere(scope, {
    ...whole,
    m: Math.min(rows, whole.m - row),
    n: Math.min(columns, whole.n - column),
    a: whole.a + 4 * (whole.transposeA ? row : row * whole.lda),
    b: whole.b + 4 * (whole.transposeB ? column * whole.ldb : column),
    c: whole.c + 4 * (row * whole.ldc + column),
  });
}

/** Halves the longer side of the largest tile until there are enough pieces. */
function tileOf(m: number, n: number): { rows: number; columns: number } {
  let rows = ROWS;
  let columns = COLUMNS;
  while (Math.ceil(m / rows) * Math.ceil(n / columns) < PIECES) {
    if (rows > LEAST_ROWS && Math.min(rows, m) >= Math.min(columns, n)) rows /= 2;
    else if (columns > LEAST_COLUMNS) columns /= 2;
    else break;
  }
  return { rows, columns };
}
