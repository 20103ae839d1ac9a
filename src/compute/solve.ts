import type { Factor } from './factor.ts';
import { multiply } from './gemm.ts';
import type { Team } from './team.ts';

/** Columns of a panel. */
const PANEL = 256;

/**
 * Replaces Z by Z (R R^T)^-1: solves Y H' = Z for the damped Hessian H' = R R^T of a factor in the natural order. Z is `rows` x n
 * float32 at address `z`, row-major without gaps. Two triangular solves by panels of 256 columns; what a panel leaves to the
 * others is a product, and so is the panel itself, by the inverse of its diagonal block (float64, rounded). Takes
 * 256 (n + rows + 256) float32 of the arena for the time.
 *
 * @throws MemoryBudgetError, ScratchFileError
 */
export function solveByFactor(team: Team, factor: Factor, z: number, rows: number): void {
  const { n } = factor;
  const { arena } = team;
  const width = Math.min(PANEL, n);
  const starts = Array.from({ length: Math.ceil(n / PANEL) }, (_, i) => i * PANEL);
  arena.scoped(() => {
    const panel = arena.takeFloats(width * n, 'a panel of a factor');
    const inverse = arena.takeFloats(width * width, 'the inverse of a diagonal block');
    const old = arena.takeFloats(rows * width, 'a panel of a solution');
    const common = { m: rows, lda: n, ldc: n, accumulate: true };

    /** Z_P = Z_P M or Z_P M^T, M = -R_PP^-1. */
    const replace = (start: number, w: number, transposeB: boolean) => {
      negativeInverse(
        team.scope.floats(panel, w * (n - start)),
        n - start,
        w,
        team.scope.floats(inverse, w * w),
      );
      copyColumns(team.scope.floats(z, rows * n), n, start, w, team.scope.floats(old, rows * w));
      const at = z + 4 * start;
      multiply(team, { m: rows, n: w, k: w, a: old, lda: w, b: inverse, ldb: w, transposeB, c: at, ldc: n });
    };

    // N R^T = -Z, last panel first.
    for (const start of starts.toReversed()) {
      const w = Math.min(PANEL, n - start);
      const [after, ld] = [start + w, n - start];
      factor.panel(start, w, panel);
      const rest = { a: z + 4 * after, b: panel + 4 * w, ldb: ld, transposeB: true, c: z + 4 * start };
      if (after < n) multiply(team, { ...common, ...rest, n: w, k: n - after });
      replace(start, w, true);
    }
    // Y R = -N, first panel first.
    for (const start of starts) {
      const w = Math.min(PANEL, n - start);
      const [after, ld] = [start + w, n - start];
      factor.panel(start, w, panel);
      replace(start, w, false);
      const rest = { a: z + 4 * start, b: panel + 4 * w, ldb: ld, transposeB: false, c: z + 4 * after };
      if (after < n) multiply(team, { ...common, ...rest, n: n - after, k: w });
    }
  });
}

/** -1 times the inverse of the upper triangle of w x w at the beginning of `r` (ld floats a row), row-major. */
function negativeInverse(r: Float32Array, ld: number, w: number, out: Float32Array): void {
  const inverse = new Float64Array(w * w);
  for (let j = 0; j < w; j++) {
    inverse[j * w + j] = 1 / r[j * ld + j];
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0;
      for (let k = i + 1; k <= j; k++) sum += r[i * ld + k] * inverse[k * w + j];
      inverse[i * w + j] = -sum / r[i * ld + i];
    }
  }
  for (let i = 0; i < w * w; i++) out[i] = -inverse[i];
}

/** Columns start .. start + w - 1 of a matrix of rows of n. */
function copyColumns(from: Float32Array, n: number, start: number, w: number, to: Float32Array): void {
  for (let row = 0; row * w < to.length; row++) {
    to.set(from.subarray(row * n + start, row * n + start + w), row * w);
  }
}
