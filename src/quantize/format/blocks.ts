import { dataTypes, type TypeName } from '../../core/types.ts';

/** Calls `visit` with each block's weights (a view of x), bytes (a view of y) and index of its first weight, in order. */
export function eachBlock(
  type: TypeName,
  x: Float32Array,
  y: Uint8Array,
  visit: (weights: Float32Array, block: DataView, start: number) => void,
): void {
  const { blockSize, typeSize } = dataTypes[type];
  for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
    visit(x.subarray(start, start + blockSize), new DataView(y.buffer, y.byteOffset + at, typeSize), start);
  }
}

/** max|x|. */
export const largestMagnitude = (x: Float32Array): number =>
  x.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);

/** Bit j is the fifth bit of code j, of 32 codes. */
export const fifthBitsOf = (codes: readonly number[]): number =>
  codes.reduce((bits, code, j) => (bits | ((code >> 4) << j)) >>> 0, 0);

/** 16 where bit j is set, else 0. */
export const fifthBit = (bits: number, j: number): number => ((bits >>> j) & 1) << 4;
