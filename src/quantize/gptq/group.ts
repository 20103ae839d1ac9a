import { roundToFloat16 } from '../../core/float.ts';
import type { BlockKernels } from './block-kernels.ts';
import {
  copyGroupScales,
  GROUP_WIDTH,
  type Grid,
  type GroupScales,
  newGroupScales,
  offsetOf,
  scaleOf,
} from './grid.ts';
import type { GroupCurvature, GroupLoss } from './loss.ts';
import { PAIR_BYTES, PairDescent } from './pairs.ts';
import { fitSteps, STEP_BYTES, StepSearch } from './steps.ts';
import {
  type FreeFit,
  type Metric,
  MOST_ROUNDS,
  SEARCH_BYTES,
  type StoredFit,
  SubBlockSearch,
} from './sub-block.ts';

/** A vector of a group: 256 float32. */
const VECTOR = 4 * GROUP_WIDTH;
/** Bytes of scratch of a GroupCoder. */
export const GROUP_BYTES = SEARCH_BYTES + 11 * VECTOR + PAIR_BYTES + STEP_BYTES;

/** Other d and dmin that are tried, as multiples of what the search of steps found: down, or else up, while it pays. */
const OTHER_STEPS = [
  [0.97, 0.94],
  [1.03, 1.06],
];

/** Most rounds of pairs of codes, each with single codes after it. */
const PAIR_ROUNDS = 3;

const at = (buffer: ArrayBufferLike, address: number) => new Float32Array(buffer, address, GROUP_WIDTH);

/**
 * Codes one row's group of columns: sub-block by sub-block, each under its conditional target, scales and codes
 * together. A step is taken only if the group's loss, with scales as they are stored, falls.
 */
