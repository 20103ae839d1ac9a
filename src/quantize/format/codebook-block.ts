import type { TypeName } from '../../core/types.ts';
import { eachBlock } from './blocks.ts';
import {
  type CodebookSearch,
  type CodedSuperBlock,
  SUPER,
  searchSuperBlock,
  weighSuperBlock,
} from './codebook-search.ts';
import type { EncodeWeighted } from './codec.ts';

/** What the blocks of the codebook types have in common. */

/** An encoder under importances that clears each block and hands it to `pack` with what the search found. */
export function weightedEncoder(
  type: TypeName,
  search: CodebookSearch,
  factor: 1 | 2,
  pack: (block: DataView, coded: CodedSuperBlock) => void,
): EncodeWeighted {
  return (x, y, rowLength, importance) => {
    let column = 0;
    eachBlock(type, x, y, (x, block) => {
      const weights = weighSuperBlock(x, importance.subarray(column, column + SUPER), factor);
      clear(block);
      pack(block, searchSuperBlock(x, weights, search));
      column = (column + SUPER) % rowLength;
    });
  };
}

export const clear = (block: DataView): void => {
  new Uint8Array(block.buffer, block.byteOffset, block.byteLength).fill(0);
};

/** Seven signs and the one that makes the number of minus signs even. */
export function withEighth(signs: number): number {
  let parity = 0;
  for (let i = 0; i < 7; i++) parity ^= (signs >> i) & 1;
  return signs | (parity << 7);
}

/** Nibble j of the bytes from `offset` on. */
export const nibble = (block: DataView, offset: number, j: number): number =>
  (block.getUint8(offset + (j >> 1)) >> (4 * (j % 2))) & 15;

export const addNibble = (block: DataView, offset: number, j: number, value: number): void =>
  block.setUint8(offset + (j >> 1), block.getUint8(offset + (j >> 1)) | (value << (4 * (j % 2))));
