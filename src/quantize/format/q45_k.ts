import { fromFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import { eachBlock, viewOf } from './blocks.ts';
import type { BlockParts, Decode, Encode, EncodeWeighted, Format } from './codec.ts';
import { halfOfQuotient } from './half.ts';
import { sumOfSquares, total, weigh } from './importance.ts';
import { nearestCode, nearestInt } from './nearest.ts';
import { searchPositive } from './positive.ts';
import { packScales6, SCALES6_BYTES, unpackScales6 } from './scales6.ts';
import { type SearchGrid, searchScaleMin, weightedGrid } from './search.ts';

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

/** Scale, minimum and codes of the sub-blocks of a super-block. */
class SuperBlock {
  readonly codes = new Uint8Array(SUPER);
  readonly scales = new Float32Array(SUBS);
  readonly mins = new Float32Array(SUBS);
  readonly scaleCodes = new Uint8Array(SUBS);
  readonly minCodes = new Uint8Array(SUBS);

  /** Searches the sub-blocks one by one. */
  search(x: Float32Array, costs: Float32Array, grid: SearchGrid): void {
    for (let j = 0; j < SUBS; j++) {
      const fit = searchScaleMin(part(x, j), part(costs, j), part(this.codes, j), grid);
      this.scales[j] = fit.scale;
      this.mins[j] = fit.min;
    }
  }

  /** Writes the block, given the steps of scales and minima, whose codes are final. */
  write(x: Float32Array, block: DataView, top: number, exactD: number, exactDmin: number): void {
    const { codes, scaleCodes, minCodes } = this;
    const [halfD, halfDmin] = [halfOfQuotient(exactD), halfOfQuotient(exactDmin)];
    const scales6 = new Uint8Array(SCALES6_BYTES);
    packScales6(scaleCodes, minCodes, scales6);
    unpackScales6(scales6, scaleCodes, minCodes); // codes beyond 63 change others

    const d = fromFloat16(halfD);
    const dmin = fromFloat16(halfDmin);
    for (let j = 0; j < SUBS; j++) {
      const scale = f(d * scaleCodes[j]);
      const min = f(dmin * minCodes[j]);
      if (scale === 0) continue; // the codes of the search stay
      for (let i = SUB * j; i < SUB * (j + 1); i++) codes[i] = nearestCode(f(f(x[i] + min) / scale), top);
    }
    const bytes = new Uint8Array(block.buffer, block.byteOffset, block.byteLength);
    packBlock({ d: halfD, dmin: halfDmin, scales: scaleCodes, mins: minCodes, codes }, bytes);
  }
}

const part = <T extends Float32Array | Uint8Array>(values: T, j: number): T =>
  values.subarray(SUB * j, SUB * (j + 1)) as T;

/** quantize_row_q4_K_ref, quantize_row_q5_K_ref. */
function encoder(type: 'Q4_K' | 'Q5_K', grid: SearchGrid): Encode {
  const fits = new SuperBlock();
  const costs = new Float32Array(SUPER);
  return (x, y) =>
    eachBlock(type, x, y, (weights, block) => {
      for (let j = 0; j < SUBS; j++) weighPlain(part(weights, j), part(costs, j));
      fits.search(weights, costs, grid);
      const maxScale = Math.max(0, ...fits.scales);
      const maxMin = Math.max(0, ...fits.mins);
      const inverseScale = maxScale > 0 ? f(63 / maxScale) : 0;
      const inverseMin = maxMin > 0 ? f(63 / maxMin) : 0;
      for (let j = 0; j < SUBS; j++) {
        // A negative scale wraps as a byte before it is clamped, as in ggml.
        fits.scaleCodes[j] = Math.min(63, nearestInt(f(inverseScale * fits.scales[j])) & 255);
        fits.minCodes[j] = Math.min(63, nearestInt(f(inverseMin * fits.mins[j])) & 255);
      }
      fits.write(weights, block, grid.top, f(maxScale / 63), f(maxMin / 63));
    });
}

/** quantize_row_q4_K_impl, quantize_row_q5_K_impl. */
function weightedEncoder(type: 'Q4_K' | 'Q5_K', top: number): EncodeWeighted {
  const fits = new SuperBlock();
  return (x, y, rowLength, importance) =>
    eachBlock(type, x, y, (weights, block, start) => {
      const column = start % rowLength;
      const variance = f(f(2 * sumOfSquares(weights)) / SUPER);
      const costs = weigh(weights, importance.subarray(column, column + SUPER), variance);
      fits.search(weights, costs, weightedGrid(top));
      const totals = Float32Array.from({ length: SUBS }, (_, j) => total(part(costs, j)));
      const d = searchPositive(fits.scales, totals, fits.scaleCodes, 63);
      const dmin = searchPositive(fits.mins, totals, fits.minCodes, 63);
      if (type === 'Q5_K') {
        // Codes of negative scales have wrapped; only here ggml limits them.
        for (const codes of [fits.scaleCodes, fits.minCodes])
          codes.set(codes.map((code) => Math.min(63, code)));
      }
      fits.write(weights, block, top, d, dmin);
    });
}

/** Weights of the search without importance: |x| plus the root mean square of the sub-block. */
function weighPlain(x: Float32Array, weights: Float32Array): void {
  const rms = f(Math.sqrt(f(sumOfSquares(x) / SUB)));
  for (let i = 0; i < SUB; i++) weights[i] = rms + Math.abs(x[i]);
}

function packBlock({ d, dmin, scales, mins, codes }: BlockParts, bytes: Uint8Array): void {
  viewOf(bytes).setUint16(0, d, true);
  viewOf(bytes).setUint16(DMIN, dmin, true);
  packScales6(scales, mins, bytes.subarray(SCALES, CODES));
  packCodes(codes, bytes.subarray(CODES));
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
  weighted: weightedEncoder('Q4_K', 15),
  pack: packBlock,
};

export const Q5_K: Format = {
  type: 'Q5_K',
  decode: decoder('Q5_K'),
  encoders: { Q5_K: encoder('Q5_K', { top: 31, first: -0.5, delta: 0.1, steps: 15, error: 'square' }) },
  weighted: weightedEncoder('Q5_K', 31),
  pack: packBlock,
};
