import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock, largestMagnitude } from './blocks.ts';
import type { Format } from './codec.ts';
import { hasReciprocal, roundAway } from './rounding.ts';

const f = Math.fround;

/**
 * Q2_0: 64 weights as float16 d and two bits each, four weights a byte, the first lowest; x = d * (q - 1). The grid
 * has -1, 0, 1 and 2, but with d = max|x| ggml's coding never uses the last. ggml: quantize_row_q2_0_ref,
 * dequantize_row_q2_0.
 */
export const Q2_0: Format = {
  type: 'Q2_0',

  decode: (y, x) =>
    eachBlock('Q2_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let j = 0; j < weights.length; j++) {
        weights[j] = (((block.getUint8(2 + (j >> 2)) >> (2 * (j & 3))) & 3) - 1) * d;
      }
    }),

  encoders: {
    Q2_0: (x, y) =>
      eachBlock('Q2_0', x, y, (weights, block) => {
        const d = largestMagnitude(weights);
        block.setUint16(0, toFloat16(d), true);
        const inverse = d > 0 ? f(1 / d) : 0;
        // A d without finite reciprocal: ggml's codes are then 0, that is -d (an overflowing conversion on x86).
        const code = (value: number) => (d > 0 && !hasReciprocal(d) ? 0 : roundAway(f(value * inverse)) + 1);
        for (let j = 0; j < weights.length; j += 4) {
          let byte = 0;
          for (let k = 0; k < 4; k++) byte |= code(weights[j + k]) << (2 * k);
          block.setUint8(2 + (j >> 2), byte);
        }
      }),
  },
};
