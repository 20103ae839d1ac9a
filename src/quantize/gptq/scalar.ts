import { roundEven } from '../format/rounding.ts';

/**
 * The inner loops of GPTQ on one row of one block, as definitions: the readable twin of src/kernels/compute/gptq.ts, which must
 * agree bit for bit. Arithmetic is float32, sums over rows of a matrix run in order of the rows.
 *
 * Notation: R is the upper factor of the block's loss ||(t - q) R||^2, M = R R^T, both `width` x `width`, row-major, R zero
 * below its diagonal. width is a multiple of 32, at most 256. Arguments are addresses in bytes; vectors have `width`
 * float32. `scales` is the address of a struct of three vectors of 256: scale, 1 / scale (0 where the scale is 0) and offset
 * of each column. A column of level l decodes to scale * l + offset. Levels are the integers low..high, or, where `table` is
 * not 0, the 16 ascending values at that address; behind them lie the 15 midpoints between neighbours.
 */
export interface BlockKernels {
  /** out = coefficients M, for `rows` rows (a multiple of 4). */
  gptqCombine(rows: number, width: number, coefficients: number, m: number, out: number): void;
  /** target = weights + x, where x R = carried. inverses: 1 / R_jj. */
  gptqTarget(
    width: number,
    weights: number,
    carried: number,
    r: number,
    inverses: number,
    sums: number,
    target: number,
  ): void;
  /**
   * Codes column by column with error feedback: v_j = t_j + sum_{i<j} (t_i - q_i) R_ij / R_jj, q_j = the value nearest to v_j.
   * Writes levels, decoded values and sums = (t - q) R, and returns the loss.
   */
  gptqFeedback(
    width: number,
    target: number,
    r: number,
    inverses: number,
    scales: number,
    low: number,
    high: number,
    table: number,
    sums: number,
    levels: number,
    decoded: number,
  ): number;
  /** Decodes levels, writes errors = target - decoded, and returns the loss ||errors R||^2. */
  gptqLoss(
    width: number,
    target: number,
    r: number,
    scales: number,
    levels: number,
    sums: number,
    decoded: number,
    errors: number,
  ): number;
  /**
   * Coordinate descent on the codes: column by column, each moves to its best level while the others stay, until none moves
   * or for `sweeps` sweeps. gradient = M (t - q) is kept up to date, as are levels and decoded. reciprocals: 1 / M_jj.
   * Returns how many moves it made.
   */
  gptqDescend(
    width: number,
    sweeps: number,
    m: number,
    reciprocals: number,
    scales: number,
    low: number,
    high: number,
    table: number,
    gradient: number,
    levels: number,
    decoded: number,
  ): number;
  /** out[s] = the dot product of a and b over the `sub` columns of sub-block s. */
  gptqDots(width: number, sub: number, a: number, b: number, out: number): void;
}

const f = Math.fround;

/** The twins, over a buffer. */
export function scalarBlockKernels(buffer: ArrayBufferLike): BlockKernels {
  const memory = new Float32Array(buffer);
  const vector = (address: number, n: number) => memory.subarray(address / 4, address / 4 + n);

  /** sums[k] += c row[k] for k >= from. */
  const addRow = (sums: Float32Array, row: Float32Array, c: number, from: number) => {
    for (let k = from; k < sums.length; k++) sums[k] += f(c * row[k]);
  };

  const structOf = (scales: number, width: number) => ({
    scale: vector(scales, width),
    inverse: vector(scales + 1024, width),
    offset: vector(scales + 2048, width),
  });

  const levelOf = (x: number, low: number, high: number, table: number): number => {
    if (table === 0) return Math.max(low, Math.min(high, roundEven(x)));
    const midpoints = vector(table + 64, 15);
    let index = 0;
    while (index < 15 && x >= midpoints[index]) index++;
    return vector(table, 16)[index];
  };

  return {
    gptqCombine(rows, width, coefficients, m, out) {
      const to = vector(out, width).fill(0);
      vector(coefficients, rows).forEach((c, i) => {
        addRow(to, vector(m + 4 * width * i, width), c, 0);
      });
    },

    gptqTarget(width, weights, carried, r, inverses, sumsAt, target) {
      const sums = vector(sumsAt, width);
      sums.set(vector(carried, width));
      for (let j = 0; j < width; j++) {
        const x = f(sums[j] * vector(inverses, width)[j]);
        vector(target, width)[j] = vector(weights, width)[j] + x;
        addRow(sums, vector(r + 4 * width * j, width), -x, j + 1);
      }
    },

    gptqFeedback(width, target, r, inverses, scales, low, high, table, sumsAt, levels, decoded) {
      const { scale, inverse, offset } = structOf(scales, width);
      const sums = vector(sumsAt, width).fill(0);
      let loss = 0;
      for (let j = 0; j < width; j++) {
        const t = vector(target, width)[j];
        const v = f(t + f(sums[j] * vector(inverses, width)[j]));
        const level = levelOf(f(f(v - offset[j]) * inverse[j]), low, high, table);
        const q = f(f(scale[j] * level) + offset[j]);
        vector(levels, width)[j] = level;
        vector(decoded, width)[j] = q;
        addRow(sums, vector(r + 4 * width * j, width), f(t - q), j);
        loss += sums[j] * sums[j];
      }
      return loss;
    },

    gptqLoss(width, target, r, scales, levels, sumsAt, decoded, errors) {
      const { scale, offset } = structOf(scales, width);
      const sums = vector(sumsAt, width).fill(0);
      for (let j = 0; j < width; j++) {
        const q = f(f(scale[j] * vector(levels, width)[j]) + offset[j]);
        const e = f(vector(target, width)[j] - q);
        vector(decoded, width)[j] = q;
        vector(errors, width)[j] = e;
        addRow(sums, vector(r + 4 * width * j, width), e, j);
      }
      return sums.reduce((loss, sum) => loss + sum * sum, 0);
    },

    gptqDescend(width, sweeps, m, reciprocals, scales, low, high, table, gradientAt, levels, decoded) {
      const { scale, inverse, offset } = structOf(scales, width);
      const gradient = vector(gradientAt, width);
      let moves = 0;
      for (let sweep = 0; sweep < sweeps; sweep++) {
        const before = moves;
        for (let j = 0; j < width; j++) {
          const q = vector(decoded, width)[j];
          const step = f(gradient[j] * vector(reciprocals, width)[j]);
          const level = levelOf(f(f(f(q + step) - offset[j]) * inverse[j]), low, high, table);
          if (level === vector(levels, width)[j]) continue;
          const moved = f(f(scale[j] * level) + offset[j]);
          const change = f(moved - q);
          // The loss changes by M_jj (change^2 - 2 change step): only moves that gain more than rounding could feign.
          if (!(f(change * f(f(step + step) - change)) > f(f(f(1e-5) * change) * change))) continue;
          vector(levels, width)[j] = level;
          vector(decoded, width)[j] = moved;
          addRow(gradient, vector(m + 4 * width * j, width), -change, 0);
          moves++;
        }
        if (moves === before) break;
      }
      return moves;
    },

    gptqDots(width, sub, a, b, out) {
      for (let s = 0; s < width / sub; s++) {
        const sums = [0, 0, 0, 0];
        for (let i = 0; i < sub; i++) {
          const k = sub * s + i;
          sums[i % 4] = f(sums[i % 4] + f(vector(a, width)[k] * vector(b, width)[k]));
        }
        vector(out, width / sub)[s] = f(f(sums[0] + sums[1]) + f(sums[2] + sums[3]));
      }
    },
  };
}
