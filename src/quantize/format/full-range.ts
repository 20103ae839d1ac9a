import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock, fifthBit, fifthBitsOf } from './blocks.ts';
import type { Format } from './codec.ts';
import { hasReciprocal } from './rounding.ts';

const f = Math.fround;

/**
 * d and the codes of one block, full range with a signed scale: the weight of largest magnitude (the first of equals)
 * gets code 0, so d = that weight / -middle, and codes are 0 .. 2 * middle - 1.
 */
function quantizeBlock(x: Float32Array, middle: number): { d: number; codes: number[] } {
  let peak = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(peak)) peak = value;
  const d = f(peak / -middle);
  // A d without finite reciprocal: ggml's codes are then 0 (an overflowing conversion on x86), unless d itself is 0.
  if (d !== 0 && !hasReciprocal(d)) return { d, codes: Array(x.length).fill(0) };
  const inverse = d === 0 ? 0 : f(1 / d);
  const code = (value: number) => Math.trunc(f(f(value * inverse) + (middle + 0.5)));
  return { d, codes: Array.from(x, (value) => Math.min(code(value), 2 * middle - 1)) };
}

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
    Q4_0: (x, y) =>
      eachBlock('Q4_0', x, y, (weights, block) => {
        const { d, codes } = quantizeBlock(weights, 8);
        block.setUint16(0, toFloat16(d), true);
        for (let j = 0; j < 16; j++) block.setUint8(2 + j, codes[j] | (codes[j + 16] << 4));
      }),
  },
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
    Q5_0: (x, y) =>
      eachBlock('Q5_0', x, y, (weights, block) => {
        const { d, codes } = quantizeBlock(weights, 16);
        block.setUint16(0, toFloat16(d), true);
        block.setUint32(2, fifthBitsOf(codes), true);
        for (let j = 0; j < 16; j++) block.setUint8(6 + j, (codes[j] & 15) | ((codes[j + 16] & 15) << 4));
      }),
  },
};
