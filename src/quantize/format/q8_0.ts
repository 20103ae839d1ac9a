import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { Format } from './codec.ts';
import { roundAway } from './rounding.ts';

const { blockSize, typeSize } = dataTypes.Q8_0;
const f = Math.fround;

/**
 * Q8_0: 32 weights as float16 d, 32 int8 codes; x = d * q. Restricted symmetric range: d = max|x| / 127, so -128
 * never occurs. ggml: quantize_row_q8_0_ref, dequantize_row_q8_0.
 */
export const Q8_0: Format = {
  type: 'Q8_0',

  decode(y, x) {
    const blocks = new DataView(y.buffer, y.byteOffset, y.byteLength);
    for (let i = 0; i < x.length; i++) {
      const block = Math.floor(i / blockSize) * typeSize;
      x[i] = fromFloat16(blocks.getUint16(block, true)) * blocks.getInt8(block + 2 + (i % blockSize));
    }
  },

  encoders: {
    Q8_0(x, y) {
      const blocks = new DataView(y.buffer, y.byteOffset, y.byteLength);
      for (let start = 0, block = 0; start < x.length; start += blockSize, block += typeSize) {
        let amax = 0;
        for (let j = 0; j < blockSize; j++) amax = Math.max(amax, Math.abs(x[start + j]));
        const d = f(amax / 127);
        // A subnormal d has no finite reciprocal; ggml's codes are then 0 (an overflowing conversion on x86).
        const inverse = Number.isFinite(f(1 / d)) ? f(1 / d) : 0;
        blocks.setUint16(block, toFloat16(d), true);
        for (let j = 0; j < blockSize; j++) {
          blocks.setInt8(block + 2 + j, roundAway(f(x[start + j] * inverse)));
        }
      }
    },
  },
};
