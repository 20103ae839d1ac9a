import { FLOAT16_LEAST, roundToFloat16 } from '../../core/float.ts';
import type { BlockKernels } from './block-kernels.ts';

/** Bytes of scratch of a StepSearch. */
export const STEP_BYTES = 4 * (16 + 16 + 8);

/** Search of the step that the scales, or the minima, of a group share. */
export class StepSearch {
  readonly #kernels: BlockKernels;
  readonly #at: { readonly values: number; readonly curvatures: number; readonly out: number };
  readonly #values: Float32Array;
  readonly #curvatures: Float32Array;
  readonly #out: Float32Array;

  /** Takes STEP_BYTES at `scratch`. */
  constructor(kernels: BlockKernels, buffer: ArrayBufferLike, scratch: number) {
    this.#kernels = kernels;
    this.#at = { values: scratch, curvatures: scratch + 64, out: scratch + 128 };
    this.#values = new Float32Array(buffer, scratch, 16);
    this.#curvatures = new Float32Array(buffer, scratch + 64, 16);
    this.#out = new Float32Array(buffer, scratch + 128, 8);
  }

  /**
   * Step d, a float16, that lets d * integers of low..high come near `values` (the first `count`), an error in value s costing
   * curvatures[s]: of 64 inverse steps around the extremes the one whose least-squares d leaves the least. 0 when all are.
   */
  find(values: Float64Array, curvatures: Float64Array, count: number, low: number, high: number): number {
    let [peak, steepest] = [0, 0];
    for (let s = 0; s < count; s++) {
      if (Math.abs(values[s]) > Math.abs(peak)) peak = values[s];
      if (curvatures[s] > steepest) steepest = curvatures[s];
    }
    if (peak === 0) return 0;
    // Relative, so that float32 holds all squares.
    for (let s = 0; s < count; s++) {
      this.#values[s] = values[s] / peak;
      this.#curvatures[s] = curvatures[s] / steepest;
    }
    let [best, step] = [-1, 0];
    for (const end of low < 0 ? [high, low] : [high]) {
      const { values: at, curvatures: costs, out } = this.#at;
      this.#kernels.gptqSteps(count, at, costs, end, low, high, out);
      for (let lane = 0; lane < 4; lane++) {
        if (this.#out[lane] <= best) continue;
        best = this.#out[lane];
        step = peak * this.#out[4 + lane];
      }
    }
    const rounded = roundToFloat16(step);
    if (rounded !== 0) return rounded;
    // A step below float16's least number: that, with small integers, if not even the extreme can be held otherwise.
    return (
      roundToFloat16(peak / high) ||
      (Math.abs(peak) < FLOAT16_LEAST / 2 ? 0 : Math.sign(peak) * FLOAT16_LEAST)
    );
  }
}

/**
 * Changes of d and dmin that lower a loss the most, d moving along a and dmin along -b: least squares with
 * aa, ab, bb the products of both under the loss and ag, bg those with its gradient. A direction that is (nearly)
 * the other, or nothing, stays.
 */
export function fitSteps(
  aa: number,
  ab: number,
  bb: number,
  ag: number,
  bg: number,
): [d: number, dmin: number] {
  const determinant = aa * bb - ab * ab;
  if (determinant > 1e-6 * aa * bb) {
    return [(ag * bb - bg * ab) / determinant, (ag * ab - bg * aa) / determinant];
  }
  return [aa > 0 ? ag / aa : 0, 0];
}
