import type { PlannedTensor } from '../core/plan.ts';
import { isRangedType, outlierBound } from '../core/ranges.ts';
import { elementsOf } from '../core/types.ts';
import type { RowRanges, TensorJob, TensorRange } from './job.ts';
import type { Surveyed } from './range/survey.ts';

/** Tensors of the plan whose rows' ranges `made` needs: its own, and those whose scales or zero points it holds. */
export function rangedTensors(
  all: readonly PlannedTensor[],
  made: readonly PlannedTensor[],
): PlannedTensor[] {
  const needed = new Set(made.map(({ name, source }) => (source.kind === 'row-range' ? source.of : name)));
  return all.filter(
    ({ name, encoder, source }) =>
      encoder === 'I8:zero-point' && source.kind !== 'row-range' && needed.has(name),
  );
}

/** What was found before any weight is coded, by tensor. */
export interface Found {
  readonly rows: ReadonlyMap<string, RowRanges>;
  readonly surveyed: ReadonlyMap<string, Surveyed>;
}

/** Before anything is found. */
export const nothingFound: Found = { rows: new Map(), surveyed: new Map() };

/** A planned tensor as the workers see it; row ranges, once known, become the values they stand for. */
export function jobOf(
  tensor: PlannedTensor,
  place: Pick<TensorJob, 'file' | 'offset'>,
  { rows: ranges, surveyed }: Found,
): TensorJob {
  const { name, encoder, source, importance } = tensor;
  const range = rangeOf(tensor, surveyed.get(name));
  const job = {
    name,
    elements: elementsOf(tensor.shape),
    rowLength: tensor.shape[0] ?? 1,
    encoder,
    ...place,
    ...(importance && { importance }),
    ...(range && { range }),
  };
  if (source.kind !== 'row-range') {
    const own = ranges.get(name);
    return { ...job, source, ...(own && { ranges: own }) };
  }
  const { scales, zeroPoints } = ranges.get(source.of)!;
  if (source.what === 'scale') return { ...job, source: { kind: 'values', values: scales } };
  // Zero points are codes themselves: int8 with scale 1 and zero point 0, all in one row.
  const identity = { scales: new Float32Array([1]), zeroPoints: new Int8Array([0]) };
  return {
    ...job,
    rowLength: job.elements,
    source: { kind: 'values', values: zeroPoints },
    ranges: identity,
  };
}

function rangeOf({ type, range }: PlannedTensor, found: Surveyed | undefined): TensorRange | null {
  if (range === undefined || !isRangedType(type)) return null;
  const coded = found?.coded ?? null;
  return {
    spec: range,
    type,
    coded,
    outlierAbove: found
      ? outlierBound(found.extent.count, found.extent.sumSquares)
      : Number.POSITIVE_INFINITY,
  };
}
