import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { ropeTable } from '../../src/calibrate/forward/rope.ts';
import type { Rope } from '../../src/calibrate/forward/shape.ts';
import type { Team } from '../../src/compute/team.ts';
import { forwardTeam } from '../support/forward.ts';
import { gaussian } from '../support/random.ts';

/** Kernels of the forward pass against their definitions in float64, at lengths that fill no vector too. */

let team: Team;
beforeAll(() => {
  team = forwardTeam(1, 16 << 20);
});
afterAll(() => team.close());

const next = gaussian(3);
/** n normal numbers in the team's memory. */
function put(n: number, scale = 1): { at: number; values: Float32Array; before: Float64Array } {
  const at = team.arena.takeFloats(n + 4, 'test');
  const values = team.scope.floats(at, n);
  for (let i = 0; i < n; i++) values[i] = scale * next();
  // What lies behind must not matter, nor be written.
  team.scope.floats(at + 4 * n, 4).fill(Number.NaN);
  return { at, values, before: Float64Array.from(values) };
}

function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < found.length; i++) {
    const gap = Math.abs(found[i] - expected[i]) / Math.max(1e-30, Math.abs(expected[i]));
    expect([i, gap <= tolerance, found[i], expected[i]]).toEqual([i, true, found[i], expected[i]]);
  }
}

describe.each([1, 2, 3, 4, 5, 7, 8, 30, 64])('length %i', (n) => {
  const scoped = (act: () => void) => () => team.arena.scoped(act);

  it(
    'rmsNorm',
    scoped(() => {
      const rows = 3;
      const [x, weight, out] = [put(rows * (n + 1)), put(n), put(rows * (n + 2))];
      team.scope.compute.rmsNorm(x.at, n + 1, weight.at, out.at, n + 2, rows, n, 0.01);
      for (let row = 0; row < rows; row++) {
        const values = [...x.before.subarray(row * (n + 1), row * (n + 1) + n)];
        const mean = values.reduce((sum, value) => sum + value * value, 0) / n;
        const expected = values.map((value, i) => (value / Math.sqrt(mean + 0.01)) * weight.before[i]);
        expectClose(out.values.subarray(row * (n + 2), row * (n + 2) + n), expected, 1e-6);
        expect(out.values[row * (n + 2) + n]).toBe(out.before[row * (n + 2) + n]);
      }
    }),
  );

  it(
    'siluMultiply',
    scoped(() => {
      const [gate, up] = [put(n, 20), put(n)];
      team.scope.compute.siluMultiply(gate.at, up.at, n);
      expectClose(
        gate.values,
        gate.before.map((x, i) => (x / (1 + Math.exp(-x))) * up.before[i]),
        1e-6,
      );
    }),
  );

  it(
    'causalSoftmax',
    scoped(() => {
      const [rows, ld] = [3, n + 6];
      const scores = put(rows * ld, 10);
      team.scope.compute.causalSoftmax(scores.at, ld, rows, n - 1, n + 4, 0.3);
      for (let row = 0; row < rows; row++) {
        const own = [...scores.before.subarray(row * ld, row * ld + n + row)].map((x) => Math.exp(0.3 * x));
        const sum = own.reduce((total, x) => total + x, 0);
        const expected = [...own.map((x) => x / sum), ...new Array(4 - row).fill(0)];
        expectClose(scores.values.subarray(row * ld, row * ld + n + 4), expected, 3e-6);
        expect(scores.values[row * ld + n + 4]).toBe(scores.before[row * ld + n + 4]);
      }
    }),
  );

  it(
    'rows',
    scoped(() => {
      const { compute } = team.scope;
      const [rows, ld] = [37, n + 1];
      const [x, addend] = [put(rows * ld), put(n)];
      const sums = team.arena.take(8 * (n + 1), 'sums');
      const totals = team.scope.doubles(sums, n + 1).fill(5);
      compute.addColumnSquares(x.at, ld, rows, n, sums);
      const expected = Float64Array.from({ length: n + 1 }, () => 5);
      for (let i = 0; i < rows * ld; i++) if (i % ld < n) expected[i % ld] += x.before[i] ** 2;
      expectClose(totals, expected, 1e-6);

      compute.addToRows(x.at, ld, rows, n, addend.at);
      expectClose(
        x.values,
        x.before.map((value, i) => (i % ld < n ? value + addend.before[i % ld] : value)),
        1e-5,
      );
      const other = put(n);
      compute.addScaled(other.at, addend.at, n, 0.5);
      expectClose(
        other.values,
        other.before.map((value, i) => Math.fround(value + 0.5 * addend.before[i])),
        1e-5,
      );

      expect(compute.allFinite(other.at, n)).toBe(1);
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        for (const place of [0, n - 1]) {
          const kept = other.values[place];
          other.values[place] = bad;
          expect(compute.allFinite(other.at, n)).toBe(0);
          other.values[place] = kept;
        }
      }
      other.values.fill(3e38); // large, and their sum is no float32
      expect(compute.allFinite(other.at, n)).toBe(1);
    }),
  );

  it(
    'addToNormalizer and addToDivergence, whole and in parts',
    scoped(() => {
      const { compute } = team.scope;
      const [x, y] = [put(n, 8), put(n, 8)];
      for (const cut of [n, Math.ceil(n / 3)]) {
        const state = team.arena.take(32, 'state');
        const found = team.scope.doubles(state, 4);
        found.set([Number.NEGATIVE_INFINITY, 0, -1, 0]);
        for (let from = 0; from < n; from += cut) {
          compute.addToDivergence(x.at + 4 * from, y.at + 4 * from, Math.min(cut, n - from), from, state);
        }
        const max = Math.max(...x.values);
        const weights = x.before.map((value) => Math.exp(value - max));
        const sum = weights.reduce((total, weight) => total + weight, 0);
        const cross = weights.reduce((total, weight, i) => total + weight * (x.before[i] - y.before[i]), 0);
        expect([found[0], found[2]]).toEqual([max, x.values.indexOf(max)]);
        expect(found[1] / sum).toBeCloseTo(1, 13);
        expect(Math.abs(found[3] - cross)).toBeLessThan(1e-12 * (1 + Math.abs(cross)));
        const alone = team.scope.doubles(team.arena.take(32, 'state'), 4);
        alone.set([Number.NEGATIVE_INFINITY, 0, -1, 0]);
        for (let from = 0; from < n; from += cut) {
          compute.addToNormalizer(x.at + 4 * from, Math.min(cut, n - from), from, alone.byteOffset);
        }
        expect([...alone.subarray(0, 3)]).toEqual([...found.subarray(0, 3)]);
      }
    }),
  );
});

