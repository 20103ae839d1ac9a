import { afterEach, expect, test } from 'vitest';
import { factorHessian } from '../../src/compute/factor.ts';
import { solveByFactor } from '../../src/compute/solve.ts';
import { activations, gaussian } from './dense.ts';
import { closeTeams, hessianOf, linearTeam, placed, rowsOf } from './linear-team.ts';

afterEach(closeTeams);

test.each([
  [1, 3],
  [5, 1],
  [256, 7],
  [257, 2],
  [700, 9],
])('Y (H + lambda) = Z for %i channels, %i rows', (n, rows) => {
  const solved = [1, 3].map((threads) => {
    const team = linearTeam(threads);
    const hessian = hessianOf(team, activations(2 * n + 3, n, n), n);
    const factor = factorHessian(team, hessian, { damping: 0.01 });
    const normal = gaussian(n);
    const z = Float32Array.from({ length: rows * n }, normal);
    const y = placed(team, z, (address) => {
      solveByFactor(team, factor, address, rows);
      return team.scope.floats(address, rows * n).slice();
    });
    const h = rowsOf(team, hessian);
    let [error, size] = [0, 0];
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < n; j++) {
        let sum = y[row * n + j] * factor.lambda;
        for (let i = 0; i < n; i++) sum += y[row * n + i] * h[i][j];
        error += (sum - z[row * n + j]) ** 2;
        size += z[row * n + j] ** 2;
      }
    }
    expect(Math.sqrt(error / size)).toBeLessThan(1e-4);
    return y;
  });
  expect(solved[0]).toEqual(solved[1]);
});
