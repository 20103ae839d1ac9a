import { afterEach, describe, expect, test } from 'vitest';
import { factorHessian, NotFiniteHessianError, NotPositiveDefiniteError } from '../../src/compute/factor.ts';
import type { Hessian } from '../../src/compute/hessian.ts';
import type { Team } from '../../src/compute/team.ts';
import { elementOf, TILE_BYTES, TilePool, Tiles } from '../../src/compute/tiles.ts';
import { activations, choleskyOf, gaussian, inverseOf, type Matrix, matrix, relativeError } from './dense.ts';
import { closeTeams, hessianOf, linearTeam, panelOf, placed, rowsOf } from './linear-team.ts';

afterEach(closeTeams);

/** R R^T for R upper triangular. */
const squareOf = (r: Matrix): Matrix =>
  matrix(r.length, r.length, (i, j) => {
    let sum = 0;
    for (let k = Math.max(i, j); k < r.length; k++) sum += r[i][k] * r[j][k];
    return sum;
  });

/** A permutation of n. */
function shuffled(n: number, seed: number): Int32Array {
  const normal = gaussian(seed);
  const keys = Array.from({ length: n }, normal);
  return Int32Array.from(keys.map((_, i) => i).sort((a, b) => keys[a] - keys[b]));
}

/** What R R^T has to be: the Hessian in the order given, damped, dead channels 1. */
function targetOf(team: Team, hessian: Hessian, lambda: number, order: ArrayLike<number>): Matrix {
  const h = rowsOf(team, hessian);
  const dead = new Set(hessian.deadChannels());
  return matrix(h.length, h.length, (i, j) => {
    if (i === j) return dead.has(order[i]) ? 1 : h[order[i]][order[i]] + lambda;
    return dead.has(order[i]) || dead.has(order[j]) ? 0 : h[order[i]][order[j]];
  });
}

const natural = (n: number) => Int32Array.from({ length: n }, (_, i) => i);

describe.each([1, 5, 255, 256, 257, 700])('%i channels', (n) => {
  test.each(['natural', 'shuffled'])('R R^T = H + lambda, %s order', (kind) => {
    const team = linearTeam();
    const hessian = hessianOf(team, activations(2 * n + 3, n, n), n);
    const order = kind === 'natural' ? natural(n) : shuffled(n, n);
    const factor = factorHessian(
      team,
      hessian,
      kind === 'natural' ? { damping: 0.01 } : { damping: 0.01, order },
    );
    const mean = hessian.diagonal().reduce((sum, value) => sum + value, 0) / n;
    expect(factor.lambda).toBeCloseTo(0.01 * mean, 10);
    expect(factor).toMatchObject({ n, damping: 0.01, escalations: 0 });
    const target = targetOf(team, hessian, factor.lambda, order);
    const r = panelOf(team, factor);
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) if (r[i][j] !== 0) expect.unreachable();
    expect(relativeError(squareOf(r), target, (i) => target[i][i])).toBeLessThan(1e-6);
    expect(factor.diagonal().every((value, i) => Math.fround(value) === r[i][i])).toBe(true);
  });
});

test('panels anywhere', () => {
  const team = linearTeam();
  const n = 600;
  const factor = factorHessian(team, hessianOf(team, activations(700, n, 1), n), { damping: 0.01 });
  const all = panelOf(team, factor);
  for (const [start, width] of [
    [0, 32],
    [250, 20],
    [256, 256],
    [100, 500],
    [599, 1],
    [512, 88],
    [7, 0],
  ]) {
    const part = all.slice(start, start + width).map((row) => row.slice(start));
    expect(panelOf(team, factor, start, width)).toEqual(part);
  }
});

test('the same bits at any number of threads and wherever the tiles are; the Hessian stays; all memory comes back', () => {
  const n = 700;
  const x = activations(900, n, 2);
  const order = shuffled(n, 3);
  const run = (threads: number, maxBytes: number) => {
    const team = linearTeam(threads);
    const pool = new TilePool(team, { maxBytes });
    const hessian = hessianOf(team, x, n, { pool });
    const before = rowsOf(team, hessian);
    const free = team.arena.free;
    const factor = factorHessian(team, hessian, { damping: 0.01, order });
    expect(team.arena.free).toBe(free);
    expect(rowsOf(team, hessian)).toEqual(before);
    const found = { r: panelOf(team, factor), diagonal: factor.diagonal(), condition: factor.condition };
    pool.close();
    return found;
  };
  const one = run(1, Number.POSITIVE_INFINITY);
  expect(run(3, Number.POSITIVE_INFINITY)).toEqual(one);
  expect(run(2, 0)).toEqual(one);
  expect(run(2, 8 << 20)).toEqual(one); // the Hessian in memory, the factor in a file
});

