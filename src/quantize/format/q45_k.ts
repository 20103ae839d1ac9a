import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { Decode, Encode, Format } from './codec.ts';
import { nearestCode, nearestInt } from './nearest.ts';
import { packScales6, SCALES6_BYTES, unpackScales6 } from './scales6.ts';
import { type SearchGrid, searchScaleMin } from './search.ts';

const f = Math.fround;

const SUPER = 256;
const SUB = 32;
const SUBS = SUPER / SUB;
/** Offsets in a block; the codes follow, for Q5_K their fifth bits first. */
const DMIN = 2;
const SCALES = 4;
const CODES = SCALES + SCALES6_BYTES;
const HIGH_BYTES = SUPER / 8;

/**
 * Q4_K and Q5_K: super-blocks of eight sub-blocks of 32 weights, x = (d * scale) * code - dmin * min, with d and dmin
 * float16, scale and min 6 bits each, code 4 or 5 bits. Bytes: d, dmin, scales (see packScales6), for Q5_K 32 bytes
 * of fifth bits (bit j of byte i: weight i of sub-block j), then 32 bytes for each pair of sub-blocks: the first's
 * lower four bits in the low nibble, the second's in the high one.
 */
function decoder(type: 'Q4_K' | 'Q5_K'): Decode {
  const { typeSize } = dataTypes[type];
  const scales = new Uint8Array(SUBS);
  const mins = new Uint8Array(SUBS);
  return (y, x) => {
    const view = new DataView(y.buffer, y.byteOffset, y.byteLength);
    for (let start = 0, block = 0; start < x.length; start += SUPER, block += typeSize) {
      const d = fromFloat16(view.getUint16(block, true));
      const dmin = fromFloat16(view.getUint16(block + DMIN, true));
      unpackScales6(y.subarray(block + SCALES, block + CODES), scales, mins);
      const high = block + CODES;
      const low = type === 'Q5_K' ? high + HIGH_BYTES : high;
      for (let i = 0; i < SUPER; i++) {
        const j = Math.floor(i / SUB);
        const nibbles = y[low + SUB * (j >> 1) + (i % SUB)];
        const nibble = j % 2 === 0 ? nibbles & 15 : nibbles >> 4;
        const fifth = type === 'Q5_K' ? (y[high + (i % SUB)] >> j) & 1 : 0;
        x[start + i] = f(f(d * scales[j]) * (nibble + 16 * fifth)) - f(dmin * mins[j]);
      }
    }
  };
}

/** quantize_row_q4_K_ref, quantize_row_q5_K_ref. */
function encoder(type: 'Q4_K' | 'Q5_K', grid: SearchGrid): Encode {
  const { typeSize } = dataTypes[type];
  const weights = new Float32Array(SUB);
  const codes = new Uint8Array(SUPER);
  const scales = new Float32Array(SUBS);
  const mins = new Float32Array(SUBS);
  const scaleCodes = new Uint8Array(SUBS);
  const minCodes = new Uint8Array(SUBS);

  return (x, y) => {
    const view = new DataView(y.buffer, y.byteOffset, y.byteLength);
    for (let start = 0, block = 0; start < x.length; start += SUPER, block += typeSize) {
      for (let j = 0; j < SUBS; j++) {
        const sub = x.subarray(start + SUB * j, start + SUB * (j + 1));
        weigh(sub, weights);
        const fit = searchScaleMin(sub, weights, codes.subarray(SUB * j, SUB * (j + 1)), grid);
        scales[j] = fit.scale;
        mins[j] = fit.min;
      }

      const maxScale = Math.max(0, ...scales);
      const maxMin = Math.max(0, ...mins);
      const inverseScale = maxScale > 0 ? f(63 / maxScale) : 0;
      const inverseMin = maxMin > 0 ? f(63 / maxMin) : 0;
      for (let j = 0; j < SUBS; j++) {
        // A negative scale wraps as a byte before it is clamped, as in ggml.
        scaleCodes[j] = Math.min(63, nearestInt(f(inverseScale * scales[j])) & 255);
        minCodes[j] = Math.min(63, nearestInt(f(inverseMin * mins[j])) & 255);
      }
      view.setUint16(block, toFloat16(f(maxScale / 63)), true);
      view.setUint16(block + DMIN, toFloat16(f(maxMin / 63)), true);
      packScales6(scaleCodes, minCodes, y.subarray(block + SCALES, block + CODES));

      const d = fromFloat16(view.getUint16(block, true));
      const dmin = fromFloat16(view.getUint16(block + DMIN, true));
      for (let j = 0; j < SUBS; j++) {
        const scale = f(d * scaleCodes[j]);
        const min = f(dmin * minCodes[j]);
        if (scale === 0) continue; // the codes of the search stay
        for (let i = SUB * j; i < SUB * (j + 1); i++) {
          codes[i] = nearestCode(f(f(x[start + i] + min) / scale), grid.top);
        }
      }
      packCodes(codes, y.subarray(block + CODES, block + typeSize));
    }
  };
}

/** Weights of the search: |x| plus the root mean square of the sub-block. */
function weigh(x: Float32Array, weights: Float32Array): void {
  let sum = 0;
  for (let i = 0; i < SUB; i++) sum = f(sum + f(x[i] * x[i]));
  const rms = f(Math.sqrt(sum / SUB));
  for (let i = 0; i < SUB; i++) weights[i] = rms + Math.abs(x[i]);
}

/** Fifth bits first, when the room is Q5_K's. */
function packCodes(codes: Uint8Array, out: Uint8Array): void {
  const low = out.length - SUPER / 2;
  out.fill(0);
  for (let i = 0; i < SUPER; i++) {
    const j = Math.floor(i / SUB);
    out[low + SUB * (j >> 1) + (i % SUB)] |= (codes[i] & 15) << (4 * (j % 2));
    if (low > 0) out[i % SUB] |= (codes[i] >> 4) << j;
  }
}

export const Q4_K: Format = {
  type: 'Q4_K',
  decode: decoder('Q4_K'),
  encoders: { Q4_K: encoder('Q4_K', { top: 15, first: -1, delta: 0.1, steps: 20, error: 'square' }) },
};

export const Q5_K: Format = {
  type: 'Q5_K',
  decode: decoder('Q5_K'),
  encoders: { Q5_K: encoder('Q5_K', { top: 31, first: -0.5, delta: 0.1, steps: 15, error: 'square' }) },
};
