import type { TaskScope } from '../../compute/scope.ts';
import type { Grid } from './grid.ts';

/** The loss ||(t - q) R||^2 of a group: addresses of R (width x width, float32) and of what is known of it. */
export interface GroupLoss {
  readonly width: number;
  readonly r: number;
  /** 1 / R_jj. */
  readonly inverses: number;
  /** Units of each sub-block (see gptqTry), one after the other. */
  readonly units: number;
  /** 1 R_ss of each sub-block s. */
  readonly ones: number;
  /** H_jj, undamped; lambda for a dead channel. The weights of the plain search. */
  readonly importance: number;
}

/** The matrix H of a group's loss when all other columns stay: addresses. */
export interface GroupCurvature {
  readonly width: number;
  /** width x width. */
  readonly h: number;
  /** H_jj, and 1 / H_jj. */
  readonly diagonal: number;
  readonly reciprocals: number;
  /** Upper factors of the sub-blocks of H (H_ss = R_ss R_ss^T), one after the other, each sub x sub. */
  readonly factors: number;
  /** Their 1 / R_jj, and units. */
  readonly inverses: number;
  readonly units: number;
  /** 1 R_ss of each. */
  readonly ones: number;
  /** 1 H of the rows of each sub-block: width / sub rows of `width`. */
  readonly sums: number;
}

/** What the losses of groups are made from: numbers of the columns, in the order of processing. */
export interface ColumnFacts {
  readonly n: number;
  /** H_jj, undamped; 0 for a dead channel. */
  readonly diagonal: Float64Array;
  /** What is added to H_jj. */
  readonly lambda: number;
}

/** Bytes that `writeLoss` and `writeCurvature` take for a group of `width` columns; gptqTry reads three floats behind the units. */
export const lossBytes = (width: number, sub: number): number => 4 * (width * (width + sub + 3) + 4);
export const curvatureBytes = (width: number, sub: number): number =>
  4 * width * (width + 2 * sub + 4 + width / sub);

/**
 * Loss of the group of columns from `start` on, at `address`. `panel` is the address of rows start .. start + width - 1
 * of R from column start on (as `Factor.panel` writes them), or null for rounding each weight by itself, under
 * sum_j (H_jj + lambda) e_j^2. A dead channel counts as lambda says, whatever the factor has for it.
 */
export function writeLoss(
  scope: TaskScope,
  { n, diagonal, lambda }: ColumnFacts,
  { sub }: Grid,
  start: number,
  width: number,
  panel: number | null,
  address: number,
): GroupLoss {
  const r = scope.floats(address, width * width).fill(0);
  const vector = (i: number) => address + 4 * width * (width + i);
  const loss: GroupLoss = {
    width,
    r: address,
    inverses: vector(0),
    ones: vector(1),
    importance: vector(2),
    units: vector(3),
  };
  for (let i = 0; i < width; i++) {
    const value = diagonal[start + i];
    if (panel !== null && value !== 0) {
      r.set(scope.floats(panel + 4 * (i * (n - start) + i), width - i), i * (width + 1));
    } else {
      r[i * (width + 1)] = Math.sqrt(value + lambda);
    }
    scope.floats(loss.inverses, width)[i] = 1 / r[i * (width + 1)];
    scope.floats(loss.importance, width)[i] = value || lambda;
  }
  const [ones, units] = [scope.floats(loss.ones, width), scope.floats(loss.units, width * sub)];
  writeSubBlocks(r, width, (s) => s * sub * (width + 1), ones, units);
  return loss;
}

/**
 * Writes, of the factor R_ss of each sub-block s, 1 R_ss and its units (see gptqTry). It begins at `placeOf(s)` in `r`, where
 * rows are `stride` floats apart.
 */
function writeSubBlocks(
  r: Float32Array,
  stride: number,
  placeOf: (s: number) => number,
  ones: Float32Array,
  units: Float32Array,
): void {
  const sub = units.length / ones.length;
  ones.fill(0);
  for (let s = 0; s * sub < ones.length; s++) {
    const place = placeOf(s);
    for (let i = 0; i < sub; i++) {
      for (let k = 0; k < sub; k++) {
        const value = r[place + i * stride + k];
        ones[s * sub + k] += value;
        units[(s * sub + i) * sub + k] = i === k ? value : value / r[place + k * (stride + 1)];
      }
    }
  }
}

/**
 * What improving the group of columns from `start` on needs, at `address`. `rows` is the address of rows start .. start + width
 * - 1 of H, n floats each, lambda added.
 */
export function writeCurvature(
  scope: TaskScope,
  n: number,
  { sub }: Grid,
  start: number,
  width: number,
  rows: number,
  address: number,
): GroupCurvature {
  const h = scope.floats(address, width * width);
  const factorsAt = address + 4 * width * width;
  const vector = (i: number) => factorsAt + 4 * width * (sub + i);
  const curvature: GroupCurvature = {
    ...{ width, h: address, factors: factorsAt },
    ...{ diagonal: vector(0), reciprocals: vector(1), inverses: vector(2), ones: vector(3) },
    ...{ units: vector(4), sums: vector(4 + sub) },
  };
  const [diagonal, reciprocals, inverses] = (['diagonal', 'reciprocals', 'inverses'] as const).map((name) =>
    scope.floats(curvature[name], width),
  );
  const sums = scope.floats(curvature.sums, (width / sub) * width).fill(0);
  const factors = scope.floats(factorsAt, width * sub);
  for (let i = 0; i < width; i++) {
    h.set(scope.floats(rows + 4 * (i * n + start), width), i * width);
    diagonal[i] = h[i * (width + 1)];
    reciprocals[i] = 1 / diagonal[i];
    const to = Math.floor(i / sub) * width;
    for (let j = 0; j < width; j++) sums[to + j] += h[i * width + j];
  }
  for (let first = 0; first < width; first += sub) {
    const factor = upperFactor(sub, (i, j) => h[(first + i) * width + first + j]);
    factors.set(factor, first * sub);
    for (let i = 0; i < sub; i++) inverses[first + i] = 1 / factor[i * (sub + 1)];
  }
  const [ones, units] = [scope.floats(curvature.ones, width), scope.floats(curvature.units, width * sub)];
  writeSubBlocks(factors, sub, (s) => s * sub * sub, ones, units);
  return curvature;
}

/**
 * R of A = R R^T, R upper triangular: the Cholesky factor of A with rows and columns reversed, reversed back. A pivot that is
 * lost in rounding is put at a millionth of its diagonal, so that its column keeps its level.
 */
function upperFactor(size: number, a: (i: number, j: number) => number): Float64Array {
  const r = new Float64Array(size * size);
  for (let j = size - 1; j >= 0; j--) {
    for (let i = j; i >= 0; i--) {
      let sum = a(i, j);
      for (let k = j + 1; k < size; k++) sum -= r[i * size + k] * r[j * size + k];
      if (i === j) r[j * (size + 1)] = Math.sqrt(Math.max(sum, 1e-6 * a(j, j)));
      else r[i * size + j] = sum / r[j * (size + 1)];
    }
  }
  return r;
}
