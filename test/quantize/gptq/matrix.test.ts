import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Factor, factorHessian } from '../../../src/compute/factor.ts';
import type { Hessian } from '../../../src/compute/hessian.ts';
import type { TaskFailure, Team } from '../../../src/compute/team.ts';
import { bytesOf, dataTypes, type TypeName } from '../../../src/core/types.ts';
import { takesGptq } from '../../../src/plan/calibration.ts';
import { encoders, weightedEncoders } from '../../../src/quantize/format/index.ts';
import type { Matrix } from '../../compute/dense.ts';
import { rowsOf } from '../../compute/linear-team.ts';
import { classicFactor, classicGptq, classicTypes, valuesOf } from './classic.ts';
import { closeTeams, coded, decodedBytes, gptqTeam, hessianOf, newTeam, weightsOf } from './matrix-team.ts';

afterEach(closeTeams);

const types = (Object.keys(dataTypes) as TypeName[]).filter(takesGptq);
const damped = (team: Team, hessian: Hessian, order?: number[]): Factor =>
  factorHessian(team, hessian, { damping: 0.01, ...(order && { order }) });

/** tr(E H E^T) in float64. */
function lossOf(h: number[][], errors: Float64Array): number {
  const n = h.length;
  let sum = 0;
  for (let row = 0; row < errors.length; row += n) {
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) sum += errors[row + i] * h[i][j] * errors[row + j];
  }
  return sum;
}

/** sum H_jj e_j^2 over all rows. */
function weightedError(hessian: Hessian, weights: Float32Array, decoded: Float32Array): number {
  const diagonal = hessian.diagonal();
  return weights.reduce((sum, w, i) => sum + diagonal[i % hessian.n] * (w - decoded[i]) ** 2, 0);
}

/** What weights become by ggml's coding under importance; by its plain one where it has no other. */
function codedByGgml(type: TypeName, weights: Float32Array, importance: Float64Array): Float32Array {
  const bytes = new Uint8Array(bytesOf(type, weights.length));
  const weighted = weightedEncoders[type];
  if (weighted === undefined) encoders[type]!(weights, bytes);
  else weighted(weights, bytes, importance.length, Float32Array.from(importance));
  return decodedBytes(type, bytes, weights.length);
}

