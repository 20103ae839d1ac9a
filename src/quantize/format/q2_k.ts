import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import { eachBlock, viewOf } from './blocks.ts';
import type { BlockParts, Format } from './codec.ts';
import { halfOfQuotient } from './half.ts';
import { sumOfSquares, total, weigh } from './importance.ts';
import { nearestCode, nearestInt } from './nearest.ts';
import { searchPositive } from './positive.ts';
import { codesOf } from './range-codes.ts';
import { type SearchGrid, searchScaleMin, weightedGrid } from './search.ts';

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
 * codes, d, dmin. ggml: quantize_row_q2_K_ref, quantize_row_q2_K_impl, dequantize_row_q2_K.
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
      eachBlock('Q2_K', x, y, (weights, block) => {
        const fits = searchAll(weights, weights.map(Math.abs), grid);
        const maxScale = Math.max(0, ...fits.scales);
        const maxMin = Math.max(0, ...fits.mins);
        const inverseScale = maxScale > 0 ? f(15 / maxScale) : 0;
        const inverseMin = maxMin > 0 ? f(15 / maxMin) : 0;
        // Neither is clamped: a negative scale fills the high nibble too.
        const scaleCodes = fits.scales.map((scale) => nearestInt(f(inverseScale * scale)));
        const minCodes = fits.mins.map((min) => nearestInt(f(inverseMin * min)));
        writeBlock(weights, block, fits.codes, [f(maxScale / 15), scaleCodes], [f(maxMin / 15), minCodes]);
      });
    },
  },

  weighted(x, y, rowLength, importance) {
    eachBlock('Q2_K', x, y, (weights, block, start) => {
      const column = start % rowLength;
      const variance = f(sumOfSquares(weights) / SUPER);
      const costs = weigh(weights, importance.subarray(column, column + SUPER), variance);
      const { scales, mins, codes } = searchAll(weights, costs, weightedGrid(3));
      const totals = Float32Array.from({ length: SUBS }, (_, j) => total(part(costs, j)));
      const [scaleCodes, minCodes] = [new Uint8Array(SUBS), new Uint8Array(SUBS)];
      const d = searchPositive(scales, totals, scaleCodes, 15);
      const dmin = searchPositive(mins, totals, minCodes, 15);
      writeBlock(weights, block, codes, [d, scaleCodes], [dmin, minCodes]);
    });
  },

  // Every sub-block has scale 1 and min 1, so that x = d * code - dmin.
  range(x, y, range) {
    const ones = new Uint8Array(SUBS).fill(1);
    const parts = { d: toFloat16(range.scale), dmin: toFloat16(-range.offset), scales: ones, mins: ones };
    eachBlock('Q2_K', x, y, (weights, { buffer, byteOffset }) => {
      const codes = Uint8Array.from(codesOf(weights, range));
      packBlock({ ...parts, codes }, new Uint8Array(buffer, byteOffset, typeSize));
    });
  },
  pack: packBlock,
};

function packBlock({ d, dmin, scales, mins, codes }: BlockParts, bytes: Uint8Array): void {
  viewOf(bytes).setUint16(D, d, true);
  viewOf(bytes).setUint16(DMIN, dmin, true);
  for (let j = 0; j < SUBS; j++) bytes[j] = scales[j] | (mins[j] << 4);
  bytes.fill(0, CODES, D);
  for (let i = 0; i < SUPER; i++) bytes[byteOf(i)] |= codes[i] << shiftOf(i);
}

const part = <T extends Float32Array | Uint8Array>(values: T, j: number): T =>
  values.subarray(SUB * j, SUB * (j + 1)) as T;

/** Scale, minimum and codes of each sub-block. */
function searchAll(x: Float32Array, costs: Float32Array, grid: SearchGrid) {
  const codes = new Uint8Array(SUPER);
  const scales = new Float32Array(SUBS);
  const mins = new Float32Array(SUBS);
  for (let j = 0; j < SUBS; j++) {
    const fit = searchScaleMin(part(x, j), part(costs, j), part(codes, j), grid);
    scales[j] = fit.scale;
    mins[j] = fit.min;
  }
  return { codes, scales, mins };
}

/** Writes scales and minima (the step of each and its codes), and the final codes of the weights. */
function writeBlock(
  x: Float32Array,
  block: DataView,
  searched: Uint8Array,
  [exactD, scaleCodes]: readonly [number, ArrayLike<number>],
  [exactDmin, minCodes]: readonly [number, ArrayLike<number>],
): void {
  const parts: BlockParts = {
    d: halfOfQuotient(exactD),
    dmin: halfOfQuotient(exactDmin),
    scales: new Uint8Array(SUBS),
    mins: new Uint8Array(SUBS),
    codes: new Uint8Array(SUPER),
  };
  const d = fromFloat16(parts.d);
  const dmin = fromFloat16(parts.dmin);
  for (let j = 0; j < SUBS; j++) {
    const both = (scaleCodes[j] | (minCodes[j] << 4)) & 255; // codes out of range change each other
    parts.scales[j] = both & 15;
    parts.mins[j] = both >> 4;
  }
  for (let i = 0; i < SUPER; i++) {
    const j = Math.floor(i / SUB);
    const scale = f(d * parts.scales[j]);
    const min = f(dmin * parts.mins[j]);
    // With a zero scale the code of the search stays.
    parts.codes[i] = scale === 0 ? searched[i] : nearestCode(f(f(x[i] + min) / scale), grid.top);
  }
  packBlock(parts, new Uint8Array(block.buffer, block.byteOffset, block.byteLength));
}
