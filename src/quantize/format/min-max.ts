import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock, fifthBit, fifthBitsOf, viewOf, writeNibbles } from './blocks.ts';
import type { EncodeWeighted, Format, Pack } from './codec.ts';
import { eachRow, sumOfSquares, weigh } from './importance.ts';
import { codesOf } from './range-codes.ts';
import { hasReciprocal } from './rounding.ts';
import { searchScaleMin, weightedGrid } from './search.ts';

const f = Math.fround;

interface Coded {
  readonly d: number;
  readonly min: number;
  readonly codes: readonly number[];
}

/** d, minimum and codes of 0 .. steps for one block: d = (max - min) / steps. A zero minimum is the first zero's. */
function quantizeBlock(x: Float32Array, steps: number): Coded {
  let min = x[0];
  let max = x[0];
  for (const value of x) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const range = f(max - min);
  const d = f(range / steps);
  // Without finite reciprocal ggml's codes are 0, be it for d = 0 or by an overflowing conversion on x86. So they
  // are for a range beyond float32, whose d is infinite.
  if (!hasReciprocal(d) || d === Number.POSITIVE_INFINITY) return { d, min, codes: Array(x.length).fill(0) };
  const inverse = f(1 / d);
  const code = (value: number) => Math.trunc(f(f(f(value - min) * inverse) + 0.5));
  return { d, min, codes: Array.from(x, code) };
}

/** The same under importance, d and min being searched. ggml: quantize_row_q4_1_impl, quantize_row_q5_1_impl. */
const weightedEncoder =
  (type: 'Q4_1' | 'Q5_1', top: number, write: (block: DataView, coded: Coded) => void): EncodeWeighted =>
  (x, y, rowLength, importance) =>
    eachRow(type, x, y, rowLength, (row, blocks) => {
      const variance = f(sumOfSquares(row) / rowLength);
      eachBlock(type, row, blocks, (weights, block, start) => {
        const codes = new Uint8Array(weights.length);
        const costs = weigh(weights, importance.subarray(start, start + weights.length), variance);
        const { scale, min } = searchScaleMin(weights, costs, codes, weightedGrid(top));
        write(block, { d: scale, min: -min, codes: [...codes] });
      });
    });

function writeQ4_1(block: DataView, { d, min, codes }: Coded): void {
  writeRange(block, toFloat16(d), toFloat16(min));
  writeNibbles(block, 4, codes);
}

function writeQ5_1(block: DataView, { d, min, codes }: Coded): void {
  writeRange(block, toFloat16(d), toFloat16(min));
  block.setUint32(4, fifthBitsOf(codes), true);
  writeNibbles(block, 8, codes);
}

function writeRange(block: DataView, d: number, min: number): void {
  block.setUint16(0, d, true);
  block.setUint16(2, min, true);
}

/** From parts to a block; fifth bits, where there are any, lie before the nibbles. */
const packer =
  (nibbles: 4 | 8): Pack =>
  ({ d, dmin, codes }, bytes) => {
    const block = viewOf(bytes);
    writeRange(block, d, dmin);
    if (nibbles === 8) block.setUint32(4, fifthBitsOf(codes), true);
    writeNibbles(block, nibbles, codes);
  };

/**
 * Q4_1: 32 weights as float16 d, float16 minimum m, and codes of 4 bits, byte j holding weights j (low) and j + 16;
 * x = d * q + m. ggml: quantize_row_q4_1_ref, dequantize_row_q4_1.
 */
export const Q4_1: Format = {
  type: 'Q4_1',

  decode: (y, x) =>
    eachBlock('Q4_1', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      const m = fromFloat16(block.getUint16(2, true));
      for (let j = 0; j < 16; j++) {
        const byte = block.getUint8(4 + j);
        weights[j] = f((byte & 15) * d) + m;
        weights[j + 16] = f((byte >> 4) * d) + m;
      }
    }),

  encoders: {
    Q4_1: (x, y) => eachBlock('Q4_1', x, y, (weights, block) => writeQ4_1(block, quantizeBlock(weights, 15))),
  },
  weighted: weightedEncoder('Q4_1', 15, writeQ4_1),
  range: (x, y, range) =>
    eachBlock('Q4_1', x, y, (weights, block) =>
      writeQ4_1(block, { d: range.scale, min: range.offset, codes: codesOf(weights, range) }),
    ),
  pack: packer(4),
};

/**
 * Q5_1: 32 weights as float16 d, float16 minimum m, 32 bits with the fifth bit of each code, and the other four bits
 * laid out as in Q4_1; x = d * q + m. ggml: quantize_row_q5_1_ref, dequantize_row_q5_1.
 */
export const Q5_1: Format = {
  type: 'Q5_1',

  decode: (y, x) =>
    eachBlock('Q5_1', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      const m = fromFloat16(block.getUint16(2, true));
      const fifth = block.getUint32(4, true);
      for (let j = 0; j < 16; j++) {
        const byte = block.getUint8(8 + j);
        weights[j] = f(((byte & 15) | fifthBit(fifth, j)) * d) + m;
        weights[j + 16] = f(((byte >> 4) | fifthBit(fifth, j + 16)) * d) + m;
      }
    }),

  encoders: {
    Q5_1: (x, y) => eachBlock('Q5_1', x, y, (weights, block) => writeQ5_1(block, quantizeBlock(weights, 31))),
  },
  weighted: weightedEncoder('Q5_1', 31, writeQ5_1),
  range: (x, y, range) =>
    eachBlock('Q5_1', x, y, (weights, block) =>
      writeQ5_1(block, { d: range.scale, min: range.offset, codes: codesOf(weights, range) }),
    ),
  pack: packer(8),
};
