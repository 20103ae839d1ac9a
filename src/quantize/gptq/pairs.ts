import { GROUP_WIDTH, offsetOf, scaleOf } from './grid.ts';
import type { Group } from './group.ts';
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
  readonly #group: Group;
  readonly #at: { readonly moves: number; readonly gains: number; readonly found: number };
  /** Moves of each column up, then from GROUP_WIDTH on down; 0 at the end of the grid. */
  readonly #moves: Float32Array;
  /** The moves of a pair. */
  readonly #found: Int32Array;
  /** Level above and below each level, NaN for none. */
  readonly #above = new Float64Array(2 * BIAS).fill(Number.NaN);
  readonly #below = new Float64Array(2 * BIAS).fill(Number.NaN);

  /** Takes PAIR_BYTES at `scratch`. */
  constructor(group: Group, scratch: number) {
    this.#group = group;
    const { buffer } = group.memory;
    const gains = scratch + 8 * GROUP_WIDTH;
    const found = gains + 8 * GROUP_WIDTH;
    this.#at = { moves: scratch, gains, found };
    this.#found = new Int32Array(buffer, found, 2);
    this.#moves = new Float32Array(buffer, scratch, 2 * GROUP_WIDTH);
    const { low, high, table } = group.grid;
    const levels = table ?? Array.from({ length: high - low + 1 }, (_, i) => low + i);
    for (let i = 1; i < levels.length; i++) {
      this.#above[levels[i - 1] + BIAS] = levels[i];
      this.#below[levels[i] + BIAS] = levels[i - 1];
    }
  }

  /** One sweep over the columns; whether anything moved. Keeps the gradient at that address up to date, and the group. */
  sweep({ width, h, diagonal }: GroupCurvature, gradient: number): boolean {
    const { kernels, grid, scales } = this.#group;
    const { moves, gains, found } = this.#at;
    for (let s = 0; s * grid.sub < width; s++) {
      const scale = scaleOf(scales, s);
      const offset = offsetOf(scales, s);
      for (let j = s * grid.sub; j < (s + 1) * grid.sub; j++) this.#findMoves(j, scale, offset);
    }
    for (let i = 0, changed = false; ; i++, changed = true) {
      i = kernels.gptqPair(i, width, h, diagonal, gradient, moves, gains, LEAST, found);
      if (i === width) return changed;
      this.#move(this.#found[0]);
      this.#move(this.#found[1]);
    }
  }

  /** Moves of column j, whose sub-block has that scale and offset. */
  #findMoves(j: number, scale: number, offset: number): void {
    const level = this.#group.levels[j] + BIAS;
    const decoded = this.#group.decoded[j];
    const above = this.#above[level];
    const below = this.#below[level];
    this.#moves[j] = Number.isNaN(above) ? 0 : Math.fround(scale * above) + offset - decoded;
    this.#moves[j + GROUP_WIDTH] = Number.isNaN(below) ? 0 : Math.fround(scale * below) + offset - decoded;
  }

  #move(code: number): void {
    const { grid, scales, levels, decoded } = this.#group;
    const j = code % GROUP_WIDTH;
    const s = Math.floor(j / grid.sub);
    const scale = scaleOf(scales, s);
    const offset = offsetOf(scales, s);
    levels[j] = (code < GROUP_WIDTH ? this.#above : this.#below)[levels[j] + BIAS];
    decoded[j] = Math.fround(scale * levels[j]) + offset;
    this.#findMoves(j, scale, offset);
  }
}
