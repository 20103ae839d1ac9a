import { afterEach, expect, it } from 'vitest';
import type { Slab, Step } from '../../src/calibrate/forward/step.ts';
import type { Weight } from '../../src/calibrate/forward/weights.ts';
import { factorHessian } from '../../src/compute/factor.ts';
import { Hessian } from '../../src/compute/hessian.ts';
import type { Team } from '../../src/compute/team.ts';
import { Correction } from '../../src/conduct/correction.ts';
import { activations, gaussian, gramOf, inverseOf, type Matrix, matrix } from '../compute/dense.ts';
import { closeTeams, linearTeam } from '../compute/linear-team.ts';

/** T = W + share (W (X_f - X)^T X + D^T X) (X^T X + lambda)^-1 against the same in float64, written down as it stands. */

afterEach(closeTeams);

const columns = 96;
const rows = 40; // of W; the width of hidden states
const slabs = [256, 100].map((rows, index): Slab => ({ index, firstWindow: index, windows: 1, rows }));
const tokens = slabs.reduce((sum, slab) => sum + slab.rows, 0);
const DAMPING = 0.01;

const x = activations(tokens, columns, 1);
const normal = gaussian(2);
const float = x.map((value) => value + 0.1 * normal());
const states = Float32Array.from({ length: tokens * rows }, normal);
const floatStates = states.map((value) => value + 0.2 * normal());
const w = Float32Array.from({ length: rows * columns }, () => normal() / 8);

/** Rows of a slab among those of all tokens. */
const part = (values: Float32Array, { index, rows: count }: Slab, width: number): Float32Array => {
  const first = slabs.slice(0, index).reduce((sum, slab) => sum + slab.rows, 0);
  return values.subarray(first * width, (first + count) * width);
};

/** The definition. With `adding` D counts too. */
function expected(share: number, adding: boolean): { target: Matrix; largest: number } {
  const gram = gramOf(x, columns);
  const lambda = (DAMPING * gram.reduce((sum, row, i) => sum + row[i], 0)) / columns;
  const inverse = inverseOf(matrix(columns, columns, (i, j) => gram[i][j] + (i === j ? lambda : 0)));
  // W (X_f - X)^T + D^T, rows x tokens.
  const lost = matrix(rows, tokens, (i, t) => {
    let sum = adding ? floatStates[t * rows + i] - states[t * rows + i] : 0;
    for (let j = 0; j < columns; j++)
      sum += w[i * columns + j] * (float[t * columns + j] - x[t * columns + j]);
    return sum;
  });
  const products = matrix(rows, columns, (i, j) => {
    let sum = 0;
    for (let t = 0; t < tokens; t++) sum += lost[i][t] * x[t * columns + j];
    return sum;
  });
  let largest = 0;
  const target = matrix(rows, columns, (i, j) => {
    let sum = 0;
    for (let k = 0; k < columns; k++) sum += products[i][k] * inverse[k][j];
    largest = Math.max(largest, Math.abs(share * sum));
    return w[i * columns + j] + share * sum;
  });
  return { target, largest };
}

/** A copy of values in the team's memory, for good. */
function put({ arena, scope }: Team, values: Float32Array): number {
  const address = arena.takeFloats(values.length, 'values of a test');
  scope.floats(address, values.length).set(values);
  return address;
}

/** A step of which only the hidden states are asked for. */
const stepWith = (team: Team, values: Float32Array) =>
  ({ statesOf: (slab: Slab) => put(team, part(values, slab, rows)) }) as unknown as Step;

/** The targets, by the class under test. */
function corrected(team: Team, share: number, adding: boolean): Float32Array {
  const { arena, scope } = team;
  const weight: Weight = { name: 'w', type: 'F32', address: put(team, w), rows, columns };
  const hessian = new Hessian(team, columns);
  const correction = new Correction(team, columns, adding ? weight : null, share);
  const [step, twin] = [states, floatStates].map((values) => stepWith(team, values));
  for (const slab of slabs) {
    arena.scoped(() => {
      const input = (values: Float32Array) => ({
        group: { tensors: ['w'], expert: null, columns },
        x: put(team, part(values, slab, columns)),
        ldx: columns,
        rows: slab.rows,
      });
      const own = input(x);
      hessian.add(own.x, own.ldx, own.rows);
      correction.add(input(float), own, twin, step, slab);
    });
  }
  correction.finish();
  const factor = factorHessian(team, hessian, { damping: DAMPING });
  const to = arena.takeFloats(rows * columns, 'targets');
  correction.target(weight, factor, to);
  factor.free();
  hessian.free();
  expect([...scope.floats(weight.address, rows * columns)]).toEqual([...w]);
  return scope.floats(to, rows * columns).slice();
}

it.each([
  ['a matrix whose results go on', false, 1],
  ['a matrix whose results are added to the states', true, 1],
  ['half of the correction', true, 0.5],
  ['half of the correction of a matrix whose results go on', false, 0.5],
] as const)('%s', (_name, adding, share) => {
  const { target, largest } = expected(share, adding);
  const got = corrected(linearTeam(2), share, adding);
  const off = Math.max(
    ...got.map((value, i) => Math.abs(value - target[Math.floor(i / columns)][i % columns])),
  );
  expect(largest).toBeGreaterThan(0.01); // there is something to correct
  expect(off / largest).toBeLessThan(1e-4);
});

it('the states that were lost count, where they do', () => {
  const [without, adding] = [false, true].map((adding) => expected(1, adding).target);
  const difference = Math.max(...adding.flat().map((value, i) => Math.abs(value - without.flat()[i])));
  expect(difference).toBeGreaterThan(0.01);
});

it('the same bits at any number of threads', () => {
  const [one, two, three] = [1, 2, 3].map((threads) => corrected(linearTeam(threads), 0.5, true));
  expect(two).toEqual(one);
  expect(three).toEqual(one);
});
