import { afterEach, describe, expect, test } from 'vitest';
import { factorHessian } from '../../../src/compute/factor.ts';
import { Hessian } from '../../../src/compute/hessian.ts';
import type { Team } from '../../../src/compute/team.ts';
import { bytesOf, dataTypes, type TypeName } from '../../../src/core/types.ts';
import { takesGptq } from '../../../src/plan/calibration.ts';
import { encoders } from '../../../src/quantize/format/index.ts';
import { closeTeams, coded, decodedBytes, gptqTeam, hessianOf, weightsOf } from './matrix-team.ts';

/** Weights and Hessians at the ends of what there is. */

afterEach(closeTeams);

const types = (Object.keys(dataTypes) as TypeName[]).filter(takesGptq);
const n = 512;
const damped = (team: Team, hessian: Hessian) => factorHessian(team, hessian, { damping: 0.01 });

/** sum (w - q)^2 / sum w^2 over the columns that `among` takes. */
function relativeError(
  weights: Float32Array,
  decoded: Float32Array,
  among: (column: number) => boolean = () => true,
): number {
  let [error, square] = [0, 0];
  weights.forEach((weight, i) => {
    if (!among(i % n)) return;
    error += (weight - decoded[i]) ** 2;
    square += weight ** 2;
  });
  return error / square;
}

describe.each(types)('%s keeps weights whose inputs were always zero', (type) => {
  const weights = weightsOf(4, n);
  const bytes = new Uint8Array(bytesOf(type, weights.length));
  encoders[type]!(weights, bytes);
  const byGgml = relativeError(weights, decodedBytes(type, bytes, weights.length));

  test.each([32, 256, n])('%i channels side by side', (count) => {
    const team = gptqTeam();
    const dead = Array.from({ length: count }, (_, i) => n - count + i);
    const hessian = count === n ? new Hessian(team, n) : hessianOf(team, n, dead);
    for (const factor of [damped(team, hessian), null]) {
      const { decoded, result } = coded(team, weights, { type, hessian, factor, compare: false });
      expect(Number.isFinite(result)).toBe(true);
      const error = relativeError(weights, decoded, (column) => column >= n - count);
      expect(error).toBeLessThan(1.2 * byGgml);
    }
  });
});

test.each(['Q2_K', 'Q4_K', 'Q5_K'] as const)('%s holds rows of one positive value', (type) => {
  const team = gptqTeam();
  const weights = Float32Array.from({ length: 64 * n }, (_, i) => 0.01 + 0.0006 * Math.floor(i / n));
  const hessian = hessianOf(team, n);
  for (const factor of [damped(team, hessian), null]) {
    const { decoded } = coded(team, weights, { type, hessian, factor, compare: false });
    for (let row = 0; row < weights.length; row += n) {
      const error = relativeError(weights.subarray(row, row + n), decoded.subarray(row, row + n));
      expect(error).toBeLessThan(1e-3);
    }
  }
});

/** Near the largest magnitudes that blocks with float16 scales hold: a best scale lies beyond float16. */
test.each([
  ['Q4_0', 5e5],
  ['Q5_0', 1.02e6],
  ['Q8_0', 8.3e6],
  ['IQ4_NL', 8.2e6],
] as const)('%s holds what it can of %f, whatever was coded before', (type, reach) => {
  const weights = weightsOf(16, n);
  for (let row = 0; row < 16; row += 4) {
    for (let j = 32; j < 64; j++) weights[row * n + j] = (j % 3 === 0 ? 1 : -1) * reach;
  }
  const results = [1, 1, 3].map((threads, i) => {
    const team = gptqTeam(threads);
    const hessian = hessianOf(team, n);
    const job = { type, hessian, factor: damped(team, hessian), compare: false };
    if (i > 0) coded(team, weightsOf(8, n, 99), job);
    return coded(team, weights, job);
  });
  expect(relativeError(weights, results[0].decoded)).toBeLessThan(0.01);
  for (const { bytes } of results) expect(bytes).toEqual(results[0].bytes);
});

test('Q6_K holds weights for which its least step is too large, by fewer codes', () => {
  const team = gptqTeam();
  const weights = weightsOf(4, n).map((weight) => weight * 1e-3);
  const hessian = hessianOf(team, n);
  const { decoded } = coded(team, weights, { type: 'Q6_K', hessian, factor: damped(team, hessian) });
  expect(relativeError(weights, decoded)).toBeLessThan(0.01);
});
