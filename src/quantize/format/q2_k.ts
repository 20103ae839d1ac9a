import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { Format } from './codec.ts';
import { nearestCode, nearestInt } from './nearest.ts';
import { type SearchGrid, searchScaleMin } from './search.ts';

const f = Math.fround;

const { typeSize } = dataTypes.Q2_K;
const SUPER = 256;
const SUB = 16;
const SUBS = SUPER / SUB;
/** Offsets in a block; the scales come first. */
const CODES = SUBS;
const D = CODES + SUPER / 4;
const DMIN = D + 2;

const grid: SearchGrid = { top: 3, first: -0.5, delta: 0.1, steps: 15, error: 'absolute' };

/** Where the code of weight i lies: 32 bytes hold 128 weights, weights 32 apart sharing a byte. */
const byteOf = (i: number): number => CODES + 32 * (i >> 7) + (i & 31);
const shiftOf = (i: number): number => 2 * ((i >> 5) & 3);

/**
 * Q2_K: super-blocks of 16 sub-blocks of 16 weights, x = (d * scale) * code - dmin * min, with d and dmin float16,
 * scale and min 4 bits each, code 2 bits. Bytes: 16 of scales (scale in the low nibble, min in the high one), 64 of
 * codes, d, dmin. ggml: quantize_row_q2_K_ref, dequantize_row_q2_K.
 */
export const Q2_K: Format = {
  type: 'Q2_K',

  decode(y, x) {
    const view = new DataView(y.buffer, y.byteOffset, y.byteLength);
    for (let start = 0, block = 0; start < x.length; start += SUPER, block += typeSize) {
      const d = fromFloat16(view.getUint16(block + D, true));
      const dmin = fromFloat16(view.getUint16(block + DMIN, true));
      for (let i = 0; i < SUPER; i++) {
        const scales = y[block + Math.floor(i / SUB)];
        const code = (y[block + byteOf(i)] >> shiftOf(i)) & 3;
        x[start + i] = f(f(d * (scales & 15)) * code) - f(dmin * (scales >> 4));
      }
    }
  },

  encoders: {
    Q2_K(x, y) {
      const view = new DataView(y.buffer, y.byteOffset, y.byteLength);
      const codes = new Uint8Array(SUPER);
      const scales = new Float32Array(SUBS);
      const mins = new Float32Array(SUBS);
      for (let start = 0, block = 0; start < x.length; start += SUPER, block += typeSize) {
        for (let j = 0; j < SUBS; j++) {
          const sub = x.subarray(start + SUB * j, start + SUB * (j + 1));
          const fit = searchScaleMin(sub, sub.map(Math.abs), codes.subarray(SUB * j, SUB * (j + 1)), grid);
          scales[j] = fit.scale;
          mins[j] = fit.min;
        }

        const maxScale = Math.max(0, ...scales);
        const maxMin = Math.max(0, ...mins);
        for (let j = 0; j < SUBS; j++) {
          const scale = maxScale > 0 ? nearestInt(f(f(15 / maxScale) * scales[j])) : 0;
          const min = maxMin > 0 ? nearestInt(f(f(15 / maxMin) * mins[j])) : 0;
          y[block + j] = scale | (min << 4); // neither is clamped: a negative scale fills the high nibble too
        }
        view.setUint16(block + D, toFloat16(f(maxScale / 15)), true);
        view.setUint16(block + DMIN, toFloat16(f(maxMin / 15)), true);

        const d = fromFloat16(view.getUint16(block + D, true));
        const dmin = fromFloat16(view.getUint16(block + DMIN, true));
        y.fill(0, block + CODES, block + D);
        for (let i = 0; i < SUPER; i++) {
          const byte = y[block + Math.floor(i / SUB)];
          const scale = f(d * (byte & 15));
          const min = f(dmin * (byte >> 4));
          // With a zero scale the code of the search stays.
          const code = scale === 0 ? codes[i] : nearestCode(f(f(x[start + i] + min) / scale), grid.top);
          y[block + byteOf(i)] |= code << shiftOf(i);
        }
      }
    },
  },
};
