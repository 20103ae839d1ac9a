import type { BlockKernels } from './block-kernels.ts';
import { GROUP_WIDTH, type Grid, type GroupScales, offsetOf, scaleOf } from './grid.ts';
import type { GroupCurvature } from './loss.ts';

/** Bytes of scratch of a PairDescent. */
export const PAIR_BYTES = 4 * (4 * GROUP_WIDTH + 16);
/** A pair of moves must gain more than this part of what it would cost by itself: more than rounding could feign. */
const LEAST = 1e-4;
/** Added to a level it is an index: levels fit into int8. */
const BIAS = 128;

/**
 * Descent on pairs of codes of a group: two codes at a time, each one level up or down, where the loss falls by both
 * together though by neither alone. With H the matrix of the loss and G = E H, moving columns i and j by a and b gains
 * 2 a G_i - a^2 H_ii + 2 b G_j - b^2 H_jj - 2 a b H_ij. (A move that would gain by itself, now that others were made, is no
 * reason to make another with it: single codes come after.)
 */
export class PairDescent {
  readonly #kernels: BlockKernels;
  readonly #grid: Grid;
  readonly #at: { readonly moves: number; readonly gains: number; readonly found: number };
  /** Moves of each column up, then from GROUP_WIDTH on down; 0 at the end of the grid. */
  readonly #moves: Float32Array;
  /** The moves of a pair. */
  readonly #found: Int32Array;
  /** Level above and below each level, NaN for none. */
  readonly #above = new Float64Array(2 * BIAS).fill(Number.NaN);
  readonly #below = new Float64Array(2 * BIAS).fill(Number.NaN);

  /** Takes PAIR_BYTES at `scratch`. */
  constructor(kernels: BlockKernels, buffer: ArrayBufferLike, scratch: number, grid: Grid) {
    this.#kernels = kernels;
    this.#grid = grid;
    const gains = scratch + 8 * GROUP_WIDTH;
    const found = gains + 8 * GROUP_WIDTH;
    this.#at = { moves: scratch, gains, found };
    this.#found = new Int32Array(buffer, found, 2);
    this.#moves = new Float32Array(buffer, scratch, 2 * GROUP_WIDTH);
    const { low, high, table } = grid;
    const levels = table ?? Array.from({ length: high - low + 1 }, (_, i) => low + i);
    for (let i = 1; i < levels.length; i++) {
      this.#above[levels[i - 1] + BIAS] = levels[i];
      this.#below[levels[i] + BIAS] = levels[i - 1];
    }
  }

  /** One sweep over the columns. Keeps levels, decoded values and the gradient at that address up to date. */
  sweep(
    { width, h, diagonal }: GroupCurvature,
    gradient: number,
    scales: GroupScales,
    levels: Float32Array,
    decoded: Float32Array,
  ): boolean {
    const { moves, gains, found } = this.#at;
    for (let j = 0; j < width; j++) this.#findMoves(scales, levels, decoded, j);
    for (let i = 0, changed = false; ; i++, changed = true) {
      i = this.#kernels.gptqPair(i, width, h, diagonal, gradient, moves, gains, LEAST, found);
      if (i === width) return changed;
      this.#move(scales, levels, decoded, this.#found[0]);
      this.#move(scales, levels, decoded, this.#found[1]);
    }
  }

  #findMoves(scales: GroupScales, levels: Float32Array, decoded: Float32Array, j: number): void {
    const s = Math.floor(j / this.#grid.sub);
    const [scale, offset, level] = [scaleOf(scales, s), offsetOf(scales, s), levels[j] + BIAS];
    const [above, below] = [this.#above[level], this.#below[level]];
    this.#moves[j] = Number.isNaN(above) ? 0 : Math.fround(scale * above) + offset - decoded[j];
    this.#moves[j + GROUP_WIDTH] = Number.isNaN(below) ? 0 : Math.fround(scale * below) + offset - decoded[j];
  }

  #move(scales: GroupScales, levels: Float32Array, decoded: Float32Array, code: number): void {
    const j = code % GROUP_WIDTH;
    const s = Math.floor(j / this.#grid.sub);
    levels[j] = (code < GROUP_WIDTH ? this.#above : this.#below)[levels[j] + BIAS];
    decoded[j] = Math.fround(scaleOf(scales, s) * levels[j]) + offsetOf(scales, s);
    this.#findMoves(scales, levels, decoded, j);
  }
}
