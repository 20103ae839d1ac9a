import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock, largestMagnitude, viewOf } from './blocks.ts';
import type { Format } from './codec.ts';
import { codesOf } from './range-codes.ts';
import { hasReciprocal, roundAway } from './rounding.ts';

const f = Math.fround;

/**
 * Q8_0: 32 weights as float16 d, 32 int8 codes; x = d * q. Restricted symmetric range: d = max|x| / 127, so -128
 * never occurs. ggml: quantize_row_q8_0_ref, dequantize_row_q8_0.
 */
export const Q8_0: Format = {
  type: 'Q8_0',

  decode: (y, x) =>
    eachBlock('Q8_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let j = 0; j < weights.length; j++) weights[j] = d * block.getInt8(2 + j);
    }),

  encoders: {
    Q8_0: (x, y) =>
      eachBlock('Q8_0', x, y, (weights, block) => {
        const d = f(largestMagnitude(weights) / 127);
        // A subnormal d has no finite reciprocal; ggml's codes are then 0 (an overflowing conversion on x86).
        const inverse = hasReciprocal(d) ? f(1 / d) : 0;
        block.setUint16(0, toFloat16(d), true);
        weights.forEach((value, j) => {
          block.setInt8(2 + j, roundAway(f(value * inverse)));
        });
      }),
  },

  range: (x, y, range) =>
    eachBlock('Q8_0', x, y, (weights, block) => {
      block.setUint16(0, toFloat16(range.scale), true);
      codesOf(weights, range).forEach((code, j) => {
        block.setInt8(2 + j, code);
      });
    }),
  pack({ d, codes }, bytes) {
    viewOf(bytes).setUint16(0, d, true);
    bytes.set(codes, 2);
  },
};
