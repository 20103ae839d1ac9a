import { multiplyPiece } from './gemm.ts';
import type { Task } from './scope.ts';

/** Tasks of the matrix products. */
export const tasks: Readonly<Record<string, Task>> = { gemm: multiplyPiece };
