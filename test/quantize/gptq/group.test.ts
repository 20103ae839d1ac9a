import { describe, expect, test } from 'vitest';
import { compileCompute, REPRODUCIBLE } from '../../../src/compute/gemm-choice.ts';
import { openScope } from '../../../src/compute/scope.ts';
import type { TypeName } from '../../../src/core/types.ts';
import type { BlockKernels } from '../../../src/quantize/gptq/block-kernels.ts';
import { CODER_BYTES, GroupCoder } from '../../../src/quantize/gptq/coder.ts';
import { GROUP_WIDTH, type Grid, gridOf } from '../../../src/quantize/gptq/grid.ts';
import { GROUP_BYTES, Group } from '../../../src/quantize/gptq/group.ts';
import { GroupImprover } from '../../../src/quantize/gptq/improver.ts';
import { writeCurvature, writeLoss } from '../../../src/quantize/gptq/loss.ts';
import { scalarBlockKernels } from '../../../src/quantize/gptq/scalar.ts';
import { GPTQ_SCRATCH_BYTES } from '../../../src/quantize/gptq/tasks.ts';
import { activations, choleskyOf, gramOf, type Matrix, matrix } from '../../compute/dense.ts';
import { gaussian } from '../../support/random.ts';

const n = GROUP_WIDTH;
const memory = new WebAssembly.Memory({ initial: 64, maximum: 65_536, shared: true });
const scope = openScope({
  ...{ memory, module: compileCompute(REPRODUCIBLE) },
  ...{ thread: 0, threads: 1, scratch: 0, scratchBytes: 0, packing: 0, quantization: null, blas: null },
});
const [SCRATCH, PANEL, MADE, GRADIENT] = [1, 5, 10, 20].map((pages) => 65_536 * pages);
expect(GPTQ_SCRATCH_BYTES).toBeLessThan(PANEL - SCRATCH);

const h = gramOf(activations(2 * n, n, 3), n).map((row, i) =>
  row.map((value, j) => value / n + (i === j ? 0.02 : 0)),
);
/** R of H = R R^T, upper: the Cholesky factor of H reversed, reversed. */
const reversed = choleskyOf(matrix(n, n, (i, j) => h[n - 1 - i][n - 1 - j]));
const r = matrix(n, n, (i, j) => reversed[n - 1 - i][n - 1 - j]);

const target = Float32Array.from({ length: n }, gaussian(5)).map((value) => 0.02 * value);

const simd = scope.compute as unknown as BlockKernels;
const twins = scalarBlockKernels(memory.buffer as ArrayBufferLike);

function toolsOf(grid: Grid, kernels = simd) {
  const group = new Group(kernels, memory.buffer as ArrayBufferLike, SCRATCH, grid);
  const coder = new GroupCoder(group, SCRATCH + GROUP_BYTES);
  return { group, coder, improver: new GroupImprover(group, SCRATCH + GROUP_BYTES + CODER_BYTES) };
}

function lossOf(grid: Grid) {
  scope.floats(PANEL, n * n).set(r.flat());
  const facts = { n, diagonal: Float64Array.from(h, (row, i) => row[i]), lambda: 0.02 };
  return writeLoss(scope, facts, grid, 0, n, PANEL, MADE);
}

function curvatureOf(grid: Grid) {
  scope.floats(PANEL, n * n).set(h.flat());
  return writeCurvature(scope, n, grid, 0, n, PANEL, MADE);
}

/** ||e R||^2, by definition. */
function lossAt(errors: readonly number[], factor: Matrix): number {
  let total = 0;
  for (let j = 0; j < n; j++) {
    let sum = 0;
    for (let i = 0; i <= j; i++) sum += errors[i] * factor[i][j];
    total += sum * sum;
  }
  return total;
}

/** e H. */
const gradientOf = (errors: readonly number[]): number[] =>
  Array.from({ length: n }, (_, j) => errors.reduce((sum, e, i) => sum + e * h[i][j], 0));

const types: TypeName[] = [
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q6_K',
  'Q4_0',
  'Q5_1',
  'Q8_0',
  'IQ4_NL',
  'IQ4_XS',
  'TQ2_0',
];

describe.each(types)('%s', (type) => {
  const grid = gridOf(type)!;
  const errorsOf = ({ decoded }: Group) => Array.from(target, (t, j) => t - decoded[j]);
  const codeAt = (refits: number, kernels = simd) => {
    const loss = lossOf(grid);
    const { group, coder, improver } = toolsOf(grid, kernels);
    group.target.set(target);
    return { group, improver, loss: coder.code(loss, refits) };
  };

  test('the loss is that of the errors, and refits never raise it', () => {
    let before = Number.POSITIVE_INFINITY;
    for (const refits of [0, 1, 3]) {
      const { group, loss } = codeAt(refits);
      const expected = lossAt(errorsOf(group), r);
      expect(Math.abs(loss - expected)).toBeLessThan(1e-4 * expected);
      expect(loss).toBeLessThanOrEqual(before);
      before = loss;
    }
  });

  test('the twins of the kernels find the same', () => {
    const results = [simd, twins].map((kernels) => {
      const { group, improver, loss } = codeAt(1, kernels);
      const curvature = curvatureOf(grid);
      scope.floats(GRADIENT, n).set(gradientOf(errorsOf(group)));
      improver.improve(curvature, GRADIENT, true);
      return {
        loss,
        scales: structuredClone(group.scales),
        levels: [...group.levels],
        decoded: [...group.decoded],
      };
    });
    expect(results[1]).toEqual(results[0]);
  });

  test('improvements never raise the loss, and the gradient stays that of the errors', () => {
    const { group, improver } = codeAt(3);
    const curvature = curvatureOf(grid);
    scope.floats(GRADIENT, n).set(gradientOf(errorsOf(group)));
    const first = lossAt(errorsOf(group), r);
    let before = first;
    let rounds = 0;
    while (improver.improve(curvature, GRADIENT, true) && rounds < 30) {
      const errors = errorsOf(group);
      const loss = lossAt(errors, r);
      expect(loss).toBeLessThan(before * (1 + 1e-6));
      before = loss;
      rounds++;
      const gradient = gradientOf(errors);
      const largest = Math.max(...gradient.map(Math.abs));
      scope.floats(GRADIENT, n).forEach((value, j) => {
        expect(Math.abs(value - gradient[j])).toBeLessThan(1e-3 * largest);
      });
    }
    expect(rounds).toBeGreaterThan(0);
    expect(rounds).toBeLessThan(30);
    expect(before).toBeLessThan(first);
    // Levels and scales are what is decoded.
    const decoded = Array.from(group.decoded);
    group.decode(n);
    expect(Array.from(group.decoded)).toEqual(decoded);
  });
});