/** Rounds column by column to multiples of `step`, with the errors of earlier columns taken over by R. */
function roundByFactor(weights: number[], r: Matrix, step: number): { q: number[]; loss: number } {
  const errors: number[] = [];
  let loss = 0;
  const q = weights.map((w, j) => {
    let target = w;
    for (const [i, error] of errors.entries()) target += (error * r[i][j]) / r[j][j];
    const code = step * Math.round(target / step);
    errors.push(w - code);
    loss += (r[j][j] * (target - code)) ** 2;
    return code;
  });
  return { q, loss };
}

/** Frantar et al., "GPTQ", algorithm 1 with blocks of one column: rounds by the Cholesky factor of the inverse. */
function roundByInverse(weights: number[], h: Matrix, step: number): number[] {
  const n = weights.length;
  const lower = choleskyOf(inverseOf(h)); // its transpose is the upper factor of the paper
  const w = [...weights];
  return w.map((_, j) => {
    const code = step * Math.round(w[j] / step);
    const error = (w[j] - code) / lower[j][j];
    for (let k = j; k < n; k++) w[k] -= error * lower[k][j];
    return code;
  });
}

test.each([
  [16, 40],
  [100, 60],
  [257, 300],
])(
  'rounding with feedback by R: the loss is exact, codes are those of GPTQ; %i channels, %i tokens',
  (n, tokens) => {
    const team = linearTeam();
    const hessian = hessianOf(team, activations(tokens, n, 10), n);
    const order = shuffled(n, 11);
    const factor = factorHessian(team, hessian, { damping: 0.01, order });
    const r = panelOf(team, factor);
    const target = targetOf(team, hessian, factor.lambda, order);
    const normal = gaussian(12);
    for (let row = 0; row < 8; row++) {
      const weights = Array.from({ length: n }, normal);
      const { q, loss } = roundByFactor(weights, r, 0.7);
      expect(q).toEqual(roundByInverse(weights, target, 0.7));
      const e = weights.map((w, j) => w - q[j]);
      let form = 0;
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) form += e[i] * target[i][j] * e[j];
      expect(Math.abs(loss - form)).toBeLessThan(1e-5 * form);
      const values = Float32Array.from(order, () => 0);
      for (const [place, channel] of order.entries()) values[channel] = e[place];
      const undamped = placed(team, values, (address) => hessian.quadraticForm(address, n, 1));
      const ridge = factor.lambda * e.reduce((sum, value) => sum + value * value, 0);
      expect(Math.abs(undamped + ridge - form)).toBeLessThan(1e-4 * form);
    }
  },
);

test('dead channels have 1 on the diagonal and touch no other; they do not count for the damping', () => {
  const team = linearTeam();
  const n = 300;
  const x = activations(400, n, 20);
  for (let row = 0; row < 400; row++) {
    x[row * n + 3] = x[row * n + 290] = 0;
    x[row * n + 150] = 1e-30; // its square vanishes, its products do not
    x[row * n + 151] *= 1e10;
  }
  const hessian = hessianOf(team, x, n);
  expect(hessian.deadChannels()).toEqual([3, 150, 290]);
  expect(rowsOf(team, hessian, 150, 1)[0][151]).not.toBe(0);
  const factor = factorHessian(team, hessian, { damping: 0.01 });
  const live = [...hessian.diagonal()].filter((value) => value > 0);
  expect(factor.lambda / (0.01 * (live.reduce((a, b) => a + b) / live.length))).toBeCloseTo(1, 12);
  const r = panelOf(team, factor);
  for (const dead of [3, 150, 290]) {
    for (let i = 0; i < n; i++) {
      expect([r[dead][i], r[i][dead]]).toEqual(i === dead ? [1, 1] : [0, 0]);
    }
  }
});

test('all channels dead', () => {
  const team = linearTeam();
  const factor = factorHessian(team, hessianOf(team, new Float32Array(20), 10), { damping: 0.01 });
  expect(panelOf(team, factor)).toEqual(matrix(10, 10, (i, j) => (i === j ? 1 : 0)));
  expect(factor).toMatchObject({ lambda: 0, escalations: 0, condition: 1 });
});

test('fewer tokens than channels: damping makes it work', () => {
  const team = linearTeam();
  const n = 300;
  const hessian = hessianOf(team, activations(50, n, 30), n);
  const factor = factorHessian(team, hessian, { damping: 0.01 });
  expect(factor.escalations).toBe(0);
  const target = targetOf(team, hessian, factor.lambda, natural(n));
  expect(relativeError(squareOf(panelOf(team, factor)), target, (i) => target[i][i])).toBeLessThan(1e-6);
});

