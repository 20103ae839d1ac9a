import { FLOAT16_MOST, roundToFloat16 } from '../../core/float.ts';
import type { BlockKernels } from './block-kernels.ts';
import { type Grid, type GroupScales, writeTable } from './grid.ts';

/** Candidates that the kernels judge at a time. */
const LANES = 8;
/** Most steps from neighbour to neighbour. */
export const MOST_ROUNDS = 3;
/** Inverse scales that the plain search tries, a multiple of LANES: ggml's own search has 37 of them under importance. */
const SCAN = 40;
/** Bytes of the candidates, of what is computed of them, of the table and of the inverse scales. */
const SMALL_BYTES = 448 + 8 * SCAN;
/** Bytes of scratch of a search: those; of eight candidates sums, levels, best levels; image. */
export const SEARCH_BYTES = SMALL_BYTES + 256 * 4 * (3 * LANES + 1);
/** Kinds of offsets, as gptqScan has them. */
const OFFSETS = { none: 0, negative: 1, any: 2 };

/** The loss of a sub-block ||(t - q) R||^2: addresses of R and of what is known of it (see BlockKernels). */
export interface Metric {
  readonly r: number;
  readonly stride: number;
  readonly units: number;
  /** 1 R. */
  readonly ones: number;
}

/** A scale and offset on no grid, and how much the loss bends along each. */
export interface FreeFit {
  scale: number;
  offset: number;
  scaleCurvature: number;
  offsetCurvature: number;
}

/** A scale and a minimum as stored: the numbers that GroupScales holds for a sub-block. */
export interface StoredFit {
  scale: number;
  min: number;
  /** Infinity where nothing finite was found. */
  loss: number;
}

/**
 * Search of scale, offset and codes of one sub-block under its own loss. Every candidate is judged by what it leaves
 * after rounding with error feedback, so that codes and scale are chosen for one another.
 */
