import { typeOfEncoder } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';
import type { TensorJob } from './job.ts';

/** Types whose importance-weighted coding depends on the mean square of the row (`quantize_row_q4_0_impl`, ...). */
const wholeRowTypes: ReadonlySet<TypeName> = new Set(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1']);

/** Whether a chunk cannot be coded without the rest of the rows it touches. */
export const needsWholeRows = ({ importance, encoder, range }: TensorJob): boolean =>
  range?.spec.granularity === 'channel' ||
  (importance !== undefined && wholeRowTypes.has(typeOfEncoder(encoder)));

/** A range of a tensor's weights. */
export interface Span {
  readonly start: number;
  readonly count: number;
}

/** The weights a worker needs to code weights [start, start + count): these, or the rows they lie in. */
export function spanOf(tensor: TensorJob, start: number, count: number): Span {
  if (!needsWholeRows(tensor)) return { start, count };
  const { rowLength } = tensor;
  const from = Math.floor(start / rowLength) * rowLength;
  const to = Math.ceil((start + count) / rowLength) * rowLength;
  return { start: from, count: to - from };
}

/** Weights of the largest span that any chunk of the tensor needs. */
export function longestSpan(tensor: TensorJob, chunk: number): number {
  const { elements, rowLength } = tensor;
  if (!needsWholeRows(tensor) || chunk % rowLength === 0) return Math.min(elements, chunk);
  return Math.min(elements, (Math.floor((chunk - 2) / rowLength) + 2) * rowLength);
}