const rope: Rope = {
  layout: 'pairs',
  base: 10_000,
  scale: 1,
  yarnContext: null,
  magnitude: 1,
  originalContext: 64,
};

describe.each([2, 4, 6, 8, 10, 64])('rotary embedding of heads of %i', (size) => {
  test.each(['pairs', 'halves'] as const)('%s', (layout) => {
    team.arena.scoped(() => {
      const [heads, position] = [3, 5];
      const table = ropeTable({ ...rope, layout }, size, position + 1, null);
      const at = team.arena.takeFloats(2 * size, 'table');
      team.scope.floats(at, 2 * size).set(table.subarray(2 * size * position));
      const x = put(heads * size);
      team.scope.compute[layout === 'pairs' ? 'ropePairs' : 'ropeHalves'](x.at, heads, size, at);
      for (let head = 0; head < heads; head++) {
        for (let pair = 0; pair < size / 2; pair++) {
          const angle = position * 10_000 ** ((-2 * pair) / size);
          const [first, second] = layout === 'pairs' ? [2 * pair, 2 * pair + 1] : [pair, pair + size / 2];
          const [i, j] = [head * size + first, head * size + second];
          const [a, b] = [x.before[i], x.before[j]];
          expect(x.values[i]).toBeCloseTo(a * Math.cos(angle) - b * Math.sin(angle), 5);
          expect(x.values[j]).toBeCloseTo(a * Math.sin(angle) + b * Math.cos(angle), 5);
        }
      }
    });
  });
});

test('exponentials hold over their range', () => {
  team.arena.scoped(() => {
    // silu(x) * 1 / x is 1 / (1 + e^-x), whose parts show e^-x where it is large.
    const n = 4000;
    const [gate, up] = [put(n), put(n)];
    up.values.fill(1);
    gate.values.set(Float32Array.from({ length: n }, (_, i) => -80 + i / 25));
    const before = Float64Array.from(gate.values);
    team.scope.compute.siluMultiply(gate.at, up.at, n);
    expectClose(
      gate.values,
      before.map((x) => x / (1 + Math.exp(-x))),
      1e-6,
    );
    gate.values.set([-3e38, 3e38, Number.NaN, 0]);
    team.scope.compute.siluMultiply(gate.at, up.at, 4);
    expect(Math.abs(gate.values[0])).toBeLessThan(10);
    expect([...gate.values.subarray(1, 4)]).toEqual([Math.fround(3e38), Number.NaN, 0]);
  });
});
