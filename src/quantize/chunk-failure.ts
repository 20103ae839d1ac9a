import type { TypeName } from '../core/types.ts';
import type { Kernels } from './kernels.ts';
import type { WorkerMessage } from './pool.ts';

type Failure = Omit<Extract<WorkerMessage, { kind: 'failed' }>, 'kind' | 'tensor'>;

/** Something wrong with the data or the files, to be reported by name rather than as a crash. */
export class ChunkFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.cause);
    this.failure = failure;
  }
}

/** Names the first of n weights (float32 at `weights`, from element `start` on) that is not finite, by its value as stored at `from`. */
export function refuseWeight(
  type: TypeName,
  from: number,
  weights: number,
  start: number,
  n: number,
  { buffer }: Kernels,
): never {
  const xs = new Float32Array(buffer, weights, n);
  // A double may be beyond float32 and finite.
  const stored = type === 'F64' ? new Float64Array(buffer, from, n) : xs;
  const at = xs.findIndex((value) => !Number.isFinite(value));
  throw new ChunkFailure({ cause: 'weight', file: null, element: start + at, value: stored[at] });
}

/** Names the largest weight of the first block that does not decode to finite values. */
export function refuseBlock(blockSize: number, xs: Float32Array, qs: Float32Array, start: number): never {
  const first = qs.findIndex((value) => !Number.isFinite(value));
  const block = first - (first % blockSize);
  let largest = first;
  for (let i = block; i < block + blockSize; i++) {
    if (Math.abs(xs[i]) > Math.abs(xs[largest])) largest = i;
  }
  throw new ChunkFailure({ cause: 'scale', file: null, element: start + largest, value: xs[largest] });
}
