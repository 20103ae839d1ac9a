import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock } from './blocks.ts';
import type { Format } from './codec.ts';

/**
 * Q1_0: 128 weights as float16 d and one bit each (weight j is bit j % 8 of byte floor(j / 8)), set for x >= 0, so for -0
 * too; x = d or -d. d is the mean of |x|, summed in float32 in order. ggml: quantize_row_q1_0_ref,
 * dequantize_row_q1_0.
 */
export const Q1_0: Format = {
  type: 'Q1_0',

  decode: (y, x) =>
    eachBlock('Q1_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let j = 0; j < weights.length; j++) {
        weights[j] = (block.getUint8(2 + (j >> 3)) >> (j & 7)) & 1 ? d : -d;
      }
    }),

  encoders: {
    Q1_0: (x, y) =>
      eachBlock('Q1_0', x, y, (weights, block) => {
        const sum = weights.reduce((total, value) => Math.fround(total + Math.abs(value)), 0);
        writeBlock(block, weights, sum / weights.length, 0);
      }),
  },

  range: (x, y, { scale, offset }) =>
    eachBlock('Q1_0', x, y, (weights, block) => writeBlock(block, weights, scale, offset)),
};

/** d, and the signs of the weights: + from `least` on. */
function writeBlock(block: DataView, weights: Float32Array, d: number, least: number): void {
  block.setUint16(0, toFloat16(d), true);
  for (let j = 0; j < weights.length; j += 8) {
    let bits = 0;
    for (let k = 0; k < 8; k++) if (weights[j + k] >= least) bits |= 1 << k;
    block.setUint8(2 + (j >> 3), bits);
  }
}
