import type { TaskScope } from '../../compute/scope.ts';
import { SUM_RANGE } from '../../core/error-sums.ts';
import type { ReadableSource } from '../../core/plan.ts';
import type { StoredFailure, StoredFiles } from '../../core/stored-files.ts';
import { bytesOf, type TypeName } from '../../core/types.ts';
import { type Kernels, kernelsOf } from '../../quantize/kernels.ts';

/** Weights that are read at once: a multiple of every block size. */
export const PIECE = 1 << 20;

/** Rows that a piece of the task `gatherRows` reads. */
export const GATHERED = 64;

/** Bytes of the widest type, F64. */
const WIDEST = 8;

/** What is wrong with weights, as a task can say it. */
export type WeightFailure =
  | { readonly cause: 'weight'; readonly element: number; readonly value: number }
  | StoredFailure;

/**
 * Reads elements [start, start + count) of a tensor as float32 to `address` of the team's memory; at most PIECE, whole blocks.
 * The thread's kernels are kept in its scope.
 */
export function readWeights(
  scope: TaskScope,
  files: StoredFiles,
  source: ReadableSource,
  start: number,
  count: number,
  address: number,
): void {
  const to = scope.floats(address, count);
  if (source.kind === 'values') {
    for (let i = 0; i < count; i++) to[i] = source.values[start + i];
  } else {
    const { type } = source.parts[0];
    if (type === 'F32') files.read(source, start, count, scope.memory.buffer, address);
    else {
      const kernels = decoderOf(scope);
      files.read(source, start, count, kernels.buffer, kernels.base);
      decode(kernels, type, count, to);
    }
  }
  if (scope.compute.allFinite(address, count)) return;
  const at = to.findIndex((value) => !Number.isFinite(value));
  const failure: WeightFailure = { cause: 'weight', element: start + at, value: to[at] };
  throw Object.assign(new Error(failure.cause), { failure });
}

/** The thread's own kernels, with room for a piece as stored and a tile of float32 behind it. */
function decoderOf(scope: TaskScope): Kernels {
  const kept = scope.kept.get('decoder') as Kernels | undefined;
  if (kept !== undefined) return kept;
  const made = kernelsOf(scope.quantization, WIDEST * PIECE + 4 * SUM_RANGE);
  scope.kept.set('decoder', made);
  return made;
}

function decode(kernels: Kernels, type: TypeName, count: number, to: Float32Array): void {
  const tile = kernels.base + WIDEST * PIECE;
  for (let done = 0; done < count; done += SUM_RANGE) {
    const n = Math.min(SUM_RANGE, count - done);
    kernels.dequantize(type, kernels.base + bytesOf(type, done), tile, n);
    to.set(new Float32Array(kernels.buffer, tile, n), done);
  }
}
