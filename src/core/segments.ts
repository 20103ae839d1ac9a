import type { StoredTensor } from './checkpoint.ts';
import type { RowOrder, TensorSource } from './plan.ts';
import { bytesOf, dataTypes, elementsOf } from './types.ts';

/** A run of values that lie one after another in a file and in the output. */
export interface Segment {
  /** Index into `Checkpoint.files`. */
  readonly file: number;
  /** Absolute byte offset in that file. */
  readonly offset: number;
  readonly elements: number;
  readonly byteLength: number;
}

export type StoredSource = Extract<TensorSource, { kind: 'stored' }>;

/**
 * Where elements [start, start + count) of the output tensor lie, in output order. Runs that touch are joined, so
 * rows in file order give one segment for each part.
 *
 * A row is everything below the slowest axis: one element of a vector, which is how a bias is permuted. The range
 * may begin and end inside a row. For a type of several values per block, its ends and the row length must be
 * multiples of the block size.
 *
 * @throws RangeError when the range does not lie in the tensor, splits a block, or the rows do not divide into heads.
 */
export function segmentsOf(source: StoredSource, start: number, count: number): Segment[] {
  const { parts, rows } = source;
  const perPart = elementsOf(parts[0].shape);
  if (start < 0 || count < 0 || start + count > perPart * parts.length) {
    throw new RangeError(`elements ${start} + ${count} of ${perPart * parts.length} (${parts[0].name})`);
  }
  const segments: Segment[] = [];
  for (let at = start; at < start + count; ) {
    const part = Math.floor(at / perPart);
    const inPart = at - part * perPart;
    const run = Math.min(perPart - inPart, start + count - at);
    appendRows(segments, parts[part], rows, inPart, run);
    at += run;
  }
  return segments;
}

/** Appends elements [start, start + count) of one part. */
function appendRows(
  segments: Segment[],
  part: StoredTensor,
  order: RowOrder,
  start: number,
  count: number,
): void {
  if (order.kind === 'file') {
    append(segments, part, start, count);
    return;
  }
  const rowCount = part.shape[0] ?? 1;
  const rowLength = elementsOf(part.shape.slice(1));
  const half = rowCount / order.heads / 2;
  if (!Number.isInteger(half)) {
    throw new RangeError(`${rowCount} rows of ${part.name} do not form ${order.heads} heads of two halves`);
  }
  for (let at = start; at < start + count; ) {
    const row = Math.floor(at / rowLength);
    const inRow = at - row * rowLength;
    const run = Math.min(rowLength - inRow, start + count - at);
    append(segments, part, storedRow(row, half) * rowLength + inRow, run);
    at += run;
  }
}

/** The stored row behind an output row, for heads of 2 * half rows. */
function storedRow(row: number, half: number): number {
  const inHead = row % (2 * half);
  return row - inHead + Math.floor(inHead / 2) + (inHead % 2) * half;
}

/** Appends stored elements [start, start + count), joined to the previous segment when they touch. */
function append(segments: Segment[], part: StoredTensor, start: number, count: number): void {
  const { blockSize } = dataTypes[part.type];
  if (start % blockSize !== 0 || count % blockSize !== 0) {
    throw new RangeError(`elements ${start} + ${count} of ${part.name} split a block of ${part.type}`);
  }
  const offset = part.offset + bytesOf(part.type, start);
  const byteLength = bytesOf(part.type, count);
  const last = segments.at(-1);
  if (last !== undefined && last.file === part.file && last.offset + last.byteLength === offset) {
    segments[segments.length - 1] = {
      file: last.file,
      offset: last.offset,
      elements: last.elements + count,
      byteLength: last.byteLength + byteLength,
    };
  } else {
    segments.push({ file: part.file, offset, elements: count, byteLength });
  }
}

/** Splits n elements from `start` at the ends of rows: row, offset of the piece from `start`, its length. */
export function forEachRowPiece(
  rowLength: number,
  start: number,
  n: number,
  act: (row: number, piece: number, length: number) => void,
): void {
  for (let done = 0; done < n; ) {
    const row = Math.floor((start + done) / rowLength);
    const length = Math.min(n - done, (row + 1) * rowLength - (start + done));
    act(row, done, length);
    done += length;
  }
}
