import { fromFloat16 } from '../../core/float.ts';
import { eachBlock, fifthBit, fifthBitsOf, viewOf, writeNibbles } from './blocks.ts';
import type { EncodeWeighted, Format, Pack } from './codec.ts';
import { halfOfQuotient } from './half.ts';
import { eachRow, sumOfSquares, weigh } from './importance.ts';
import { codesOf } from './range-codes.ts';
import { hasReciprocal } from './rounding.ts';
import { searchSymmetric } from './symmetric.ts';

const f = Math.fround;

interface Coded {
  readonly d: number;
  readonly codes: readonly number[];
}

/**
 * d and the codes of one block, full range with a signed scale: the weight of largest magnitude (the first of equals)
 * gets code 0, so d = that weight / -middle, and codes are 0 .. 2 * middle - 1.
 */
function quantizeBlock(x: Float32Array, middle: number): Coded {
  let peak = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(peak)) peak = value;
  const d = f(peak / -middle);
  // A d without finite reciprocal: ggml's codes are then 0 (an overflowing conversion on x86), unless d itself is 0.
  if (d !== 0 && !hasReciprocal(d)) return { d, codes: Array(x.length).fill(0) };
  const inverse = d === 0 ? 0 : f(1 / d);
  const code = (value: number) => Math.trunc(f(f(value * inverse) + (middle + 0.5)));
  return { d, codes: Array.from(x, (value) => Math.min(code(value), 2 * middle - 1)) };
}

/** The same under importance, d being searched. ggml: quantize_row_q4_0_impl, quantize_row_q5_0_impl. */
const weightedEncoder =
  (type: 'Q4_0' | 'Q5_0', middle: number, write: (block: DataView, coded: Coded) => void): EncodeWeighted =>
  (x, y, rowLength, importance) =>
    eachRow(type, x, y, rowLength, (row, blocks) => {
      const variance = f(sumOfSquares(row) / rowLength);
      eachBlock(type, row, blocks, (weights, block, start) => {
        const codes = new Uint8Array(weights.length);
        const costs = weigh(weights, importance.subarray(start, start + weights.length), variance);
        write(block, { d: searchSymmetric(weights, costs, codes, middle), codes: [...codes] });
      });
    });

function writeQ4_0(block: DataView, { d, codes }: Coded): void {
  block.setUint16(0, halfOfQuotient(d), true);
  writeNibbles(block, 2, codes);
}

function writeQ5_0(block: DataView, { d, codes }: Coded): void {
  block.setUint16(0, halfOfQuotient(d), true);
  block.setUint32(2, fifthBitsOf(codes), true);
  writeNibbles(block, 6, codes);
}

/** From parts to a block; fifth bits, where there are any, lie before the nibbles. */
const packer =
  (nibbles: 2 | 6): Pack =>
  ({ d, codes }, bytes) => {
    const block = viewOf(bytes);
    block.setUint16(0, d, true);
    if (nibbles === 6) block.setUint32(2, fifthBitsOf(codes), true);
    writeNibbles(block, nibbles, codes);
  };

/**
 * Q4_0: 32 weights as float16 d and codes of 4 bits, byte j holding weights j (low) and j + 16; x = d * (q - 8).
 * ggml: quantize_row_q4_0_ref, dequantize_row_q4_0.
 */
export const Q4_0: Format = {
  type: 'Q4_0',

  decode: (y, x) =>
    eachBlock('Q4_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let j = 0; j < 16; j++) {
        const byte = block.getUint8(2 + j);
        weights[j] = ((byte & 15) - 8) * d;
        weights[j + 16] = ((byte >> 4) - 8) * d;
      }
    }),

  encoders: {
    Q4_0: (x, y) => eachBlock('Q4_0', x, y, (weights, block) => writeQ4_0(block, quantizeBlock(weights, 8))),
  },
  weighted: weightedEncoder('Q4_0', 8, writeQ4_0),
  range: (x, y, range) =>
    eachBlock('Q4_0', x, y, (weights, block) =>
      writeQ4_0(block, { d: range.scale, codes: codesOf(weights, range, 8) }),
    ),
  pack: packer(2),
};

/**
 * Q5_0: 32 weights as float16 d, 32 bits with the fifth bit of each code, and the other four bits laid out as in
 * Q4_0; x = d * (q - 16). ggml: quantize_row_q5_0_ref, dequantize_row_q5_0.
 */
export const Q5_0: Format = {
  type: 'Q5_0',

  decode: (y, x) =>
    eachBlock('Q5_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      const fifth = block.getUint32(2, true);
      for (let j = 0; j < 16; j++) {
        const byte = block.getUint8(6 + j);
        weights[j] = (((byte & 15) | fifthBit(fifth, j)) - 16) * d;
        weights[j + 16] = (((byte >> 4) | fifthBit(fifth, j + 16)) - 16) * d;
      }
    }),

  encoders: {
    Q5_0: (x, y) => eachBlock('Q5_0', x, y, (weights, block) => writeQ5_0(block, quantizeBlock(weights, 16))),
  },
  weighted: weightedEncoder('Q5_0', 16, writeQ5_0),
  range: (x, y, range) =>
    eachBlock('Q5_0', x, y, (weights, block) =>
      writeQ5_0(block, { d: range.scale, codes: codesOf(weights, range, 16) }),
    ),
  pack: packer(6),
};
