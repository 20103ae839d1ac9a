import { bytesOf, type TypeName } from '../../core/types.ts';

const f = Math.fround;

/** Calls `visit` with each row's weights (a view of x) and blocks (a view of y), in order. */
export function eachRow(
  type: TypeName,
  x: Float32Array,
  y: Uint8Array,
  rowLength: number,
  visit: (row: Float32Array, blocks: Uint8Array) => void,
): void {
  const rowBytes = bytesOf(type, rowLength);
  for (let start = 0, at = 0; start < x.length; start += rowLength, at += rowBytes) {
    visit(x.subarray(start, start + rowLength), y.subarray(at, at + rowBytes));
  }
}

/** Sum of x^2 as ggml adds it up: in order, in float32. */
export const sumOfSquares = (x: Float32Array): number =>
  x.reduce((sum, value) => f(sum + f(value * value)), 0);

/** Sum in order, in float32. */
export const total = (x: Float32Array): number => x.reduce((sum, value) => f(sum + value), 0);

/**
 * What the error of each weight counts: importance * sqrt(variance + x^2), where `variance` is the mean (in some types
 * twice the mean) of x^2 over the row or super-block.
 */
export const weigh = (x: Float32Array, importance: Float32Array, variance: number): Float32Array =>
  x.map((value, i) => f(importance[i] * f(Math.sqrt(f(variance + f(value * value))))));
