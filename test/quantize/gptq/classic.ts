import { dataTypes, type TypeName } from '../../../src/core/types.ts';
import { choleskyOf, type Matrix, matrix } from '../../compute/dense.ts';
import { uniform } from '../../support/random.ts';
import { decodedBytes } from './matrix-team.ts';

/** Where codes lie in a block: first byte and the one after the last. */
const CODES: Partial<Record<TypeName, readonly [from: number, to: number]>> = {
  Q2_K: [16, 80],
  Q3_K: [0, 96],
  Q4_K: [16, 144],
  Q5_1: [4, 24],
  Q6_K: [0, 192],
  IQ4_XS: [8, 136],
  TQ1_0: [0, 52],
};
export const classicTypes = Object.keys(CODES) as TypeName[];

/** All values that each of n weights can take under the scales in `bytes`: what random codes decode to. */
export function valuesOf(type: TypeName, bytes: Uint8Array, n: number): number[][] {
  const [from, to] = CODES[type]!;
  const next = uniform(1);
  const values = Array.from({ length: n }, () => new Set<number>());
  for (let trial = 0; trial < 700; trial++) {
    const altered = bytes.map((byte, i) => {
      const place = i % dataTypes[type].typeSize;
      return place >= from && place < to ? Math.floor(256 * next()) : byte;
    });
    decodedBytes(type, altered, n).forEach((value, i) => {
      values[i].add(value);
    });
  }
  return values.map((set) => [...set]);
}

/** L = U^T of H^-1 = U^T U, U upper triangular, columns of H in `order`. */
export function classicFactor(h: Matrix, order: readonly number[]): Matrix {
  const n = h.length;
  return choleskyOf(inverseOf(matrix(n, n, (i, j) => h[order[i]][order[j]])));
}

/**
 * GPTQ as published (arXiv 2210.17323, algorithm 1) in float64, each weight going to the nearest of its values:
 * w_k -= (w_j - q_j) / U_jj U_jk for the columns k after j. `lower` is U^T.
 */
export function classicGptq(
  values: readonly number[][],
  weights: Float32Array,
  lower: Matrix,
  order: readonly number[],
): Float64Array {
  const n = lower.length;
  const decoded = new Float64Array(weights.length);
  for (let row = 0; row < weights.length; row += n) {
    const w = order.map((channel) => weights[row + channel]);
    for (let j = 0; j < n; j++) {
      const at = row + order[j];
      const q = values[at].reduce((best, value) =>
        Math.abs(value - w[j]) < Math.abs(best - w[j]) ? value : best,
      );
      decoded[at] = q;
      const error = (w[j] - q) / lower[j][j];
      for (let k = j; k < n; k++) w[k] -= error * lower[k][j];
    }
  }
  return decoded;
}

/** A^-1 of a positive definite A, from its Cholesky factor. */
function inverseOf(a: Matrix): Matrix {
  const n = a.length;
  const l = choleskyOf(a);
  const inverse = matrix(n, n, () => 0); // of l
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = i === j ? 1 : 0;
      for (let k = j; k < i; k++) sum -= l[i][k] * inverse[k][j];
      inverse[i][j] = sum / l[i][i];
    }
  }
  const columns = matrix(n, n, (i, j) => inverse[j][i]);
  return matrix(n, n, (i, j) => {
    let sum = 0;
    for (let k = Math.max(i, j); k < n; k++) sum += columns[i][k] * columns[j][k];
    return sum;
  });
}
