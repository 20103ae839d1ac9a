/** Plain float64 linear algebra, for tests to compare with: matrices are arrays of rows. */
export type Matrix = number[][];

export const matrix = (rows: number, columns: number, value: (i: number, j: number) => number): Matrix =>
  Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => value(i, j)));

/** Numbers of a normal distribution, always the same for a seed. */
export function gaussian(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** `rows` x n correlated float32 activations: a few directions are strong, and channels differ in size. */
export function activations(rows: number, n: number, seed: number): Float32Array {
  const normal = gaussian(seed);
  const directions = matrix(4, n, normal);
  const sizes = Array.from({ length: n }, () => Math.exp(normal() / 2));
  const x = new Float32Array(rows * n);
  for (let row = 0; row < rows; row++) {
    const strengths = directions.map(normal);
    for (let j = 0; j < n; j++) {
      let value = normal();
      for (const [d, strength] of strengths.entries()) value += strength * directions[d][j];
      x[row * n + j] = sizes[j] * value;
    }
  }
  return x;
}

/** X^T X of rows x n values. */
export function gramOf(x: Float32Array, n: number): Matrix {
  const h = Array.from({ length: n }, () => new Float64Array(n));
  for (let row = 0; row < x.length; row += n) {
    for (let i = 0; i < n; i++) {
      const value = x[row + i];
      const line = h[i];
      for (let j = 0; j <= i; j++) line[j] += value * x[row + j];
    }
  }
  return matrix(n, n, (i, j) => h[Math.max(i, j)][Math.min(i, j)]);
}

/** L with L L^T = A, by definition. */
export function choleskyOf(a: Matrix): Matrix {
  const n = a.length;
  const l = matrix(n, n, () => 0);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i][j];
      for (let k = 0; k < j; k++) sum -= l[i][k] * l[j][k];
      l[i][j] = i === j ? Math.sqrt(sum) : sum / l[j][j];
    }
  }
  return l;
}

/** The inverse of a positive definite matrix. */
export function inverseOf(a: Matrix): Matrix {
  const n = a.length;
  const l = choleskyOf(a);
  const inverse = matrix(n, n, () => 0);
  for (let column = 0; column < n; column++) {
    const y = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let sum = i === column ? 1 : 0;
      for (let k = 0; k < i; k++) sum -= l[i][k] * y[k];
      y[i] = sum / l[i][i];
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = y[i];
      for (let k = i + 1; k < n; k++) sum -= l[k][i] * inverse[k][column];
      inverse[i][column] = sum / l[i][i];
    }
  }
  return inverse;
}

/** Largest |a_ij - b_ij| over sqrt(scale_ii scale_jj): the error of a symmetric matrix in the size of its channels. */
export function relativeError(a: Matrix, b: Matrix, scale: (i: number) => number): number {
  let largest = 0;
  for (const [i, row] of a.entries()) {
    for (const [j, value] of row.entries()) {
      largest = Math.max(largest, Math.abs(value - b[i][j]) / Math.sqrt(scale(i) * scale(j)));
    }
  }
  return largest;
}
