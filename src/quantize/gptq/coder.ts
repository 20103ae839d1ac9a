import { roundToFloat16 } from '../../core/float.ts';
import { copyGroupScales, GROUP_WIDTH, type GroupScales, newGroupScales, offsetOf, scaleOf } from './grid.ts';
import type { Group } from './group.ts';
import type { GroupLoss } from './loss.ts';
import { fitSteps, STEP_BYTES, StepSearch } from './steps.ts';
import { type FreeFit, MOST_ROUNDS, type StoredFit } from './sub-block.ts';

/** Bytes of scratch of a GroupCoder. */
export const CODER_BYTES = STEP_BYTES;

/** Other d and dmin that are tried, as multiples of what the search of steps found: down, or else up, while it pays. */
const OTHER_STEPS = [
  [0.97, 0.94],
  [1.03, 1.06],
];

/**
 * Codes one row's group of columns: sub-block by sub-block, each under its conditional target, scales and codes
 * together. A step is taken only if the group's loss, with scales as they are stored, falls.
 */
export class GroupCoder {
  readonly #group: Group;
  readonly #steps: StepSearch;
  readonly #best = { levels: new Float32Array(GROUP_WIDTH), decoded: new Float32Array(GROUP_WIDTH) };
  readonly #trial: GroupScales;
  readonly #free: readonly FreeFit[] = Array.from({ length: 16 }, () => ({
    ...{ scale: 0, offset: 0, scaleCurvature: 0, offsetCurvature: 0 },
  }));
  readonly #fit: StoredFit = { scale: 0, min: 0, loss: 0 };
  /** The loss of the sub-block that the search is at. */
  readonly #metric = { r: 0, stride: 0, units: 0, ones: 0 };
  readonly #values = new Float64Array(16);
  readonly #curvatures = new Float64Array(16);

  /** Takes CODER_BYTES at `scratch`. */
  constructor(group: Group, scratch: number) {
    this.#group = group;
    this.#trial = newGroupScales(group.grid);
    this.#steps = new StepSearch(group.kernels, group.memory.buffer, scratch);
  }

  /**
   * Chooses scales and codes for `target` and returns the loss; NaN where nothing finite was found. After the first
   * pass over the sub-blocks at most `refits` times d and dmin are fitted to the codes, and a pass made from there.
   */
  code(loss: GroupLoss, refits: number): number {
    const { scales, grid } = this.#group;
    const trial = this.#trial;
    this.#searchFree(loss);
    this.#chooseSteps(loss.width);
    copyGroupScales(scales, trial);
    let best = this.#pass(loss, null, scales, Number.POSITIVE_INFINITY);
    if (grid.scale.kind === 'half') return best;
    const found = { d: scales.d, dmin: scales.dmin };
    this.#keep(loss.width);
    const take = (held: GroupScales | null): boolean => {
      const lost = this.#pass(loss, held, trial, 0.99999 * best);
      if (Number.isNaN(lost)) {
        this.#restore(loss.width);
        return false;
      }
      best = lost;
      copyGroupScales(trial, scales);
      this.#keep(loss.width);
      return true;
    };
    for (const what of grid.min === null ? (['d'] as const) : (['d', 'dmin'] as const)) {
      const pays = (by: number): boolean => {
        [trial.d, trial.dmin] = [scales.d, scales.dmin];
        trial[what] = roundToFloat16(found[what] * by);
        return trial[what] !== found[what] && take(null);
      };
      for (const [near, far] of OTHER_STEPS) {
        if (!pays(near)) continue;
        pays(far);
        break;
      }
    }
    for (let refit = 0; refit < refits && this.#refit(loss); refit++) {
      for (let s = 0; s * grid.sub < loss.width; s++) {
        this.#free[s].scale = scaleOf(scales, s);
        this.#free[s].offset = offsetOf(scales, s);
      }
      if (!take(scales)) break;
    }
    return best;
  }

  #keep(width: number): void {
    this.#best.levels.set(this.#group.levels.subarray(0, width));
    this.#best.decoded.set(this.#group.decoded.subarray(0, width));
  }

  #restore(width: number): void {
    this.#group.levels.set(this.#best.levels.subarray(0, width));
    this.#group.decoded.set(this.#best.decoded.subarray(0, width));
  }

  /** Puts the loss of sub-block s into `#metric`. */
  #enter(loss: GroupLoss, s: number): void {
    const { sub } = this.#group.grid;
    const first = s * sub;
    this.#metric.r = loss.r + 4 * first * (loss.width + 1);
    this.#metric.stride = 4 * loss.width;
    this.#metric.units = loss.units + 4 * sub * first;
    this.#metric.ones = loss.ones + 4 * first;
  }

  /** Scale and offset of each sub-block as real numbers. */
  #searchFree(loss: GroupLoss): void {
    const { width } = loss;
    const { grid, target, memory, at, search } = this.#group;
    let squares = 0;
    for (let j = 0; j < width; j++) squares += target[j] * target[j];
    // As ggml weighs under importance: more where a weight is large, twice the mean square but for Q2_K.
    const variance = (squares / width) * (grid.type === 'Q2_K' ? 1 : 2);
    const weights = at.weights / 4;
    const importance = loss.importance / 4;
    for (let j = 0; j < width; j++) {
      memory[weights + j] = memory[importance + j] * Math.sqrt(variance + target[j] * target[j]);
    }
    for (let s = 0; s * grid.sub < width; s++) {
      const first = 4 * s * grid.sub;
      this.#enter(loss, s);
      search.aim(at.target + first, this.#metric);
      search.free(at.weights + first, this.#free[s]);
    }
  }

  /** d and dmin for the free scales. */
  #chooseSteps(width: number): void {
    const { grid, scales } = this.#group;
    const { scale, min } = grid;
    const count = width / grid.sub;
    const step = (what: 'scale' | 'offset', sign: number, low: number, high: number) => {
      for (let s = 0; s < count; s++) {
        this.#values[s] = sign * this.#free[s][what];
        this.#curvatures[s] = this.#free[s][`${what}Curvature`];
      }
      return this.#steps.find(this.#values, this.#curvatures, count, low, high);
    };
    if (scale.kind === 'integer') scales.d = step('scale', 1, scale.low, scale.high);
    if (min?.kind === 'integer') scales.dmin = step('offset', -1, min.low, min.high);
  }

  /**
   * Codes all sub-blocks in order with the d and dmin of `to`, whose scales and minima it writes. Each has the target that the
   * errors of those before it leave. `held` competes. Returns the loss, NaN as soon as it is not below `bound`.
   */
  #pass(loss: GroupLoss, held: GroupScales | null, to: GroupScales, bound: number): number {
    const { width } = loss;
    const { kernels, grid, search, memory, at } = this.#group;
    const { sub } = grid;
    const stride = 4 * width;
    memory.fill(0, at.carried / 4, at.carried / 4 + width);
    let total = 0;
    for (let s = 0; s * sub < width; s++) {
      this.#enter(loss, s);
      const { r } = this.#metric;
      const first = 4 * s * sub;
      const target = at.target + first;
      kernels.gptqTarget(
        sub,
        target,
        at.carried + first,
        r,
        stride,
        loss.inverses + first,
        at.sums,
        at.scratch,
      );
      search.aim(at.scratch, this.#metric);
      const { scale, offset } = this.#free[s];
      const stored = held && { scale: held.scales[s], min: held.mins[s] };
      search.stored(to, scale, offset, stored, MOST_ROUNDS, Number.POSITIVE_INFINITY, this.#fit);
      total += this.#group.take(this.#fit, to, s, target);
      if (!(total < bound)) return Number.NaN;
      const after = first + 4 * sub;
      const rest = width - after / 4;
      if (rest > 0) {
        kernels.gptqCombine(sub, rest, at.errors + first, r + 4 * sub, stride, at.carried + after);
      }
    }
    return total;
  }

  /** Fits d and dmin of `#trial` to the codes by least squares under the group's loss; whether they changed. */
  #refit({ width, r }: GroupLoss): boolean {
    const group = this.#group;
    const { kernels, scales, grid, memory, target, decoded, errors } = group;
    const { images, ones, sums, scratch, product, errors: errorsAt } = group.at;
    group.writePatterns(width);
    for (let j = 0; j < width; j++) errors[j] = target[j] - decoded[j];
    const stride = 4 * width;
    kernels.gptqProduct(width, images, r, stride, sums);
    // Without minima `ones` is 0, and so is its product.
    if (grid.min === null) memory.fill(0, scratch / 4, scratch / 4 + width);
    else kernels.gptqProduct(width, ones, r, stride, scratch);
    kernels.gptqProduct(width, errorsAt, r, stride, product);
    const dot = (x: number, y: number) => kernels.gptqDot(width, x, y);
    const [d, dmin] = group.changedSteps(
      fitSteps(
        dot(sums, sums),
        dot(sums, scratch),
        dot(scratch, scratch),
        dot(sums, product),
        dot(scratch, product),
      ),
    );
    if (d === 0 || (d === scales.d && dmin === scales.dmin)) return false;
    copyGroupScales(scales, this.#trial);
    this.#trial.d = d;
    this.#trial.dmin = dmin;
    return true;
  }
}
