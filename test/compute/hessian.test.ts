import { afterEach, describe, expect, test } from 'vitest';
import { BlasError } from '../../src/compute/blas.ts';
import { factorHessian } from '../../src/compute/factor.ts';
import { type Gemm, openGemm } from '../../src/compute/gemm-choice.ts';
import { Hessian } from '../../src/compute/hessian.ts';
import { TilePool } from '../../src/compute/tiles.ts';
import { activations, gramOf, type Matrix, relativeError } from './dense.ts';
import { closeTeams, hessianOf, linearTeam, placed, rowsOf } from './linear-team.ts';

afterEach(closeTeams);

/** tr(M H M^T), by definition. */
function quadraticFormOf(h: Matrix, m: Float32Array): number {
  const n = h.length;
  let total = 0;
  for (let row = 0; row < m.length; row += n) {
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += h[i][j] * m[row + j];
      total += m[row + i] * sum;
    }
  }
  return total;
}

test.each([1, 3, 5, 8, 63, 65, 130, 255, 256, 257, 520])('X^T X of %i channels', (n) => {
  const team = linearTeam();
  const x = activations(301, n, n);
  const hessian = hessianOf(team, x, n);
  const expected = gramOf(x, n);
  expect(hessian.tokens).toBe(301);
  expect(relativeError(rowsOf(team, hessian), expected, (i) => expected[i][i])).toBeLessThan(1e-6);
  expect(hessian.diagonal()).toHaveLength(n);
  for (const [i, value] of hessian.diagonal().entries()) {
    expect(Math.abs(value - expected[i][i])).toBeLessThan(1e-6 * expected[i][i]);
  }
});

test('some of the rows, and rows of X that are apart', () => {
  const team = linearTeam();
  const [rows, n, ldx] = [40, 600, 611];
  const wide = activations(rows, ldx, 1);
  const x = new Float32Array(rows * n);
  for (let i = 0; i < rows; i++) x.set(wide.subarray(i * ldx, i * ldx + n), i * n);
  const hessian = new Hessian(team, n);
  placed(team, wide, (address) => hessian.add(address, ldx, rows));
  const all = rowsOf(team, hessianOf(team, x, n));
  for (const [start, count] of [
    [0, 1],
    [255, 2],
    [200, 400],
    [599, 1],
    [256, 256],
    [10, 0],
  ]) {
    expect(rowsOf(team, hessian, start, count)).toEqual(all.slice(start, start + count));
  }
});

test('activations at the very end of 4 GiB', () => {
  const team = linearTeam(1, { bytes: 2 ** 32 });
  const n = 64; // as many rows: packed they take as much as they do before
  const x = activations(n, n, 12);
  const bytes = 4 * n * n;
  team.arena.take(team.arena.free - 2 * bytes, 'all but a few bytes');
  const address = team.arena.take(bytes, 'activations');
  team.scope.floats(address, n * n).set(x);
  const hessian = new Hessian(team, n);
  hessian.add(address, n, n);
  expect(team.arena.peak).toBe(2 ** 32);
  const expected = gramOf(x, n);
  for (const [i, value] of hessian.diagonal().entries()) expect(value / expected[i][i]).toBeCloseTo(1, 5);
});

test('the bits depend neither on the threads, nor on cuts between slabs, nor on where the tiles are', () => {
  const n = 700;
  const x = activations(1100, n, 2);
  const bits = (threads: number, maxBytes: number, cuts: number[]) => {
    const team = linearTeam(threads);
    const pool = new TilePool(team, { maxBytes });
    const hessian = new Hessian(team, n, { pool });
    for (const [k, start] of cuts.entries()) {
      const part = x.subarray(start * n, (cuts[k + 1] ?? 1100) * n);
      placed(team, part, (address) => hessian.add(address, n, part.length / n));
    }
    const m = activations(100, n, 3);
    const form = placed(team, m, (address) => hessian.quadraticForm(address, n, 100));
    const found = [hessian.tiles.file === null, hessian.tokens, form, rowsOf(team, hessian)];
    pool.close();
    return found;
  };
  const whole = bits(1, Number.POSITIVE_INFINITY, [0]);
  expect(bits(3, Number.POSITIVE_INFINITY, [0])).toEqual(whole);
  expect(bits(2, Number.POSITIVE_INFINITY, [0, 256, 768, 1024])).toEqual(whole);
  expect(bits(3, 0, [0, 512])).toEqual([false, ...whole.slice(1)]);
});

