import { roundToFloat16 } from '../../core/float.ts';
import type { BlockKernels } from './block-kernels.ts';
import { GROUP_WIDTH, type Grid, type GroupScales, newGroupScales, offsetOf, scaleOf } from './grid.ts';
import { SEARCH_BYTES, type StoredFit, SubBlockSearch } from './sub-block.ts';

/** A vector of a group: 256 float32. */
const VECTOR = 4 * GROUP_WIDTH;
const VECTORS = [
  'target',
  'levels',
  'decoded',
  'errors',
  'weights',
  'sums',
  'scratch',
  'carried',
  'images',
  'ones',
  'product',
] as const;
/** Bytes of scratch of a Group. */
export const GROUP_BYTES = SEARCH_BYTES + VECTORS.length * VECTOR;

/**
 * One row's group of columns: its levels and scales, what they decode to, and the buffers of those that choose them
 * (GroupCoder, then GroupImprover).
 */
export class Group {
  readonly kernels: BlockKernels;
  readonly grid: Grid;
  readonly search: SubBlockSearch;
  /** All of the memory that addresses are of. */
  readonly memory: Float32Array;
  /** Addresses of vectors. */
  readonly at: { readonly [name in (typeof VECTORS)[number]]: number };
  /** What the codes should come near. */
  readonly target: Float32Array;
  readonly scales: GroupScales;
  readonly levels: Float32Array;
  /** What levels and scales decode to. */
  readonly decoded: Float32Array;
  readonly errors: Float32Array;

  /** Takes GROUP_BYTES at `scratch`. */
  constructor(kernels: BlockKernels, buffer: ArrayBufferLike, scratch: number, grid: Grid) {
    this.kernels = kernels;
    this.grid = grid;
    this.search = new SubBlockSearch(kernels, buffer, scratch, grid);
    this.memory = new Float32Array(buffer);
    const address = (i: number) => scratch + SEARCH_BYTES + i * VECTOR;
    this.at = Object.fromEntries(VECTORS.map((name, i) => [name, address(i)])) as typeof this.at;
    const vector = (at: number) => new Float32Array(buffer, at, GROUP_WIDTH);
    this.target = vector(this.at.target);
    this.levels = vector(this.at.levels);
    this.decoded = vector(this.at.decoded);
    this.errors = vector(this.at.errors);
    this.scales = newGroupScales(grid);
  }

  /** Before it is used again, after others have used the scratch. */
  prepare(): void {
    this.search.prepare();
  }

  /** Decodes the first `width` levels. */
  decode(width: number): void {
    const { sub } = this.grid;
    for (let s = 0; s * sub < width; s++) {
      const scale = scaleOf(this.scales, s);
      const offset = offsetOf(this.scales, s);
      for (let j = s * sub; j < (s + 1) * sub; j++) {
        this.decoded[j] = Math.fround(scale * this.levels[j]) + offset;
      }
    }
  }

  /**
   * Takes what the search found for sub-block s; returns its loss, NaN where nothing was found. Errors are then what it leaves of
   * the values at `target`.
   */
  take({ scale, min, loss }: StoredFit, to: GroupScales, s: number, target: number): number {
    if (loss === Number.POSITIVE_INFINITY) return Number.NaN;
    to.scales[s] = scale;
    to.mins[s] = min;
    const { levels, decoded, errors } = this.at;
    const first = 4 * s * this.grid.sub;
    this.search.take(
      target,
      scaleOf(to, s),
      offsetOf(to, s),
      levels + first,
      decoded + first,
      errors + first,
    );
    return loss;
  }

  /** Writes what d and dmin multiply in each column, to `images` and `ones`. */
  writePatterns(width: number): void {
    const { memory, levels } = this;
    const { scales, mins } = this.scales;
    const { sub } = this.grid;
    const images = this.at.images / 4;
    const ones = this.at.ones / 4;
    for (let s = 0; s * sub < width; s++) {
      for (let j = s * sub; j < (s + 1) * sub; j++) {
        memory[images + j] = scales[s] * levels[j];
        memory[ones + j] = mins[s];
      }
    }
  }

  /** d and dmin after a change, as stored. */
  changedSteps([byD, byDmin]: readonly [number, number]): [d: number, dmin: number] {
    const { d, dmin } = this.scales;
    const newD = roundToFloat16(d + byD);
    const newDmin = this.grid.min === null ? dmin : Math.max(0, roundToFloat16(dmin + byDmin));
    return [Number.isFinite(newD) ? newD : d, Number.isFinite(newDmin) ? newDmin : dmin];
  }
}
