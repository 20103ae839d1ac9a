/** Coding over chosen ranges, tile by tile, in a worker. */
import { fromFloat16 } from '../../core/float.ts';
import { storedType, typeOfEncoder } from '../../core/plan.ts';
import { type CodedRange, endsOf, gridOf, type RangedType } from '../../core/ranges.ts';
import { forEachRowPiece } from '../../core/segments.ts';
import { bytesOf, dataTypes } from '../../core/types.ts';
import type { TensorJob, TensorRange } from '../job.ts';
import type { Kernels } from '../kernels.ts';
import type { Span } from '../span.ts';
import { rangeOfGroup } from './group.ts';

/** Where a worker keeps what this coding needs; addresses as in the kernels' arena. */
export interface RangeArena {
  readonly kernels: Kernels;
  /** Stored and encoded bytes of the span. */
  readonly stored: number;
  readonly encoded: number;
  /** Float32 of a whole row, where rows have ranges of their own. */
  readonly rows: number;
  /** SCRATCH_BYTES. */
  readonly scratch: number;
}

/** Weights of a tile that share a range: `length` of them from the `at`-th on. */
export interface RangePiece {
  readonly at: number;
  readonly length: number;
  readonly range: CodedRange;
}

/**
 * The coder of one loaded span. Call it tile by tile in order, with the tile's first weight, its length and the address of
 * its weights as float32; it puts the tile's blocks at their place in `arena.encoded` and returns the ranges it used.
 * `requireFinite` is called with a whole row (as float32, as stored, first weight, length), as it reaches beyond the chunk.
 */
export function rangeCoder(
  tensor: TensorJob,
  { spec, type, coded }: TensorRange,
  span: Span,
  arena: RangeArena,
  requireFinite: (weights: number, from: number, start: number, n: number) => void,
): (start: number, n: number, weights: number) => RangePiece[] {
  const { kernels, scratch } = arena;
  const { rowLength } = tensor;
  const { blockSize } = dataTypes[typeOfEncoder(tensor.encoder)];
  const stored = storedType(tensor.source);
  let row = -1;
  let ofRow: CodedRange | null = null;
  const rangeOfRow = (wanted: number): CodedRange => {
    if (row === wanted && ofRow !== null) return ofRow;
    row = wanted;
    const from = arena.stored + bytesOf(stored, row * rowLength - span.start);
    if (stored !== 'F32') kernels.dequantize(stored, from, arena.rows, rowLength);
    const weights = stored === 'F32' ? from : arena.rows;
    requireFinite(weights, from, row * rowLength, rowLength);
    ofRow = rangeOfGroup(spec, type, kernels, weights, rowLength, scratch);
    return ofRow;
  };

  return (start, n, weights) => {
    const pieces: RangePiece[] = [];
    const code = (at: number, length: number, range: CodedRange) => {
      const to = arena.encoded + bytesOf(type, start + at - span.start);
      kernels.quantizeRange(type, weights + 4 * at, to, length, range);
      pieces.push({ at, length, range });
    };
    if (coded !== null) {
      code(0, n, coded);
    } else if (spec.granularity === 'channel') {
      forEachRowPiece(rowLength, start, n, (of, at, length) => code(at, length, rangeOfRow(of)));
    } else {
      for (let at = 0; at < n; at += blockSize) {
        code(at, blockSize, rangeOfGroup(spec, type, kernels, weights + 4 * at, blockSize, scratch));
      }
    }
    return pieces;
  };
}

/** Byte of a block's scale where it is not the first; a minimum follows it. */
const scaleAt: Partial<Record<RangedType, number>> = { TQ1_0: 52, TQ2_0: 64 };

/** The ranges of blocks that ggml's own coding made, as they hold them. */
export function rangesInBlocks({ spec, type }: TensorRange, blocks: DataView): RangePiece[] {
  const { kind, lowest, highest } = gridOf(type, spec.symmetry);
  const { blockSize, typeSize } = dataTypes[type];
  const half = (at: number) => fromFloat16(blocks.getUint16(at, true));
  return Array.from({ length: blocks.byteLength / typeSize }, (_, block) => {
    const at = block * typeSize + (scaleAt[type] ?? 0);
    const range = { scale: half(at), offset: kind === 'affine' ? half(at + 2) : 0, lowest, highest };
    return { at: block * blockSize, length: blockSize, range };
  });
}

/** The sums of a tile, in the order of `rangeFields`, of weights x and what they became, q. */
export function rangeSumsOf(
  { spec, type, outlierAbove }: TensorRange,
  pieces: readonly RangePiece[],
  x: Float32Array,
  q: Float32Array,
): number[] {
  const { kind } = gridOf(type, spec.symmetry);
  let [clipped, zeros, outliers, outlierX2, outlierE2] = [0, 0, 0, 0, 0];
  let [lowLeast, highLeast] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  let [lowMost, highMost] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { at, length, range } of pieces) {
    const [low, high] = endsOf(kind, range);
    const slack = kind === 'signs' ? Number.POSITIVE_INFINITY : Math.abs(range.scale) / 2;
    const [least, most] = [low - slack, high + slack];
    for (let i = at; i < at + length; i++) {
      const value = x[i];
      if (q[i] === 0) zeros++;
      if (value < least || value > most) clipped++;
      if (Math.abs(value) > outlierAbove) {
        outliers++;
        outlierX2 += value * value;
        outlierE2 += (value - q[i]) ** 2;
      }
    }
    lowLeast = Math.min(lowLeast, low);
    lowMost = Math.max(lowMost, low);
    highLeast = Math.min(highLeast, high);
    highMost = Math.max(highMost, high);
  }
  return [clipped, zeros, outliers, outlierX2, outlierE2, lowLeast, lowMost, highLeast, highMost];
}
