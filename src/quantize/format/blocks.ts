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

/** The bytes of a block as numbers. */
export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Lower four bits of 32 codes from byte `at` on: byte j holds codes j (low) and j + 16. */
export function writeNibbles(block: DataView, at: number, codes: ArrayLike<number>): void {
  for (let j = 0; j < 16; j++) block.setUint8(at + j, (codes[j] & 15) | ((codes[j + 16] & 15) << 4));
}

/** Bit j is the fifth bit of code j, of 32 codes. */
export function fifthBitsOf(codes: ArrayLike<number>): number {
  let bits = 0;
  for (let j = 0; j < 32; j++) bits |= ((codes[j] >> 4) & 1) << j;
  return bits >>> 0;
}

/** 16 where bit j is set, else 0. */
export const fifthBit = (bits: number, j: number): number => ((bits >>> j) & 1) << 4;
