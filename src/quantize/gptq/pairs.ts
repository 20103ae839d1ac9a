import { GROUP_WIDTH, type Grid, type GroupScales, offsetOf, scaleOf } from './grid.ts';
import type { GroupCurvature } from './loss.ts';
import type { BlockKernels } from './scalar.ts';

/** Bytes of scratch of a PairDescent. */
export const PAIR_BYTES = 4 * (4 * GROUP_WIDTH + 16);
/** A pair of moves must gain more than this part of what it would cost by itself: more than rounding could feign. */
const LEAST = 1e-4;
/** Added to a level it is an index: levels fit into int8. */
const BIAS = 128;

/**
 * Descent on pairs of codes of a group: two codes at a time, each one level up or down, where the loss falls by both
 * together though by neither alone. With H the matrix of the loss and G = E H, moving columns i and j by a and b gains
 * 2 a G_i - a^2 H_ii + 2 b G_j - b^2 H_jj - 2 a b H_ij.
 */
export class PairDescent {
  readonly #kernels: BlockKernels;
  readonly #grid: Grid;
  readonly #memory: Float32Array;
  readonly #at: { readonly moves: number; readonly gains: number; readonly found: number };
  /** Moves of each column up, then from GROUP_WIDTH on down; 0 at the end of the grid. And what each gains alone. */
  readonly #moves: Float32Array;
  readonly #gains: Float32Array;
  /** The moves of a pair. */
  readonly #found: Int32Array;
  /** Level above and below each level, NaN for none. */
  readonly #above = new Float64Array(2 * BIAS).fill(Number.NaN);
  readonly #below = new Float64Array(2 * BIAS).fill(Number.NaN);

  /** Takes PAIR_BYTES at `scratch`. */
  constructor(kernels: BlockKernels, buffer: ArrayBufferLike, scratch: number, grid: Grid) {
    this.#kernels = kernels;
    this.#grid = grid;
    this.#memory = new Float32Array(buffer);
    const gains = scratch + 8 * GROUP_WIDTH;
    const found = gains + 8 * GROUP_WIDTH;
    this.#at = { moves: scratch, gains, found };
    this.#found = new Int32Array(buffer, found, 2);
    this.#moves = new Float32Array(buffer, scratch, 2 * GROUP_WIDTH);
    this.#gains = new Float32Array(buffer, gains, 2 * GROUP_WIDTH);
    const { low, high, table } = grid;
    const levels = table ?? Array.from({ length: high - low + 1 }, (_, i) => low + i);
    for (let i = 1; i < levels.length; i++) {
      this.#above[levels[i - 1] + BIAS] = levels[i];
      this.#below[levels[i] + BIAS] = levels[i - 1];
    }
  }

  /** One sweep over the columns. Keeps levels, decoded values and the gradient at that address up to date. */
  sweep(
    curvature: GroupCurvature,
    gradient: number,
    scales: GroupScales,
    levels: Float32Array,
    decoded: Float32Array,
  ): boolean {
    const { width, h } = curvature;
    const { moves, gains, found } = this.#at;
    let changed = false;
    for (let i = 0; ; i++) {
      this.#weigh(curvature, gradient, scales, levels, decoded);
      i = this.#kernels.gptqPair(i, width, h, moves, gains, LEAST, found);
      if (i === width) return changed;
      for (const code of this.#found) this.#move(curvature, gradient, scales, levels, decoded, code);
      changed = true;
    }
  }

  #h(h: number, width: number, i: number): number {
    return this.#memory[h / 4 + i * (width + 1)];
  }

  /**
   * Moves of all columns, and what they gain. A move that would gain by itself, now that others were made, counts as one that
   * gains nothing, so that no pair lives on one of its moves.
   */
  #weigh(
    { width, h }: GroupCurvature,
    gradient: number,
    scales: GroupScales,
    levels: Float32Array,
    decoded: Float32Array,
  ): void {
    const { sub } = this.#grid;
    const memory = this.#memory;
    for (let first = 0; first < width; first += sub) {
      const [scale, offset] = [scaleOf(scales, first / sub), offsetOf(scales, first / sub)];
      for (let j = first; j < first + sub; j++) {
        const [pull, bend] = [2 * memory[gradient / 4 + j], this.#h(h, width, j)];
        for (let way = 0; way < 2; way++) {
          const level = (way === 0 ? this.#above : this.#below)[levels[j] + BIAS];
          const move = Number.isNaN(level) ? 0 : Math.fround(scale * level) + offset - decoded[j];
          this.#moves[j + way * GROUP_WIDTH] = move;
          this.#gains[j + way * GROUP_WIDTH] =
            move === 0 ? Number.NEGATIVE_INFINITY : Math.min(0, move * (pull - move * bend));
        }
      }
    }
  }

  #move(
    { width, h }: GroupCurvature,
    gradient: number,
    scales: GroupScales,
    levels: Float32Array,
    decoded: Float32Array,
    code: number,
  ): void {
    const j = code % GROUP_WIDTH;
    const s = Math.floor(j / this.#grid.sub);
    levels[j] = (code < GROUP_WIDTH ? this.#above : this.#below)[levels[j] + BIAS];
    const value = Math.fround(Math.fround(scaleOf(scales, s) * levels[j]) + offsetOf(scales, s));
    const change = value - decoded[j];
    decoded[j] = value;
    const memory = this.#memory;
    const [g, row] = [gradient / 4, h / 4 + j * width];
    for (let k = 0; k < width; k++) memory[g + k] -= change * memory[row + k];
  }
}
