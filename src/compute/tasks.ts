/** Tasks that every calculation needs (`#compute-tasks`). */
import { multiplyTile, type Product } from './gemm.ts';
import type { TaskModule } from './scope.ts';

export const tasks: TaskModule['tasks'] = {
  /** args: rows and columns of a tile; payload: the product. */
  multiply: (scope, index, [rows, columns], product) =>
    multiplyTile(scope, index, rows, columns, product as Product),
};
