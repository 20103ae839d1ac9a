import { afterAll, expect, test } from 'vitest';
import { factorHessian } from '../../../src/compute/factor.ts';
import { dataTypes, type TypeName } from '../../../src/core/types.ts';
import { takesGptq } from '../../../src/plan/calibration.ts';
import { distributions } from '../../support/distributions.ts';
import { closeTeams, coded, decodedBytes, gptqTeam, hessianOf } from './matrix-team.ts';

afterAll(closeTeams);

const n = 256;
const team = gptqTeam();
const hessian = hessianOf(team, n);
const factor = factorHessian(team, hessian, { damping: 0.01 });
const types = (Object.keys(dataTypes) as TypeName[]).filter(takesGptq);
// Weights that are huge have scales beyond float16, in some types.
const kinds = Object.keys(distributions).filter((name) => name !== 'huge');

test.each(types.flatMap((type) => kinds.map((kind) => [type, kind] as const)))('%s, %s', (type, kind) => {
  const weights = distributions[kind](3 * n, 1);
  const { bytes, decoded, result, plain } = coded(team, weights, { type, hessian, factor, sweeps: 1 });
  expect(decoded.every(Number.isFinite)).toBe(true);
  expect(decodedBytes(type, bytes, weights.length)).toEqual(decoded);
  // Where a grid holds the weights but for float16's rounding, ggml may be the luckier.
  expect(result).toBeLessThanOrEqual(plain! + 1e-5);
});
