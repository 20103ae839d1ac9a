import { describe, expect, test } from 'vitest';
import { compileCompute, REPRODUCIBLE } from '../../../src/compute/gemm-choice.ts';
import { openScope } from '../../../src/compute/scope.ts';
import type { BlockKernels } from '../../../src/quantize/gptq/block-kernels.ts';
import { type Grid, gridOf, writeTable } from '../../../src/quantize/gptq/grid.ts';
import { scalarBlockKernels } from '../../../src/quantize/gptq/scalar.ts';
import { gaussian } from '../../support/random.ts';

const BYTES = 64 * 65_536;
const memory = new WebAssembly.Memory({ initial: BYTES / 65_536, maximum: 65_536, shared: true });
const { compute } = openScope({
  ...{ memory, module: compileCompute(REPRODUCIBLE) },
  ...{ thread: 0, threads: 1, scratch: 0, scratchBytes: 0, packing: 0, quantization: null, blas: null },
});
const twins = new ArrayBuffer(BYTES);
const sides = [
  { kernels: compute as unknown as BlockKernels, buffer: memory.buffer as ArrayBufferLike },
  { kernels: scalarBlockKernels(twins), buffer: twins },
];

/** Places for vectors and matrices, a largest matrix of floats apart. */
const SLOT = 65_536;
const SLOTS = 13;
const [R, H, X, Y, Z, T, W, C, S, OUT, LEVELS, DECODED, TABLE] = Array.from(
  { length: SLOTS },
  (_, i) => 65_536 + 4 * SLOT * i,
);
/** Where float64 multiples of inverse scales are, of both signs. */
const MULTIPLES = TABLE + 1024;
const multiples = Float64Array.from({ length: 40 }, (_, i) => (i < 20 ? -3 - 0.2 * i : 0.4 * i));
const normal = Float32Array.from({ length: SLOTS * SLOT + 100 }, gaussian(1));

/**
 * Fills the places with normal numbers (others for each seed), R and H with matrices of `stride` bytes a row, W with weights; runs `act` on
 * kernels and twins, and compares what they return and `count` floats at each of `results`.
 */
function agree(
  seed: number,
  width: number,
  stride: number,
  grid: Grid,
  results: readonly (readonly [address: number, count: number])[],
  act: (kernels: BlockKernels, table: number) => unknown,
): void {
  const answers = sides.map(({ kernels, buffer }) => {
    new Float32Array(buffer, 65_536, SLOTS * SLOT).set(normal.subarray(seed, seed + SLOTS * SLOT));
    new Float64Array(buffer, MULTIPLES, multiples.length).set(multiples);
    const weights = new Float32Array(buffer, W, width);
    weights.forEach((value, j) => {
      weights[j] = Math.abs(value);
    });
    const row = (matrix: number, i: number) => new Float32Array(buffer, matrix + stride * i, width);
    for (let i = 0; i < width; i++) {
      row(R, i).fill(0, 0, i);
      row(R, i)[i] = 3 + Math.abs(row(R, i)[i]);
      row(H, i)[i] = 40;
      for (let j = 0; j < i; j++) row(H, j)[i] = row(H, i)[j];
    }
    const returned = act(kernels, writeTable(buffer, TABLE, grid));
    return [returned, ...results.map(([address, count]) => [...new Float32Array(buffer, address, count)])];
  });
  expect(answers[0]).toEqual(answers[1]);
}

const grids = [gridOf('Q3_K')!, gridOf('Q4_K')!, gridOf('IQ4_XS')!];