export class SubBlockSearch {
  readonly #kernels: BlockKernels;
  readonly #grid: Grid;
  readonly #width: number;
  readonly #offsets: number;
  readonly #multiples: Float64Array;
  /** Addresses of the scratch. */
  readonly #at: {
    candidates: number;
    out: number;
    losses: number;
    multiples: number;
    table: number;
    sums: number;
    levels: number;
    best: number;
    image: number;
  };
  readonly #candidates: Float32Array;
  readonly #out: Float32Array;
  readonly #losses: Float32Array;
  readonly #buffer: ArrayBufferLike;
  /** The lane of `#at.best` that holds the levels of the best candidate that `stored` found. */
  #bestLane = 0;
  /** Address of the grid's table of levels, or 0. */
  readonly table: number;
  #target = 0;
  #metric: Metric = { r: 0, stride: 0, units: 0, ones: 0 };
  /** ones ones, ones image. */
  #zz = 0;
  #zt = 0;
  /** The least loss of each free candidate so far. */
  readonly #laneLoss = new Float64Array(LANES);
  /** What `#solve` found. */
  readonly #solved = { scale: 0, offset: 0 };
  // The candidates of a batch as stored.
  readonly #batchScale = new Float64Array(LANES);
  readonly #batchMin = new Float64Array(LANES);
  #batch = 0;
  /** Scales and minima that were in a batch, in pairs: of `rounds` + 1 batches at most. */
  readonly #tried = new Float64Array(2 * LANES * (MOST_ROUNDS + 1));
  #triedCount = 0;

  /** Takes SEARCH_BYTES at `scratch`. */
  constructor(kernels: BlockKernels, buffer: ArrayBufferLike, scratch: number, grid: Grid) {
    this.#kernels = kernels;
    this.#buffer = buffer;
    this.#grid = grid;
    this.#width = grid.sub;
    const sums = scratch + SMALL_BYTES;
    const levels = sums + 4 * 256 * LANES;
    const best = levels + 4 * 256 * LANES;
    const image = best + 4 * 256 * LANES;
    this.#at = {
      ...{ candidates: scratch, out: scratch + 64, losses: scratch + 192, multiples: scratch + 448 },
      ...{ table: grid.table === null ? 0 : scratch + 256, sums, levels, best, image },
    };
    this.table = this.#at.table;
    this.#offsets =
      grid.min === null ? OFFSETS.none : grid.min.kind === 'half' ? OFFSETS.any : OFFSETS.negative;
    const floats = (address: number, n: number) => new Float32Array(buffer, address, n);
    this.#candidates = floats(this.#at.candidates, 2 * LANES);
    this.#out = floats(this.#at.out, 3 * LANES);
    this.#losses = floats(this.#at.losses, LANES);
    this.#multiples = inverseScales(grid);
    this.prepare();
  }

  /** Puts what must be in the scratch there again, after others have used it. */
  prepare(): void {
    writeTable(this.#buffer, this.#at.table, this.#grid);
    new Float64Array(this.#buffer, this.#at.multiples, SCAN).set(this.#multiples);
  }

  /** What is searched next: the address of the sub-block's target, and its loss. */
  aim(target: number, metric: Metric): void {
    this.#target = target;
    this.#metric = metric;
    this.#kernels.gptqProduct(this.#width, target, metric.r, metric.stride, this.#at.image);
    this.#zz = this.#kernels.gptqDot(this.#width, metric.ones, metric.ones);
    this.#zt = this.#kernels.gptqDot(this.#width, metric.ones, this.#at.image);
  }

  /**
   * Scale and offset as real numbers. The candidates that round best under `weights` (at that address) are judged with error
   * feedback and refined by least squares.
   */
  free(weights: number, fit: FreeFit): void {
    fit.scale = fit.offset = 0;
    fit.scaleCurvature = 0;
    fit.offsetCurvature = this.#zz;
    const count = this.#scan(weights);
    if (count === 0) return;
    let best = Number.POSITIVE_INFINITY;
    this.#laneLoss.fill(Number.POSITIVE_INFINITY);
    for (let round = 0; round < 4; round++) {
      this.#tryCandidates(count);
      this.#fitLanes();
      let improved = false;
      for (let lane = 0; lane < count; lane++) {
        const loss = this.#losses[lane];
        if (loss < best) {
          best = loss;
          fit.scale = this.#candidates[lane];
          fit.offset = this.#candidates[LANES + lane];
          fit.scaleCurvature = this.#out[lane];
        }
        if (!(loss < 0.9999 * this.#laneLoss[lane])) continue;
        this.#laneLoss[lane] = loss;
        improved = true;
        this.#solve(this.#out[lane], this.#out[LANES + lane], this.#out[2 * LANES + lane]);
        this.#candidates[lane] = this.#solved.scale;
        this.#candidates[LANES + lane] = this.#solved.offset;
      }
      if (!improved) return;
    }
  }

  /** Levels and loss of the first `count` candidates, rounded with error feedback. */
  #tryCandidates(count: number): void {
    const { low, high } = this.#grid;
    const { candidates, table, sums, levels, losses } = this.#at;
    const { units } = this.#metric;
    this.#kernels.gptqTry(
      count,
      this.#width,
      this.#target,
      units,
      candidates,
      low,
      high,
      table,
      sums,
      levels,
      losses,
    );
  }

  /** Fills the candidates with those of the least weighted error after plain rounding; returns how many. */
  #scan(weights: number): number {
    const { low, high } = this.#grid;
    const { multiples, table, sums, candidates } = this.#at;
    const count = this.#kernels.gptqScan(
      this.#width,
      this.#target,
      weights,
      multiples,
      SCAN,
      this.#offsets,
      low,
      high,
      table,
      sums,
      candidates,
    );
    for (let lane = count; count > 0 && lane < LANES; lane++) {
      this.#candidates[lane] = this.#candidates[count - 1];
      this.#candidates[LANES + lane] = this.#candidates[LANES + count - 1];
    }
    return count;
  }

  /** Sums of the least-squares problems of eight candidates' levels. */
  #fitLanes(): void {
    const { image, levels, sums, out } = this.#at;
    const { ones, r, stride } = this.#metric;
    this.#kernels.gptqFit(this.#width, image, ones, levels, r, stride, sums, out);
  }

  /** Least-squares scale and offset of the best candidate's levels, to `#solved`. */
  #fitBest(): void {
    const { image, best, sums, out } = this.#at;
    const { ones, r, stride } = this.#metric;
    const lane = best + 4 * this.#bestLane;
    this.#kernels.gptqFitLane(this.#width, image, ones, lane, r, stride, sums, out);
    this.#solve(this.#out[0], this.#out[1], this.#out[2]);
  }

  /** Least-squares scale and offset, to `#solved`, from the sums of gptqFit. */
  #solve(yy: number, yt: number, yz: number): void {
    const zz = this.#zz;
    const zt = this.#zt;
    this.#solved.scale = yy > 0 ? yt / yy : 0;
    this.#solved.offset = 0;
    if (this.#offsets === OFFSETS.none) return;
    const determinant = yy * zz - yz * yz;
    if (!(determinant > 1e-6 * yy * zz)) return;
    const free = (yy * zt - yt * yz) / determinant;
    if (free > 0 && this.#offsets === OFFSETS.negative) return;
    this.#solved.scale = (yt * zz - zt * yz) / determinant;
    this.#solved.offset = free;
  }

  /**
   * Best scale and minimum that can be stored, d and dmin of `group` being given, near a free scale and offset; `held`, if any,
   * is what is stored now and competes. `rounds`, MOST_ROUNDS at most, bounds the steps from neighbour to neighbour; there are
   * none when the first candidates leave `bound` or more. `take` writes the levels that were found.
   */
  stored(
    group: GroupScales,
    scale: number,
    offset: number,
    held: { readonly scale: number; readonly min: number } | null,
    rounds: number,
    bound: number,
    fit: StoredFit,
  ): void {
    fit.loss = Number.POSITIVE_INFINITY;
    this.#triedCount = 0;
    this.#batch = 0;
    if (held !== null) this.#propose(held.scale, held.min);
    this.#proposeFree(group, scale, offset);
    const start = held === null ? 0 : Math.min(1, this.#batch - 1);
    this.#proposeNeighbours(this.#batchScale[start], this.#batchMin[start]);
    for (let round = 0; ; round++) {
      const best = this.#judge(group, fit);
      if (best < 0 || round === rounds || fit.loss >= bound) return;
      this.#fitBest();
      this.#batch = 0;
      this.#proposeFree(group, this.#solved.scale, this.#solved.offset);
      this.#proposeNeighbours(fit.scale, fit.min);
      if (this.#batch === 0) return;
    }
  }

  /** Judges the batch; the lane that became the best, or -1. */
  #judge(group: GroupScales, fit: StoredFit): number {
    for (let lane = 0; lane < LANES; lane++) {
      const from = Math.min(lane, this.#batch - 1);
      this.#candidates[lane] = Math.fround(group.d * this.#batchScale[from]);
      this.#candidates[LANES + lane] = -Math.fround(group.dmin * this.#batchMin[from]);
    }
    this.#tryCandidates(this.#batch);
    let best = -1;
    for (let lane = 0; lane < this.#batch; lane++) {
      if (!(this.#losses[lane] < fit.loss)) continue;
      best = lane;
      fit.loss = this.#losses[lane];
      fit.scale = this.#batchScale[lane];
      fit.min = this.#batchMin[lane];
    }
    if (best >= 0) {
      this.#bestLane = best;
      [this.#at.best, this.#at.levels] = [this.#at.levels, this.#at.best];
    }
    return best;
  }

  /**
   * Writes the levels of what `stored` found, what they decode to with that scale and offset, and what this leaves of the
   * values at `target`.
   */
  take(target: number, scale: number, offset: number, levels: number, decoded: number, errors: number): void {
    const { best } = this.#at;
    this.#kernels.gptqTake(this.#width, best, this.#bestLane, target, scale, offset, levels, decoded, errors);
  }

  #proposeFree({ d, dmin }: GroupScales, scale: number, offset: number): void {
    const { scale: stored, min } = this.#grid;
    const scaleCode = stored.kind === 'half' ? halfOf(scale) : codeOf(scale / d, stored.low, stored.high);
    if (min === null) this.#propose(scaleCode, 0);
    else if (min.kind === 'half') this.#propose(scaleCode, halfOf(offset));
    else this.#propose(scaleCode, codeOf(-offset / dmin, min.low, min.high));
  }

  #proposeNeighbours(scale: number, min: number): void {
    const { scale: stored, min: minimum } = this.#grid;
    if (stored.kind === 'half') {
      const steps = minimum === null ? RELATIVE : RELATIVE_WITH_MIN;
      for (let i = 0; i < steps.length; i += 2) {
        this.#propose(roundToFloat16(scale * (1 + steps[i])), roundToFloat16(min * (1 + steps[i + 1])));
      }
      return;
    }
    // A step of a scale of 8 bits changes little.
    const step = stored.high >= 127 ? 2 : 1;
    const steps = minimum === null ? ALONG : AROUND;
    for (let i = 0; i < steps.length; i += 2) this.#propose(scale + step * steps[i], min + steps[i + 1]);
  }

  #propose(scale: number, min: number): void {
    const { scale: stored, min: minimum } = this.#grid;
    if (stored.kind === 'integer' && (scale < stored.low || scale > stored.high)) return;
    if (minimum?.kind === 'integer' && (min < minimum.low || min > minimum.high)) return;
    if (this.#batch === LANES || !Number.isFinite(scale) || !Number.isFinite(min)) return;
    const tried = this.#tried;
    for (let i = 0; i < this.#triedCount; i += 2) if (tried[i] === scale && tried[i + 1] === min) return;
    tried[this.#triedCount++] = scale;
    tried[this.#triedCount++] = min;
    this.#batchScale[this.#batch] = scale;
    this.#batchMin[this.#batch++] = min;
  }
}

// Neighbours: changes of scale and minimum in turn, in steps or, of what has float16 of its own, relative.
const AROUND = [1, 0, -1, 0, 0, 1, 0, -1, 1, 1, -1, -1, 1, -1, -1, 1];
const ALONG = [1, 0, -1, 0, 2, 0, -2, 0, 3, 0, -3, 0];
const RELATIVE = [0.007, 0, -0.007, 0, 0.015, 0, -0.015, 0, 0.03, 0, -0.03, 0, 0.06, 0];
const RELATIVE_WITH_MIN = [0.01, 0, -0.01, 0, 0.03, 0, -0.03, 0, 0, 0.01, 0, -0.01, 0, 0.03];

/** Nearest finite float16: something can always be proposed. */
const halfOf = (x: number): number => roundToFloat16(Math.max(-FLOAT16_MOST, Math.min(FLOAT16_MOST, x)));

/** Nearest integer of low..high, never -0; 0 for NaN, which 0 / 0 gives. */
const codeOf = (x: number, low: number, high: number): number =>
  Number.isNaN(x) ? 0 : Math.max(low, Math.min(high, Math.round(x))) + 0;

/**
 * Inverse scales number 0 to SCAN - 1 for values whose range is 1; without offsets for values around zero of which the largest in
 * magnitude is 1: it goes to near one end of the levels or the other.
 */
const inverseScales = (grid: Grid): Float64Array =>
  Float64Array.from({ length: SCAN }, (_, at) =>
    grid.min === null ? inverseAround(grid, at) : grid.high - 0.9 + 0.05 * at,
  );

function inverseAround({ low, high, table }: Grid, at: number): number {
  const levels = table?.length ?? high - low + 1;
  const reach = levels <= 3 ? 0.6 : levels <= 8 ? 0.3 : levels <= 32 ? 0.16 : 0.04;
  // On a grid that is even about 0 both ends are the same, and scales are positive.
  const even = low === -high;
  const count = even ? SCAN : SCAN / 2;
  const end = even || at >= count ? high : low;
  const step = ((at % count) - (count >> 1)) / (count >> 1);
  return end * (1 + reach * step);
}