test('the types are those whose codes stand for one weight each', () => {
  expect(types).toEqual(
    expect.arrayContaining(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K']),
  );
  expect(types).toEqual(expect.arrayContaining(['IQ4_NL', 'IQ4_XS', 'TQ1_0', 'TQ2_0']));
  expect(types).toHaveLength(14);
});

/** What all types are coded by. */
const columns = 512;
let common: { readonly team: Team; readonly hessian: Hessian; readonly factor: Factor };
beforeAll(() => {
  const team = newTeam();
  const hessian = hessianOf(team, columns);
  common = { team, hessian, factor: damped(team, hessian) };
});
afterAll(() => common.team.close());

describe.each(types)('%s', (type) => {
  const weights = weightsOf(9, columns);

  test('loses less than ggml with importance, and each step less than the one before', () => {
    const { team, hessian, factor } = common;
    const nearest = coded(team, weights, { type, hessian, factor: null });
    const once = coded(team, weights, { type, hessian, factor, refits: 0, sweeps: 0, compare: false });
    const refitted = coded(team, weights, { type, hessian, factor, refits: 3, sweeps: 0, compare: false });
    const swept = coded(team, weights, { type, hessian, factor, compare: false });
    // Rounding each weight by itself knows the diagonal alone, so it is the error under the diagonal that it lowers.
    const ggml = codedByGgml(type, weights, hessian.diagonal());
    expect(weightedError(hessian, weights, nearest.decoded)).toBeLessThan(
      weightedError(hessian, weights, ggml),
    );
    expect(once.result).toBeLessThan(0.5 * nearest.weighted!);
    // A refit lowers the loss of its group, and the next groups then have other targets: nearly always a gain.
    expect(refitted.result).toBeLessThan(1.005 * once.result);
    expect(swept.result).toBeLessThan(0.99 * refitted.result);
    expect([once.plain, once.weighted]).toEqual([null, null]);
  });

  test('bytes decode to what takes the place of the weights, and the error is that of these', () => {
    const { team, hessian, factor } = common;
    const h = rowsOf(team, hessian);
    for (const by of [factor, null]) {
      const { bytes, decoded, result } = coded(team, weights, { type, hessian, factor: by, compare: false });
      expect(decodedBytes(type, bytes, decoded.length)).toEqual(decoded);
      const errors = Float64Array.from(weights, (weight, i) => weight - decoded[i]);
      const expected = lossOf(h, errors) / lossOf(h, Float64Array.from(weights));
      expect(Math.abs(result - expected)).toBeLessThan(1e-4 * expected);
    }
  });
});

test.each(['Q4_0', 'Q2_K', 'Q6_K', 'IQ4_XS', 'TQ2_0'] as const)(
  '%s: the same bytes at 1 and 3 threads, and with memory for few rows',
  (type) => {
    const n = 512;
    const weights = weightsOf(9, n);
    const codedAt = (threads: number, taken: number) => {
      const team = gptqTeam(threads);
      const hessian = hessianOf(team, n);
      const factor = damped(team, hessian);
      if (taken > 0) team.arena.take(team.arena.free - taken, 'what leaves little');
      return coded(team, weights, { type, hessian, factor, sweeps: 1 });
    };
    const alone = codedAt(1, 0);
    expect(codedAt(3, 0)).toEqual(alone);
    // Measured in slabs the sums are added in another order.
    expect(codedAt(1, 33 << 20).bytes).toEqual(alone.bytes);
  },
);

/** Of the Hessian below, by the step of the order: the same for all types. */
const classicFactors = new Map<number, Matrix>();

test.each(classicTypes)('%s: scales fixed beforehand and columns in order give the classic codes', (type) => {
  const team = gptqTeam();
  const n = 256;
  const weights = weightsOf(4, n, 2);
  const hessian = hessianOf(team, n);
  const h = rowsOf(team, hessian);
  for (const step of [1, 205]) {
    const order = Array.from({ length: n }, (_, i) => (i * step) % n);
    const factor = damped(team, hessian, order);
    const { bytes, decoded } = coded(team, weights, { type, hessian, factor, order, sweeps: 0 });
    const damp = h.map((row, i) => row.map((value, j) => value + (i === j ? factor.lambda : 0)));
    const lower = classicFactors.get(step) ?? classicFactor(damp, order);
    classicFactors.set(step, lower);
    const expected = classicGptq(valuesOf(type, bytes, weights.length), weights, lower, order);
    expect(decoded.filter((value, i) => value !== expected[i])).toHaveLength(0);
  }
});

test.each(['Q4_K', 'Q5_1', 'Q6_K', 'TQ2_0'] as const)('%s: dead channels are rounded to nearest', (type) => {
  const team = gptqTeam();
  const n = 256;
  const weights = weightsOf(6, n);
  const dead = [0, 3, 40, 41, 42, 255];
  const hessian = hessianOf(team, n, dead);
  expect(hessian.deadChannels()).toEqual(dead);
  const factor = damped(team, hessian);
  const { bytes, decoded } = coded(team, weights, { type, hessian, factor, compare: false });
  const steps = distinctSteps(type, bytes, weights.length);
  for (let row = 0; row < weights.length; row += n) {
    for (const channel of dead) {
      const at = row + channel;
      const nearest = Math.min(...steps(at).map((value) => Math.abs(value - weights[at])));
      expect(Math.abs(decoded[at] - weights[at])).toBeLessThan(nearest * 1.0001 + 1e-9);
    }
  }
});

/** Values that a weight can take, of types that `valuesOf` does not know: those of its neighbours with the same scale. */
function distinctSteps(type: TypeName, bytes: Uint8Array, n: number): (at: number) => number[] {
  if (classicTypes.includes(type)) {
    const values = valuesOf(type, bytes, n);
    return (at) => values[at];
  }
  const decoded = decodedBytes(type, bytes, n);
  return (at) => [...decoded.subarray(at - (at % 256), at - (at % 256) + 256)];
}

test.each(['Q4_0', 'Q5_1', 'Q8_0', 'IQ4_NL'] as const)('%s: rows that no super-block divides', (type) => {
  const team = gptqTeam();
  const n = 352;
  const weights = weightsOf(5, n);
  const hessian = hessianOf(team, n);
  const { result, weighted, bytes, decoded } = coded(team, weights, {
    ...{ type, hessian, factor: damped(team, hessian) },
  });
  expect(result).toBeLessThan(0.5 * weighted!);
  expect(decodedBytes(type, bytes, weights.length)).toEqual(decoded);
});

test('codes come near the targets, and errors are the distance from these', () => {
  const team = gptqTeam();
  const n = 256;
  const weights = weightsOf(4, n);
  const hessian = hessianOf(team, n);
  const factor = damped(team, hessian);
  const job = { type: 'Q6_K', hessian, factor } as const;
  const targets = weights.map((weight, i) => weight + (i % 5) * 0.001);
  const alone = coded(team, targets, job);
  const aimed = coded(team, weights, { ...job, targets });
  expect(aimed.bytes).toEqual(alone.bytes);
  expect(aimed.result).toBe(alone.result);
  const h = rowsOf(team, hessian);
  const relative = (from: ArrayLike<number>) => {
    const errors = Float64Array.from(from, (value, i) => value - aimed.decoded[i]);
    return lossOf(h, errors) / lossOf(h, Float64Array.from(from));
  };
  const expected = relative(targets);
  expect(relative(weights)).toBeGreaterThan(10 * expected);
  expect(Math.abs(aimed.result - expected)).toBeLessThan(1e-4 * expected);
});

test.each([3e30, -1e9])('a scale beyond float16 is refused, with its place: for %f', (value) => {
  const team = gptqTeam(2);
  const n = 512;
  const weights = weightsOf(20, n);
  weights[17 * n + 300] = value;
  const hessian = hessianOf(team, n);
  const factor = damped(team, hessian);
  for (const type of types) {
    try {
      coded(team, weights, { type, hessian, factor, compare: false });
      expect.unreachable();
    } catch (error) {
      expect((error as TaskFailure).failure).toEqual({ cause: 'scale', row: 17, column: 256 });
    }
  }
});

test.each(['Q4_K', 'Q4_0'] as const)('%s: columns in another order improve as others do', (type) => {
  const team = gptqTeam();
  const n = 512;
  const weights = weightsOf(9, n);
  const hessian = hessianOf(team, n);
  const diagonal = hessian.diagonal();
  const order = Array.from(diagonal, (_, i) => i).sort((i, j) => diagonal[j] - diagonal[i]);
  const job = { type, hessian, factor: damped(team, hessian, order), order };
  const once = coded(team, weights, { ...job, sweeps: 0 });
  const swept = coded(team, weights, job);
  expect(once.result).toBeLessThan(0.5 * once.weighted!);
  expect(swept.result).toBeLessThan(0.995 * once.result);
  expect(decodedBytes(type, swept.bytes, weights.length)).toEqual(swept.decoded);
});