export class GroupCoder {
  readonly #kernels: BlockKernels;
  readonly #grid: Grid;
  readonly #search: SubBlockSearch;
  readonly #pairs: PairDescent;
  readonly #steps: StepSearch;
  readonly #memory: Float32Array;
  readonly #address: {
    readonly [name in
      | 'target'
      | 'levels'
      | 'decoded'
      | 'errors'
      | 'weights'
      | 'sums'
      | 'scratch'
      | 'carried']: number;
  };
  readonly #images: readonly [number, number, number];
  readonly #target: Float32Array;
  readonly #decoded: Float32Array;
  readonly #errors: Float32Array;
  readonly #levels: Float32Array;
  readonly #best = { levels: new Float32Array(GROUP_WIDTH), decoded: new Float32Array(GROUP_WIDTH) };
  /** Scales of the group, what `code` found and `improve` starts from and changes. */
  readonly scales: GroupScales;
  readonly #trial: GroupScales;
  readonly #free: readonly FreeFit[] = Array.from({ length: 16 }, () => ({
    ...{ scale: 0, offset: 0, scaleCurvature: 0, offsetCurvature: 0 },
  }));
  readonly #fit: StoredFit = { scale: 0, min: 0, loss: 0 };
  readonly #values = new Float64Array(16);
  readonly #curvatures = new Float64Array(16);

  /** Takes GROUP_BYTES at `scratch`. */
  constructor(kernels: BlockKernels, buffer: ArrayBufferLike, scratch: number, grid: Grid) {
    this.#kernels = kernels;
    this.#grid = grid;
    this.scales = newGroupScales(grid);
    this.#trial = newGroupScales(grid);
    this.#search = new SubBlockSearch(kernels, buffer, scratch, grid);
    this.#memory = new Float32Array(buffer);
    const vectors = scratch + SEARCH_BYTES;
    const vector = (i: number) => vectors + i * VECTOR;
    this.#address = {
      ...{ target: vector(0), levels: vector(1), decoded: vector(2), errors: vector(3) },
      ...{ weights: vector(4), sums: vector(5), scratch: vector(6), carried: vector(7) },
    };
    this.#images = [vector(8), vector(9), vector(10)];
    this.#pairs = new PairDescent(kernels, buffer, vector(11), grid);
    this.#steps = new StepSearch(kernels, buffer, vector(11) + PAIR_BYTES);
    this.#target = at(buffer, this.#address.target);
    this.#levels = at(buffer, this.#address.levels);
    this.#decoded = at(buffer, this.#address.decoded);
    this.#errors = at(buffer, this.#address.errors);
  }

  /** Before it is used again, after others have used the scratch. */
  prepare(): void {
    this.#search.prepare();
  }

  /** Address of the group's target, which `code` reads. */
  get target(): number {
    return this.#address.target;
  }

  /** Levels, what `code` found and `improve` starts from and changes. */
  get levels(): Float32Array {
    return this.#levels;
  }

  /** What levels and scales decode to. */
  get decoded(): Float32Array {
    return this.#decoded;
  }

  /** Scratch of 256 float32 for the caller, between calls. */
  get scratch(): number {
    return this.#address.scratch;
  }

  /**
   * Chooses scales and codes for `target` and returns the loss; NaN where nothing finite was found. After the first
   * pass over the sub-blocks at most `refits` times d and dmin are fitted to the codes, and a pass made from there.
   */
  code(loss: GroupLoss, refits: number): number {
    const { scales } = this;
    const trial = this.#trial;
    this.#searchFree(loss);
    this.#chooseSteps(loss.width);
    copyGroupScales(scales, trial);
    let best = this.#pass(loss, null, scales, Number.POSITIVE_INFINITY);
    if (this.#grid.scale.kind === 'half') return best;
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
    for (const what of this.#grid.min === null ? (['d'] as const) : (['d', 'dmin'] as const)) {
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
      for (let s = 0; s * this.#grid.sub < loss.width; s++) {
        this.#free[s].scale = scaleOf(scales, s);
        this.#free[s].offset = offsetOf(scales, s);
      }
      if (!take(scales)) break;
    }
    return best;
  }

  #keep(width: number): void {
    this.#best.levels.set(this.#levels.subarray(0, width));
    this.#best.decoded.set(this.#decoded.subarray(0, width));
  }

  #restore(width: number): void {
    this.#levels.set(this.#best.levels.subarray(0, width));
    this.#decoded.set(this.#best.decoded.subarray(0, width));
  }

  #metric(loss: GroupLoss, s: number): Metric {
    const first = s * this.#grid.sub;
    return {
      r: loss.r + 4 * first * (loss.width + 1),
      stride: 4 * loss.width,
      units: loss.units + 4 * this.#grid.sub * first,
      ones: loss.ones + 4 * first,
    };
  }

  /** Scale and offset of each sub-block as real numbers. */
  #searchFree(loss: GroupLoss): void {
    const { width } = loss;
    const { sub } = this.#grid;
    const target = this.#target;
    let squares = 0;
    for (let j = 0; j < width; j++) squares += target[j] * target[j];
    // As ggml weighs under importance: more where a weight is large, twice the mean square but for Q2_K.
    const variance = (squares / width) * (this.#grid.type === 'Q2_K' ? 1 : 2);
    const [weights, importance] = [this.#address.weights / 4, loss.importance / 4];
    for (let j = 0; j < width; j++) {
      this.#memory[weights + j] = this.#memory[importance + j] * Math.sqrt(variance + target[j] * target[j]);
    }
    for (let s = 0; s * sub < width; s++) {
      this.#search.aim(this.#address.target + 4 * s * sub, this.#metric(loss, s));
      this.#search.free(this.#address.weights + 4 * s * sub, this.#free[s]);
    }
  }

  /** d and dmin for the free scales. */
  #chooseSteps(width: number): void {
    const { scale, min, sub } = this.#grid;
    const count = width / sub;
    const step = (what: 'scale' | 'offset', sign: number, low: number, high: number) => {
      for (let s = 0; s < count; s++) {
        this.#values[s] = sign * this.#free[s][what];
        this.#curvatures[s] = this.#free[s][`${what}Curvature`];
      }
      return this.#steps.find(this.#values, this.#curvatures, count, low, high);
    };
    if (scale.kind === 'integer') this.scales.d = step('scale', 1, scale.low, scale.high);
    if (min?.kind === 'integer') this.scales.dmin = step('offset', -1, min.low, min.high);
  }

  /**
   * Codes all sub-blocks in order with the d and dmin of `to`, whose scales and minima it writes. Each has the target that the
   * errors of those before it leave. `held` competes. Returns the loss, NaN as soon as it is not below `bound`.
   */
  #pass(loss: GroupLoss, held: GroupScales | null, to: GroupScales, bound: number): number {
    const { width } = loss;
    const { sub } = this.#grid;
    const { target, carried, sums, scratch, errors } = this.#address;
    this.#memory.fill(0, carried / 4, carried / 4 + width);
    let total = 0;
    for (let s = 0; s * sub < width; s++) {
      const first = s * sub;
      const metric = this.#metric(loss, s);
      const { r, stride } = metric;
      const inverses = loss.inverses + 4 * first;
      this.#kernels.gptqTarget(
        sub,
        target + 4 * first,
        carried + 4 * first,
        r,
        stride,
        inverses,
        sums,
        scratch,
      );
      this.#search.aim(scratch, metric);
      const { scale, offset } = this.#free[s];
      const stored = held && { scale: held.scales[s], min: held.mins[s] };
      this.#search.stored(to, scale, offset, stored, MOST_ROUNDS, Number.POSITIVE_INFINITY, this.#fit);
      total += this.#accept(to, s, target + 4 * first);
      if (!(total < bound)) return Number.NaN;
      const after = first + sub;
      const rest = width - after;
      if (rest > 0) {
        this.#kernels.gptqCombine(sub, rest, errors + 4 * first, r + 4 * sub, stride, carried + 4 * after);
      }
    }
    return total;
  }

  /**
   * Takes what the search found for sub-block s; returns its loss, NaN where nothing was found. Errors are then what it leaves of
   * the values at `target`.
   */
  #accept(to: GroupScales, s: number, target: number): number {
    const { scale, min, loss } = this.#fit;
    if (loss === Number.POSITIVE_INFINITY) return Number.NaN;
    to.scales[s] = scale;
    to.mins[s] = min;
    const { levels, decoded, errors } = this.#address;
    const first = 4 * s * this.#grid.sub;
    this.#search.take(
      target,
      scaleOf(to, s),
      offsetOf(to, s),
      levels + first,
      decoded + first,
      errors + first,
    );
    return loss;
  }

  #decode(scales: GroupScales, s: number): void {
    const { sub } = this.#grid;
    const [scale, offset] = [scaleOf(scales, s), offsetOf(scales, s)];
    for (let j = s * sub; j < (s + 1) * sub; j++) {
      this.#decoded[j] = Math.fround(scale * this.#levels[j]) + offset;
    }
  }

  /** Patterns that d and dmin multiply, at the addresses `images` 0 and 1. */
  #patterns(width: number): void {
    const { sub } = this.#grid;
    const [a, b] = this.#images;
    for (let j = 0; j < width; j++) {
      const s = Math.floor(j / sub);
      this.#memory[a / 4 + j] = this.scales.scales[s] * this.#levels[j];
      this.#memory[b / 4 + j] = this.scales.mins[s];
    }
  }

  /** Fits d and dmin of `#trial` to the codes by least squares under the group's loss; whether they changed. */
  #refit({ width, r }: GroupLoss): boolean {
    const { scales } = this;
    const { errors, sums, scratch } = this.#address;
    const [a, b, c] = this.#images;
    this.#patterns(width);
    for (let j = 0; j < width; j++) this.#errors[j] = this.#target[j] - this.#decoded[j];
    const stride = 4 * width;
    this.#kernels.gptqProduct(width, a, r, stride, sums);
    // Without minima b is 0, and so is its product.
    if (this.#grid.min === null) this.#memory.fill(0, scratch / 4, scratch / 4 + width);
    else this.#kernels.gptqProduct(width, b, r, stride, scratch);
    this.#kernels.gptqProduct(width, errors, r, stride, c);
    const dot = (x: number, y: number) => this.#kernels.gptqDot(width, x, y);
    const [d, dmin] = this.#newSteps(
      fitSteps(dot(sums, sums), dot(sums, scratch), dot(scratch, scratch), dot(sums, c), dot(scratch, c)),
    );
    if (d === 0 || (d === scales.d && dmin === scales.dmin)) return false;
    copyGroupScales(scales, this.#trial);
    this.#trial.d = d;
    this.#trial.dmin = dmin;
    return true;
  }

  /** d and dmin after a change, as stored. */
  #newSteps([byD, byDmin]: readonly [number, number]): [d: number, dmin: number] {
    const { d, dmin } = this.scales;
    const newD = roundToFloat16(d + byD);
    const newDmin = this.#grid.min === null ? dmin : Math.max(0, roundToFloat16(dmin + byDmin));
    return [Number.isFinite(newD) ? newD : d, Number.isFinite(newDmin) ? newDmin : dmin];
  }

  /** Decodes all sub-blocks from levels and scales, which the caller has set. */
  decode(width: number): void {
    for (let s = 0; s * this.#grid.sub < width; s++) this.#decode(this.scales, s);
  }

  /**
   * Improves a group while all other columns of the row stay: sub-block by sub-block scale and codes, then single codes,
   * then, with `pairs`, pairs of codes and single ones again, at last d and dmin. Starts from levels, scales and what they
   * decode to. `gradient` is the address of E H for the group's columns, kept up to date. Returns whether anything changed.
   */
  improve(curvature: GroupCurvature, gradient: number, pairs: boolean): boolean {
    let changed = false;
    const subs = curvature.width / this.#grid.sub;
    for (let s = 0; s < subs; s++) {
      if (this.#improveSubBlock(curvature, gradient, s)) changed = true;
      if (this.#descend(curvature, gradient, s)) changed = true;
    }
    for (let round = 0; pairs && round < PAIR_ROUNDS; round++) {
      if (!this.#pairs.sweep(curvature, gradient, this.scales, this.#levels, this.#decoded)) break;
      changed = true;
      for (let s = 0; s < subs; s++) this.#descend(curvature, gradient, s);
    }
    if (this.#grid.scale.kind === 'integer' && this.#improveSteps(curvature, gradient)) changed = true;
    return changed;
  }

  /** Moves single codes of sub-block s to their best levels; whether any moved. */
  #descend({ width, h, reciprocals }: GroupCurvature, gradient: number, s: number): boolean {
    const { sub, low, high } = this.#grid;
    const { decoded, levels } = this.#address;
    const moves = this.#kernels.gptqDescend(
      s * sub,
      (s + 1) * sub,
      width,
      h,
      reciprocals,
      scaleOf(this.scales, s),
      offsetOf(this.scales, s),
      low,
      high,
      this.#search.table,
      gradient,
      levels,
      decoded,
    );
    return moves > 0;
  }

  #improveSubBlock(
    { width, h, factors, inverses, units, ones }: GroupCurvature,
    gradient: number,
    s: number,
  ): boolean {
    const { sub } = this.#grid;
    const { sums, scratch, carried, decoded, errors } = this.#address;
    const first = s * sub;
    const [r, stride, own] = [factors + 4 * sub * first, 4 * sub, inverses + 4 * first];
    const metric: Metric = { r, stride, units: units + 4 * sub * first, ones: ones + 4 * first };
    // (t - q) R with t where the gradient would vanish: its square is the loss that is left to gain.
    this.#kernels.gptqBacksolve(sub, gradient + 4 * first, r, stride, own, carried);
    const held = this.#kernels.gptqDot(sub, carried, carried);
    this.#kernels.gptqTarget(sub, decoded + 4 * first, carried, r, stride, own, sums, scratch);
    this.#search.aim(scratch, metric);
    const stored = { scale: this.scales.scales[s], min: this.scales.mins[s] };
    this.#search.stored(
      this.scales,
      scaleOf(this.scales, s),
      offsetOf(this.scales, s),
      stored,
      1,
      0.9999 * held,
      this.#fit,
    );
    if (!(this.#fit.loss < 0.9999 * held)) return false;
    this.#accept(this.scales, s, decoded + 4 * first);
    this.#kernels.gptqCombine(sub, width, errors + 4 * first, h + 4 * width * first, 4 * width, gradient);
    return true;
  }

  #improveSteps({ width, h, sums: sumsOfRows }: GroupCurvature, gradient: number): boolean {
    const { scales } = this;
    const { sums, scratch, weights } = this.#address;
    const memory = this.#memory;
    const [a, b] = this.#images;
    this.#patterns(width);
    const stride = 4 * width;
    memory.fill(0, sums / 4, sums / 4 + width);
    memory.fill(0, scratch / 4, scratch / 4 + width);
    this.#kernels.gptqCombine(width, width, a, h, stride, sums);
    if (this.#grid.min !== null) {
      memory.set(scales.mins, weights / 4);
      this.#kernels.gptqCombine(width / this.#grid.sub, width, weights, sumsOfRows, stride, scratch);
    }
    const dot = (x: number, y: number) => this.#kernels.gptqDot(width, x, y);
    const [aa, ab, bb] = [dot(a, sums), dot(b, sums), dot(b, scratch)];
    const [ag, bg] = [dot(a, gradient), dot(b, gradient)];
    const [d, dmin] = this.#newSteps(fitSteps(aa, ab, bb, ag, bg));
    const [byD, byDmin] = [d - scales.d, dmin - scales.dmin];
    if (byD === 0 && byDmin === 0) return false;
    const change =
      -2 * (byD * ag - byDmin * bg) + byD * byD * aa - 2 * byD * byDmin * ab + byDmin * byDmin * bb;
    if (!(change < 0)) return false;
    [scales.d, scales.dmin] = [d, dmin];
    this.decode(width);
    const [g, s, t] = [gradient / 4, sums / 4, scratch / 4];
    for (let j = 0; j < width; j++) memory[g + j] -= byD * memory[s + j] - byDmin * memory[t + j];
    return true;
  }
}
