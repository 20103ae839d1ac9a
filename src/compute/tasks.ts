/** Tasks that every calculation needs (`#compute-tasks`). */
import { multiplyTile, type Product } from './gemm.ts';
import type { TaskModule } from './scope.ts';
import type { Team } from './team.ts';

/** Rows of a piece of `addMatrix`. */
const ROWS = 16;

/** A matrix of float32 in the team's memory: address, and floats from row to row. */
export interface Placed {
  readonly x: number;
  readonly ld: number;
}

/** to += factor * from, `rows` x `columns`, over all threads; both may be one. */
export function addMatrix(
  team: Team,
  to: Placed,
  from: Placed,
  rows: number,
  columns: number,
  factor: number,
): void {
  team.run('addMatrix', Math.ceil(rows / ROWS), [rows, columns, to.x, to.ld, from.x, from.ld, factor]);
}

export const tasks: TaskModule['tasks'] = {
  addMatrix({ compute }, index, [rows, columns, to, ldTo, from, ldFrom, factor]) {
    for (let row = index * ROWS; row < Math.min(rows, (index + 1) * ROWS); row++) {
      compute.addScaled(to + 4 * row * ldTo, from + 4 * row * ldFrom, columns, factor);
    }
  },

  /** args: rows and columns of a tile; payload: the product. */
  multiply: (scope, index, [rows, columns], product) =>
    multiplyTile(scope, index, rows, columns, product as Product),
};
