import type { CodedRange, Extent, RangedType, RangeSpec } from '../../core/ranges.ts';
import type { Kernels } from '../kernels.ts';
import { chooseRange } from './choose.ts';
import type { Query } from './search.ts';
import { answerTile } from './tile.ts';

/** An extent from the numbers of the kernel of that name. */
export const asExtent = (count: number, [min, max, sum, sumMagnitude, sumSquares]: Float64Array): Extent => ({
  count,
  min,
  max,
  sum,
  sumMagnitude,
  sumSquares,
});

/** The range of n float32 at `weights` that lie in the arena, a block or a row. */
export function rangeOfGroup(
  spec: RangeSpec,
  type: RangedType,
  kernels: Kernels,
  weights: number,
  n: number,
  scratch: number,
): CodedRange {
  const answer = (query: Query): Float64Array =>
    query.kind === 'ranks'
      ? ranked(new Float32Array(kernels.buffer, weights, n), query)
      : answerTile(query, kernels, weights, n, scratch);
  const extent = asExtent(n, answerTile({ kind: 'extent' }, kernels, weights, n, scratch));
  const search = chooseRange(spec, type, extent);
  let step = search.next();
  while (!step.done) step = search.next(answer(step.value));
  return step.value;
}

function ranked(x: Float32Array, { signed, ranks }: Extract<Query, { kind: 'ranks' }>): Float64Array {
  const sorted = (signed ? x.slice() : x.map(Math.abs)).sort();
  return Float64Array.from(ranks, (rank) => sorted[rank - 1] + 0);
}
