import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { BlockParts, Format } from './codec.ts';
import { nearestInt } from './nearest.ts';
import { searchSymmetric } from './symmetric.ts';

const { blockSize, typeSize } = dataTypes.Q6_K;
const SUB = 16; // weights that share an int8 scale
const QH = 128; // byte offsets in a block: ql at 0, then these
const SCALES = 192;
const D = 208;
const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * Q6_K: 256 weights as 16 sub-blocks of 16; x = d * scale * (code - 32). Codes have 6 bits (128 bytes of
 * low nibbles, 64 bytes of high pairs), scales are int8, d is float16. ggml: quantize_row_q6_K_ref,
 * quantize_row_q6_K_impl, dequantize_row_q6_K.
 */
export const Q6_K: Format = {
  type: 'Q6_K',

  decode(y, x) {
    for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
      const block = y.subarray(at, at + typeSize);
      const d = fromFloat16(block[D] | (block[D + 1] << 8));
      for (let i = 0; i < blockSize; i++) {
        const { low, lowShift, high, highShift } = placeOf(i);
        const code = ((block[low] >> lowShift) & 15) | (((block[high] >> highShift) & 3) << 4);
        x[start + i] = f(d * int8(block[SCALES + Math.floor(i / SUB)])) * (code - 32);
      }
    }
  },

  encoders: {
    Q6_K(x, y) {
      for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
        const weights = x.subarray(start, start + blockSize);
        encodeBlock(
          weights,
          weights.map((value) => value * value),
          y.subarray(at, at + typeSize),
        );
      }
    },
  },

  weighted(x, y, rowLength, importance) {
    for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
      const column = start % rowLength;
      encodeBlock(
        x.subarray(start, start + blockSize),
        importance.subarray(column, column + blockSize),
        y.subarray(at, at + typeSize),
      );
    }
  },

  pack: packBlock,
};

/** Scales are int8. */
function packBlock({ d, scales, codes }: Omit<BlockParts, 'dmin' | 'mins'>, block: Uint8Array): void {
  block.fill(0, 0, SCALES);
  block[D] = d;
  block[D + 1] = d >> 8;
  block.set(scales.subarray(0, D - SCALES), SCALES);
  for (let i = 0; i < blockSize; i++) {
    const { low, lowShift, high, highShift } = placeOf(i);
    block[low] |= (codes[i] & 15) << lowShift;
    block[high] |= (codes[i] >> 4) << highShift;
  }
}

/** Codes 256 weights, the error of each counting as often as `weights` says. */
function encodeBlock(x: Float32Array, weights: Float32Array, block: Uint8Array): void {
  block.fill(0);
  const codes = new Uint8Array(blockSize);
  const parts = Array.from({ length: blockSize / SUB }, (_, j) => [j * SUB, (j + 1) * SUB] as const);
  const scales = parts.map(([from, to]) =>
    searchSymmetric(x.subarray(from, to), weights.subarray(from, to), codes.subarray(from, to), 32),
  );
  let max = 0;
  for (const scale of scales) if (Math.abs(scale) > Math.abs(max)) max = scale;
  if (Math.abs(max) < EPS) return;

  const inverse = f(-128 / max);
  const half = toFloat16(f(1 / inverse));
  const scaleCodes = new Uint8Array(parts.length);
  parts.forEach(([from, to], j) => {
    scaleCodes[j] = Math.min(127, nearestInt(f(inverse * scales[j])));
    const d = f(fromFloat16(half) * int8(scaleCodes[j]));
    if (d === 0) return; // the codes of the search stay
    for (let i = from; i < to; i++) codes[i] = codeOf(f(x[i] / d));
  });
  packBlock({ d: half, scales: scaleCodes, codes }, block);
}

const codeOf = (level: number): number => Math.max(-32, Math.min(31, nearestInt(level))) + 32;

const int8 = (byte: number): number => (byte << 24) >> 24;

/** Where the code of weight i lies: halves of 128 weights, in them four quarters of 32 share bytes. */
function placeOf(i: number): { low: number; lowShift: number; high: number; highShift: number } {
  const half = Math.floor(i / 128);
  const quarter = Math.floor(i / 32) % 4;
  return {
    low: half * 64 + (i % 64),
    lowShift: quarter < 2 ? 0 : 4,
    high: QH + half * 32 + (i % 32),
    highShift: 2 * quarter,
  };
}