test('without damping a singular Hessian fails, and damping is raised until it does not', () => {
  const team = linearTeam();
  const n = 300;
  const hessian = hessianOf(team, activations(50, n, 30), n);
  const factor = factorHessian(team, hessian, { damping: 0 });
  expect(factor.escalations).toBeGreaterThan(0);
  expect(factor.damping).toBe(1e-4 * 10 ** (factor.escalations - 1));
  const target = targetOf(team, hessian, factor.lambda, natural(n));
  expect(relativeError(squareOf(panelOf(team, factor)), target, (i) => target[i][i])).toBeLessThan(1e-5);
});

test('without damping a regular Hessian is factored as it is', () => {
  const team = linearTeam();
  const factor = factorHessian(team, hessianOf(team, activations(500, 60, 31), 60), { damping: 0 });
  expect(factor).toMatchObject({ damping: 0, lambda: 0, escalations: 0 });
});

test('the condition is a lower bound, exact for a diagonal matrix', () => {
  const team = linearTeam();
  const x = new Float32Array(9);
  [x[0], x[4], x[8]] = [1, 10, 4];
  expect(factorHessian(team, hessianOf(team, x, 3), { damping: 0 }).condition).toBeCloseTo(100, 10);
  const hessian = hessianOf(team, activations(500, 60, 32), 60);
  const full = factorHessian(team, hessian, { damping: 0.01 });
  const target = targetOf(team, hessian, full.lambda, natural(60));
  const condition = largestEigenvalueOf(target) * largestEigenvalueOf(inverseOf(target));
  expect(full.condition).toBeGreaterThan(condition / 100);
  expect(full.condition).toBeLessThan(condition);
});

/** By power iteration. */
function largestEigenvalueOf(a: Matrix): number {
  let vector = a.map(() => 1);
  let value = 0;
  for (let step = 0; step < 500; step++) {
    const next = a.map((row) => row.reduce((sum, element, j) => sum + element * vector[j], 0));
    value = Math.hypot(...next);
    vector = next.map((element) => element / value);
  }
  return value;
}

/** Changes elements (row, column), column <= row, in the first tile of a Hessian. */
function change(
  team: Team,
  hessian: Hessian,
  elements: readonly (readonly [number, number, number])[],
): void {
  const tiles = new Tiles(team.scope, hessian.tiles);
  team.arena.scoped(() => {
    const address = team.arena.take(TILE_BYTES, 'a tile');
    tiles.load(0, address);
    const values = team.scope.doubles(address, TILE_BYTES / 8);
    for (const [row, column, value] of elements) values[elementOf(row, column)] = value;
    tiles.store(0, address);
  });
}

test('a pivot that is no more than rounding counts as none', () => {
  const team = linearTeam();
  const n = 64;
  const identity = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  const hessian = hessianOf(team, identity, n);
  for (const [excess, escalations] of [
    [2 ** -48, 1],
    [2 ** -40, 0],
  ]) {
    change(team, hessian, [
      [1, 0, 1],
      [1, 1, 1 + excess],
    ]);
    expect(factorHessian(team, hessian, { damping: 0 })).toMatchObject({ escalations });
  }
});

test('a matrix that is not positive definite is refused with advice', () => {
  const team = linearTeam();
  const hessian = hessianOf(team, activations(500, 20, 33), 20);
  const [first, last] = [hessian.diagonal()[0], hessian.diagonal()[19]];
  change(team, hessian, [[19, 0, 9 * Math.sqrt(first * last)]]);
  const act = () => factorHessian(team, hessian, { damping: 0.01, tensor: 'blk.3.ffn_down.weight' });
  expect(act).toThrow(NotPositiveDefiniteError);
  expect(act).toThrow(/blk\.3\.ffn_down\.weight[\s\S]*500 tokens[\s\S]*more text/);
});

test('a Hessian that is not finite is refused with the channel', () => {
  const team = linearTeam();
  const x = activations(10, 20, 34);
  x[47] = Number.POSITIVE_INFINITY;
  const hessian = hessianOf(team, x, 20);
  const act = () => factorHessian(team, hessian, { damping: 0.01, tensor: 'blk.0.attn_q.weight' });
  expect(act).toThrow(NotFiniteHessianError);
  expect(act).toThrow(/blk\.0\.attn_q\.weight[\s\S]*channel 7/);
});
