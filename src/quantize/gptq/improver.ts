import { offsetOf, scaleOf } from './grid.ts';
import type { Group } from './group.ts';
import type { GroupCurvature } from './loss.ts';
import { PAIR_BYTES, PairDescent } from './pairs.ts';
import { fitSteps } from './steps.ts';
import type { StoredFit } from './sub-block.ts';

/** Bytes of scratch of a GroupImprover. */
export const IMPROVER_BYTES = PAIR_BYTES;

/** Most rounds of pairs of codes, each with single codes after it. */
const PAIR_ROUNDS = 3;

/** Improves a group that is coded, while all other columns of the row stay. */
export class GroupImprover {
  readonly #group: Group;
  readonly #pairs: PairDescent;
  readonly #fit: StoredFit = { scale: 0, min: 0, loss: 0 };
  /** What the sub-block that is improved has now. */
  readonly #stored = { scale: 0, min: 0 };
  readonly #metric = { r: 0, stride: 0, units: 0, ones: 0 };

  /** Takes IMPROVER_BYTES at `scratch`. */
  constructor(group: Group, scratch: number) {
    this.#group = group;
    this.#pairs = new PairDescent(group, scratch);
  }

  /**
   * Improves the group: sub-block by sub-block scale and codes, then single codes,
   * then, with `pairs`, pairs of codes and single ones again, at last d and dmin. Starts from levels, scales and what they
   * decode to. `gradient` is the address of E H for the group's columns, kept up to date. Returns whether anything changed.
   */
  improve(curvature: GroupCurvature, gradient: number, pairs: boolean): boolean {
    const { grid } = this.#group;
    let changed = false;
    const subs = curvature.width / grid.sub;
    for (let s = 0; s < subs; s++) {
      if (this.#improveSubBlock(curvature, gradient, s)) changed = true;
      if (this.#descend(curvature, gradient, s)) changed = true;
    }
    for (let round = 0; pairs && round < PAIR_ROUNDS; round++) {
      if (!this.#pairs.sweep(curvature, gradient)) break;
      changed = true;
      for (let s = 0; s < subs; s++) this.#descend(curvature, gradient, s);
    }
    if (grid.scale.kind === 'integer' && this.#improveSteps(curvature, gradient)) changed = true;
    return changed;
  }

  /** Moves single codes of sub-block s to their best levels; whether any moved. */
  #descend({ width, h, reciprocals }: GroupCurvature, gradient: number, s: number): boolean {
    const { kernels, grid, scales, search, at } = this.#group;
    const { sub, low, high } = grid;
    const moves = kernels.gptqDescend(
      s * sub,
      (s + 1) * sub,
      width,
      h,
      reciprocals,
      scaleOf(scales, s),
      offsetOf(scales, s),
      low,
      high,
      search.table,
      gradient,
      at.levels,
      at.decoded,
    );
    return moves > 0;
  }

  #improveSubBlock(curvature: GroupCurvature, gradient: number, s: number): boolean {
    const group = this.#group;
    const { kernels, grid, scales, search, at } = group;
    const { width, h } = curvature;
    const { sub } = grid;
    const first = 4 * s * sub;
    const metric = this.#metric;
    metric.r = curvature.factors + sub * first;
    metric.stride = 4 * sub;
    metric.units = curvature.units + sub * first;
    metric.ones = curvature.ones + first;
    const { r, stride } = metric;
    const inverses = curvature.inverses + first;
    const values = at.decoded + first;
    // (t - q) R with t where the gradient would vanish: its square is the loss that is left to gain.
    kernels.gptqBacksolve(sub, gradient + first, r, stride, inverses, at.carried);
    const held = kernels.gptqDot(sub, at.carried, at.carried);
    kernels.gptqTarget(sub, values, at.carried, r, stride, inverses, at.sums, at.scratch);
    search.aim(at.scratch, metric);
    this.#stored.scale = scales.scales[s];
    this.#stored.min = scales.mins[s];
    const [scale, offset, bound] = [scaleOf(scales, s), offsetOf(scales, s), 0.9999 * held];
    search.stored(scales, scale, offset, this.#stored, 1, bound, this.#fit);
    if (!(this.#fit.loss < bound)) return false;
    group.take(this.#fit, scales, s, values);
    kernels.gptqCombine(sub, width, at.errors + first, h + width * first, 4 * width, gradient);
    return true;
  }

  #improveSteps({ width, h, sums: sumsOfRows }: GroupCurvature, gradient: number): boolean {
    const group = this.#group;
    const { kernels, grid, scales, memory } = group;
    const { images, ones, sums, scratch, weights } = group.at;
    group.writePatterns(width);
    const stride = 4 * width;
    memory.fill(0, sums / 4, sums / 4 + width);
    memory.fill(0, scratch / 4, scratch / 4 + width);
    kernels.gptqCombine(width, width, images, h, stride, sums);
    if (grid.min !== null) {
      memory.set(scales.mins, weights / 4);
      kernels.gptqCombine(width / grid.sub, width, weights, sumsOfRows, stride, scratch);
    }
    const dot = (x: number, y: number) => kernels.gptqDot(width, x, y);
    const [aa, ab, bb] = [dot(images, sums), dot(ones, sums), dot(ones, scratch)];
    const [ag, bg] = [dot(images, gradient), dot(ones, gradient)];
    const [d, dmin] = group.changedSteps(fitSteps(aa, ab, bb, ag, bg));
    const [byD, byDmin] = [d - scales.d, dmin - scales.dmin];
    if (byD === 0 && byDmin === 0) return false;
    const change =
      -2 * (byD * ag - byDmin * bg) + byD * byD * aa - 2 * byD * byDmin * ab + byDmin * byDmin * bb;
    if (!(change < 0)) return false;
    [scales.d, scales.dmin] = [d, dmin];
    group.decode(width);
    const [g, alongD, alongDmin] = [gradient / 4, sums / 4, scratch / 4];
    for (let j = 0; j < width; j++) {
      memory[g + j] -= byD * memory[alongD + j] - byDmin * memory[alongDmin + j];
    }
    return true;
  }
}