test.each([
  [1, 1],
  [37, 300],
  [600, 257],
  [70, 5],
])('tr(M H M^T) of %i rows over %i channels', (rows, n) => {
  const team = linearTeam();
  const hessian = hessianOf(team, activations(500, n, 4), n);
  const m = activations(rows, n, 5);
  const found = placed(team, m, (address) => hessian.quadraticForm(address, n, rows));
  const expected = quadraticFormOf(rowsOf(team, hessian), m);
  expect(Math.abs(found - expected)).toBeLessThan(1e-5 * expected);
});

test('tr(M H M^T) where M avoids a direction a thousand times stronger than the rest', () => {
  const team = linearTeam();
  const [rows, n] = [64, 256];
  const x = activations(2000, n, 6);
  for (let i = 0; i < x.length; i++) x[i] += i % n === 17 ? 300 : 10;
  const hessian = hessianOf(team, x, n);
  // Each row of M is orthogonal to the mean of X.
  const mean = Float64Array.from({ length: n }, (_, j) => {
    let sum = 0;
    for (let i = j; i < x.length; i += n) sum += x[i];
    return sum;
  });
  const norm = mean.reduce((sum, value) => sum + value * value, 0);
  const m = activations(rows, n, 7);
  for (let row = 0; row < rows; row++) {
    const line = m.subarray(row * n, (row + 1) * n);
    const share = line.reduce((sum, value, j) => sum + value * mean[j], 0) / norm;
    for (let j = 0; j < n; j++) line[j] -= share * mean[j];
  }
  const found = placed(team, m, (address) => hessian.quadraticForm(address, n, rows));
  const expected = quadraticFormOf(gramOf(x, n), m);
  expect(Math.abs(found - expected)).toBeLessThan(1e-4 * expected);
});

/** An implementation of products; null for BLAS where it is not installed. */
function gemmOrNull(kind: string): Gemm | null {
  try {
    return openGemm(kind);
  } catch (error) {
    if (error instanceof BlasError) return null;
    throw error;
  }
}

describe.each(['wasm-relaxed', 'blas'])('products by %s', (kind) => {
  const gemm = gemmOrNull(kind);
  test.skipIf(gemm === null).each([1, 5, 66, 130, 257, 520])('X^T X and tr(M H M^T) of %i channels', (n) => {
    const x = activations(700, n, n);
    const m = activations(90, n, 5);
    const [one, three] = [1, 3].map((threads) => {
      const team = linearTeam(threads, { gemm: gemm! });
      // Factors look at all of a tile: what is beyond n must stay zero.
      team.scope.floats(team.scope.scratch, team.scope.scratchBytes / 4).fill(7);
      const hessian = hessianOf(team, x, n);
      const form = placed(team, m, (address) => hessian.quadraticForm(address, n, 90));
      const factor = factorHessian(team, hessian, { damping: 0.01 });
      return { h: rowsOf(team, hessian), form, diagonal: factor.diagonal() };
    });
    expect(three).toEqual(one);
    const expected = gramOf(x, n);
    expect(relativeError(one.h, expected, (i) => expected[i][i])).toBeLessThan(1e-6);
    const form = quadraticFormOf(expected, m);
    expect(Math.abs(one.form - form)).toBeLessThan(1e-5 * form);
    const plain = linearTeam();
    const diagonal = factorHessian(plain, hessianOf(plain, x, n), { damping: 0.01 }).diagonal();
    for (const [i, value] of one.diagonal.entries()) expect(value / diagonal[i]).toBeCloseTo(1, 4);
  });
});

test('a Hessian without rows is zero, also in memory that was used before', () => {
  const team = linearTeam();
  const pool = new TilePool(team);
  hessianOf(team, activations(10, 30, 8), 30, { pool }).free();
  const hessian = new Hessian(team, 30, { pool });
  expect(hessian.diagonal()).toEqual(new Float64Array(30));
  expect(hessian.deadChannels()).toHaveLength(30);
  placed(team, new Float32Array(30), (address) => hessian.add(address, 30, 0));
  expect(hessian.tokens).toBe(0);
});

test('channels that are dead, and channels that are not finite', () => {
  const team = linearTeam();
  const n = 300;
  const x = activations(20, n, 9);
  for (let row = 0; row < 20; row++) x[row * n + 7] = x[row * n + 299] = 0;
  x[3 * n + 5] = Number.NaN;
  x[9 * n + 280] = Number.NEGATIVE_INFINITY;
  x[260] = 1e20;
  const hessian = hessianOf(team, x, n);
  expect(hessian.deadChannels()).toEqual([7, 299]);
  const notFinite = [...hessian.diagonal().entries()].filter(([, value]) => !Number.isFinite(value));
  expect(notFinite.map(([channel]) => channel)).toEqual([5, 260, 280]);
});
