/**
 * Coding under an importance matrix, chunk by chunk.
 *
 * Most types weigh a block by itself, so a chunk may begin and end inside a row. ggml's Q4_0, Q4_1, Q5_0 and Q5_1 take
 * the mean square of the whole row: for these a worker reads the rows its chunk touches to their ends and codes them
 * whole, and the next chunk codes the shared row again. Chunks, sums and bytes so stay what they are without importance,
 * at any chunk size. What that costs: memory for up to two more rows as stored and encoded and one as float32, and, for
 * rows longer than a chunk, all of it for the whole row, coded once for each chunk of it.
 */
import { SUM_RANGE } from '../core/error-sums.ts';
import { storedType, typeOfEncoder } from '../core/plan.ts';
import { bytesOf } from '../core/types.ts';
import type { TensorJob } from './job.ts';
import type { Kernels } from './kernels.ts';
import { needsWholeRows, type Span } from './span.ts';

/** Where a worker keeps what this coding needs; addresses as in the kernels' arena. */
export interface WeightedArena {
  readonly kernels: Kernels;
  /** Stored and encoded bytes of the span. */
  readonly stored: number;
  readonly encoded: number;
  /** Float32 of whole rows: `rowFloats` of the longest row that is coded whole. */
  readonly rows: number;
  /** Importance of one row. */
  readonly importance: number;
}

/** Floats of whole rows that are coded at a time: as many rows as fill a tile, at least one. */
export const rowFloats = (rowLength: number): number => rowsAtOnce(rowLength) * rowLength;
const rowsAtOnce = (rowLength: number): number => Math.max(1, Math.floor(SUM_RANGE / rowLength));

/**
 * The coder of one loaded span. Call it tile by tile in order, with the tile's first weight, its length and the
 * address of its weights as float32; then the tile's blocks lie in `arena.encoded`, at their place in the span.
 * `requireFinite` is called with whole rows (as float32, as stored, first weight, length) before they are coded, as
 * their weights reach beyond the chunk.
 */
export function weightedCoder(
  tensor: TensorJob,
  importance: Float32Array,
  span: Span,
  arena: WeightedArena,
  requireFinite: (weights: number, from: number, start: number, n: number) => void,
): (start: number, n: number, weights: number) => void {
  const { kernels } = arena;
  const { rowLength } = tensor;
  const coded = typeOfEncoder(tensor.encoder);
  const type = storedType(tensor.source);
  const rowsOfExpert = tensor.elements / importance.length; // every expert has as many rows and as many importances
  let expert = -1;
  const load = (row: number) => {
    const wanted = Math.floor(row / rowsOfExpert);
    if (wanted === expert) return;
    expert = wanted;
    const columns = importance.subarray(expert * rowLength, (expert + 1) * rowLength);
    new Float32Array(kernels.buffer, arena.importance, rowLength).set(columns);
  };
  const blocksAt = (start: number) => arena.encoded + bytesOf(coded, start - span.start);

  if (!needsWholeRows(tensor)) {
    return (start, n, weights) => {
      for (let done = 0; done < n; ) {
        const at = start + done;
        const column = at % rowLength;
        const length = Math.min(n - done, rowLength - column);
        load(Math.floor(at / rowLength));
        const from = weights + 4 * done;
        kernels.quantizeWeighted(coded, from, blocksAt(at), 1, length, arena.importance + 4 * column);
        done += length;
      }
    };
  }

  let row = span.start / rowLength;
  const end = (span.start + span.count) / rowLength;
  return (start, n) => {
    while (row * rowLength < start + n) {
      load(row);
      const rows = Math.min(rowsAtOnce(rowLength), end - row, (expert + 1) * rowsOfExpert - row);
      const from = arena.stored + bytesOf(type, row * rowLength - span.start);
      if (type !== 'F32') kernels.dequantize(type, from, arena.rows, rows * rowLength);
      const weights = type === 'F32' ? from : arena.rows;
      requireFinite(weights, from, row * rowLength, rows * rowLength);
      kernels.quantizeWeighted(coded, weights, blocksAt(row * rowLength), rows, rowLength, arena.importance);
      row += rows;
    }
  };
}
