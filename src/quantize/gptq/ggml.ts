import type { Team } from '../../compute/team.ts';
import { bytesOf, type TypeName } from '../../core/types.ts';
import { canEncode } from '../format/index.ts';
import { type MatrixJob, type OutputErrors, relativeTo } from './matrix.ts';
import { type GgmlJob, rowPieces } from './tasks.ts';

/**
 * Codes a matrix as ggml does under importance, that of the Hessian's diagonal: for types whose codes cannot be chosen one weight
 * at a time. The weights become what the codes decode to.
 *
 * @throws MemoryBudgetError, ScratchFileError
 */
export function codeAsGgml(
  team: Team,
  {
    weights,
    rows,
    n,
    type,
    hessian,
    codes,
  }: Pick<MatrixJob, 'weights' | 'rows' | 'n' | 'type' | 'hessian' | 'codes'>,
): OutputErrors {
  const { arena, scope } = team;
  return arena.scoped(() => {
    const errors = arena.takeFloats(rows * n, 'errors of a matrix');
    const importance = arena.takeFloats(n, 'importance of columns');
    scope.floats(importance, n).set(usable(hessian.diagonal()));
    const signal = hessian.quadraticForm(weights, n, rows);
    const error = (job: Pick<GgmlJob, 'importance' | 'codes'>): number => {
      const whole: GgmlJob = { type, n, rows, firstRow: 0, weights, targets: weights, errors, ...job };
      team.run('ggmlCode', rowPieces(rows), [], whole);
      return hessian.quadraticForm(errors, n, rows);
    };
    const relative = relativeTo(signal);
    const plain = canEncode(type) ? relative(error({ importance: 0, codes: 0 })) : null;
    const result = relative(error({ importance, codes }));
    return { signal, plain, weighted: result, result };
  });
}

/** Replaces rows by what ggml's coding without importance decodes to. */
export function recodeAsGgml(team: Team, x: number, rows: number, n: number, type: TypeName): void {
  team.arena.scoped(() => {
    const errors = team.arena.takeFloats(rows * n, 'errors of embeddings');
    const codes = team.arena.take(bytesOf(type, rows * n), 'codes of embeddings');
    const job: GgmlJob = { type, n, rows, firstRow: 0, weights: x, targets: x, errors, importance: 0, codes };
    team.run('ggmlCode', rowPieces(rows), [], job);
  });
}

/** Importance that no block lacks: without any, all columns count the same. */
function usable(diagonal: Float64Array): Float64Array {
  const mean = diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length;
  // A millionth of the mean: what is never seen counts next to nothing, and still has a scale.
  return diagonal.map((value) => (mean > 0 ? Math.max(value, 1e-6 * mean) : 1));
}
