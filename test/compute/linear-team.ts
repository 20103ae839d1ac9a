import type { Factor } from '../../src/compute/factor.ts';
import { type Gemm, REPRODUCIBLE } from '../../src/compute/gemm-choice.ts';
import { Hessian, type HessianOptions } from '../../src/compute/hessian.ts';
import * as linear from '../../src/compute/linear-tasks.ts';
import * as compute from '../../src/compute/tasks.ts';
import { Team } from '../../src/compute/team.ts';
import { type Matrix, matrix } from './dense.ts';

const open: Team[] = [];

/** A team that knows the tasks on Hessians, and products. */
export function linearTeam(
  threads = 2,
  { bytes = 128 << 20, gemm = REPRODUCIBLE }: { bytes?: number; gemm?: Gemm } = {},
): Team {
  const team = new Team({
    threads,
    bytes,
    scratchBytes: linear.LINEAR_SCRATCH_BYTES,
    modules: [
      { specifier: '#linear-tasks', module: linear },
      { specifier: '#compute-tasks', module: compute },
    ],
    quantization: null,
    gemm,
  });
  open.push(team);
  return team;
}

export function closeTeams(): void {
  for (const team of open.splice(0)) team.close();
}

/** Calls `act` with the address of a copy of the values in the team's memory. */
export function placed<T>({ arena, scope }: Team, values: Float32Array, act: (address: number) => T): T {
  return arena.scoped(() => {
    const address = arena.takeFloats(values.length, 'values of a test');
    scope.floats(address, values.length).set(values);
    return act(address);
  });
}

/** The Hessian of rows x n activations. */
export function hessianOf(team: Team, x: Float32Array, n: number, options?: HessianOptions): Hessian {
  const hessian = new Hessian(team, n, options);
  placed(team, x, (address) => hessian.add(address, n, x.length / n));
  return hessian;
}

/** Rows of `columns` float32 that `write` puts at an address; what it leaves out is NaN. */
export function written(
  { arena, scope }: Team,
  rows: number,
  columns: number,
  write: (address: number) => void,
): Matrix {
  return arena.scoped(() => {
    const address = arena.takeFloats(rows * columns, 'rows of a test');
    scope.floats(address, rows * columns).fill(Number.NaN);
    write(address);
    const values = scope.floats(address, rows * columns);
    return matrix(rows, columns, (i, j) => values[i * columns + j]);
  });
}

export const rowsOf = (team: Team, hessian: Hessian, start = 0, count = hessian.n): Matrix =>
  written(team, count, hessian.n, (address) => hessian.rows(start, count, address));

export const panelOf = (team: Team, factor: Factor, start = 0, width = factor.n): Matrix =>
  written(team, width, factor.n - start, (address) => factor.panel(start, width, address));