describe.each([16, 32, 64, 256])('%i columns', (width) => {
  const vector = (address: number) => [address, width] as const;
  const [plain] = grids;

  test.each([4 * width, 1024])('sums over rows that are %i bytes apart', (stride) => {
    agree(1, width, stride, plain, [vector(OUT)], (kernels) => {
      kernels.gptqCombine(width, width, X, H, stride, OUT);
    });
    agree(2, width, stride, plain, [[OUT, width]], (kernels) => {
      kernels.gptqCombine(12, width - 4, X, H + 16, stride, OUT + 16);
    });
    agree(3, width, stride, plain, [vector(OUT)], (kernels) => {
      kernels.gptqProduct(width, X, R, stride, OUT);
    });
  });

  test('products, and what one of eight candidates decodes to', () => {
    const results = [vector(LEVELS), vector(DECODED), vector(OUT)];
    agree(13, width, 4 * width, plain, results, (kernels) => {
      for (const lane of [0, 5]) {
        kernels.gptqTake(width, S, lane, X, 0.0625, -0.5, LEVELS, DECODED, OUT);
      }
      return kernels.gptqDot(width, X, Y);
    });
  });

  test.each([4 * width, 1024])('triangular systems, rows %i bytes apart', (stride) => {
    agree(4, width, stride, plain, [vector(OUT), vector(S)], (kernels) => {
      kernels.gptqTarget(width, X, Y, R, stride, Z, S, OUT);
    });
    agree(5, width, stride, plain, [vector(OUT)], (kernels) => {
      kernels.gptqBacksolve(width, Y, R, stride, Z, OUT);
    });
  });

  test.each(grids)('searches onto $type', (grid) => {
    const { low, high } = grid;
    const stride = 4 * width;
    for (const [offsets, seed] of [16, 17, 18].entries()) {
      agree(seed, width, stride, grid, [[OUT, 16]], (kernels, table) =>
        kernels.gptqScan(width, X, W, MULTIPLES, 40, offsets, low, high, table, S, OUT),
      );
    }
    for (const count of [8, 3]) {
      const lanes = count > 4 ? 8 : 4;
      const results = [
        [OUT, lanes],
        ...Array.from({ length: width }, (_, j) => [LEVELS + 32 * j, lanes] as const),
      ] as const;
      agree(7, width, stride, grid, results, (kernels, table) => {
        kernels.gptqTry(count, width, X, R, C, low, high, table, S, LEVELS, OUT);
      });
    }
    agree(8, width, stride, grid, [[OUT, 24]], (kernels) => {
      kernels.gptqFit(width, X, Y, LEVELS, R, stride, S, OUT);
    });
    agree(8, width, stride, grid, [[OUT, 3]], (kernels) => {
      kernels.gptqFitLane(width, X, Y, LEVELS + 4 * 5, R, stride, S, OUT);
    });
  });

  test.each(grids)('finds no candidate, or one, for targets that are all alike ($type)', (grid) => {
    const { low, high } = grid;
    const found = (offsets: number, ...targets: number[]) => {
      const answers = sides.map(({ kernels, buffer }) => {
        const x = new Float32Array(buffer, X, width);
        x.set(Array.from(x, (_, j) => targets[j % targets.length]));
        new Float32Array(buffer, W, width).fill(1);
        new Float64Array(buffer, MULTIPLES, multiples.length).set(multiples);
        const table = writeTable(buffer, TABLE, grid);
        const count = kernels.gptqScan(width, X, W, MULTIPLES, 40, offsets, low, high, table, S, OUT);
        const out = new Float32Array(buffer, OUT, 16);
        return Array.from({ length: count }, (_, i) => [out[i], out[8 + i]]);
      });
      expect(answers[0]).toEqual(answers[1]);
      return answers[0];
    };
    for (const offsets of [0, 1, 2]) {
      expect(found(offsets, 0)).toEqual([]);
      expect(found(offsets, 1, Number.NEGATIVE_INFINITY)).toEqual([]);
    }
    expect(found(1, -0.5)).not.toEqual([]);
    expect(found(2, 0.5)).toEqual([[0, 0.5]]);
    expect(found(0, 0.5)).not.toEqual([]);
  });

  test.each(grids)('codes onto $type', (grid) => {
    const { low, high } = grid;
    const stride = 4 * width;
    agree(9, width, stride, grid, [vector(LEVELS), vector(DECODED)], (kernels, table) => {
      kernels.gptqFeedback(width, X, R, stride, Z, W, Y, low, high, table, S, LEVELS, DECODED);
    });
    const changed = [vector(LEVELS), vector(DECODED), vector(T)];
    for (const scale of [0.5, 0.0078125, -0.25, 0]) {
      agree(10, width, stride, grid, changed, (kernels, table) => {
        const half = width / 2;
        const args = [width, H, Z, scale, 0.125, low, high, table, T, LEVELS, DECODED] as const;
        return [kernels.gptqDescend(0, half, ...args), kernels.gptqDescend(half, width, ...args)];
      });
    }
  });
});

test.each([8, 16])('steps for %i values', (count) => {
  for (const { scale } of [gridOf('Q4_K')!, gridOf('Q3_K')!]) {
    if (scale.kind !== 'integer') throw new Error('these have steps');
    const { low, high } = scale;
    for (const end of [high, low]) {
      agree(14, 32, 128, grids[0], [[OUT, 8]], (kernels) => {
        const { buffer } = sides.find((side) => side.kernels === kernels)!;
        const floats = (address: number) => new Float32Array(buffer, address, count);
        floats(X).forEach((value, s, values) => {
          values[s] = value / 8;
        });
        floats(Y).forEach((value, s, curvatures) => {
          curvatures[s] = Math.abs(value);
        });
        kernels.gptqSteps(count, X, Y, end, low, high, OUT);
      });
    }
  }
});

test.each([32, 256])('pairs of %i columns', (width) => {
  // With a steeper loss fewer columns have a partner.
  const counts = [0.1, 1, 4].map((bend) => {
    let count = 0;
    const results = [
      [OUT, 2],
      [T, width],
    ] as const;
    agree(12, width, 4 * width, grids[0], results, (kernels) => {
      const { buffer } = sides.find((side) => side.kernels === kernels)!;
      const moves = new Float32Array(buffer, X, 512);
      for (let j = 0; j < 512; j += 7) moves[j] = 0;
      new Float32Array(buffer, Z, width).forEach((value, j, diagonal) => {
        diagonal[j] = bend * (1 + Math.abs(value));
      });
      const found: number[] = [];
      for (let i = 0; i < width; i++) {
        i = kernels.gptqPair(i, width, H, Z, T, X, Y, 1e-4, OUT);
        if (i < width) found.push(i, ...new Int32Array(buffer, OUT, 2));
      }
      count = found.length;
      return found.join();
    });
    return count;
  });
  expect(counts[0]).toBeGreaterThan(width);
  expect(counts[2]).toBeLessThan(counts[0]);
});

test('numbers that are not finite take the same way', () => {
  for (const grid of grids) {
    const { low, high } = grid;
    agree(11, 16, 64, grid, [[LEVELS, 8 * 16]], (kernels, table) => {
      const side = sides.find((candidate) => candidate.kernels === kernels)!;
      const candidates = new Float32Array(side.buffer, C, 16);
      candidates.set([0, Number.POSITIVE_INFINITY, Number.NaN, 1e-45, -0, 3e38, 1, 2]);
      candidates.set([0, 0, 0, 0, 0, 0, Number.POSITIVE_INFINITY, Number.NaN], 8);
      kernels.gptqTry(8, 16, X, R, C, low, high, table, S, LEVELS, OUT);
    });
  }
});
