import { describe, expect, test } from 'vitest';
import { compileCompute, REPRODUCIBLE } from '../../../src/compute/gemm-choice.ts';
import { openScope } from '../../../src/compute/scope.ts';
import type { TypeName } from '../../../src/core/types.ts';
import type { BlockKernels } from '../../../src/quantize/gptq/block-kernels.ts';
import { GROUP_WIDTH, type Grid, gridOf } from '../../../src/quantize/gptq/grid.ts';
import { GROUP_BYTES, GroupCoder } from '../../../src/quantize/gptq/group.ts';
import { writeCurvature, writeLoss } from '../../../src/quantize/gptq/loss.ts';
import { scalarBlockKernels } from '../../../src/quantize/gptq/scalar.ts';
import { activations, choleskyOf, gramOf, type Matrix, matrix } from '../../compute/dense.ts';
import { gaussian } from '../../support/random.ts';

const n = GROUP_WIDTH;
const memory = new WebAssembly.Memory({ initial: 64, maximum: 65_536, shared: true });
const scope = openScope({
  ...{ memory, module: compileCompute(REPRODUCIBLE) },
  ...{ thread: 0, threads: 1, scratch: 0, scratchBytes: 0, packing: 0, quantization: null, blas: null },
});
const [SCRATCH, PANEL, MADE, GRADIENT] = [1, 5, 10, 20].map((pages) => 65_536 * pages);
expect(GROUP_BYTES).toBeLessThan(PANEL - SCRATCH);

const h = gramOf(activations(2 * n, n, 3), n).map((row, i) =>
  row.map((value, j) => value / n + (i === j ? 0.02 : 0)),
);
/** R of H = R R^T, upper: the Cholesky factor of H reversed, reversed. */
const reversed = choleskyOf(matrix(n, n, (i, j) => h[n - 1 - i][n - 1 - j]));
const r = matrix(n, n, (i, j) => reversed[n - 1 - i][n - 1 - j]);

const target = Float32Array.from({ length: n }, gaussian(5)).map((value) => 0.02 * value);

const simd = scope.compute as unknown as BlockKernels;
const twins = scalarBlockKernels(memory.buffer as ArrayBufferLike);

const coderOf = (grid: Grid, kernels = simd): GroupCoder =>
  new GroupCoder(kernels, memory.buffer as ArrayBufferLike, SCRATCH, grid);

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
  const errorsOf = (coder: GroupCoder) => Array.from(target, (t, j) => t - coder.decoded[j]);
  const codeAt = (refits: number, kernels = simd) => {
    const loss = lossOf(grid);
    const coder = coderOf(grid, kernels);
    scope.floats(coder.target, n).set(target);
    return { coder, loss: coder.code(loss, refits) };
  };

  test('the loss is that of the errors, and refits never raise it', () => {
    let before = Number.POSITIVE_INFINITY;
    for (const refits of [0, 1, 3]) {
      const { coder, loss } = codeAt(refits);
      const expected = lossAt(errorsOf(coder), r);
      expect(Math.abs(loss - expected)).toBeLessThan(1e-4 * expected);
      expect(loss).toBeLessThanOrEqual(before);
      before = loss;
    }
  });

  test('the twins of the kernels find the same', () => {
    const results = [simd, twins].map((kernels) => {
      const { coder, loss } = codeAt(1, kernels);
      const curvature = curvatureOf(grid);
      scope.floats(GRADIENT, n).set(gradientOf(errorsOf(coder)));
      coder.improve(curvature, GRADIENT, true);
      return {
        loss,
        scales: structuredClone(coder.scales),
        levels: [...coder.levels],
        decoded: [...coder.decoded],
      };
    });
    expect(results[1]).toEqual(results[0]);
  });

  test('improvements never raise the loss, and the gradient stays that of the errors', () => {
    const { coder } = codeAt(3);
    const curvature = curvatureOf(grid);
    scope.floats(GRADIENT, n).set(gradientOf(errorsOf(coder)));
    const first = lossAt(errorsOf(coder), r);
    let before = first;
    let rounds = 0;
    while (coder.improve(curvature, GRADIENT, true) && rounds < 30) {
      const errors = errorsOf(coder);
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
    const decoded = Array.from(coder.decoded);
    coder.decode(n);
    expect(Array.from(coder.decoded)).toEqual(decoded);
  });
});
