import { eachBlock, largestMagnitude } from './blocks.ts';
import type { Format } from './codec.ts';

const f = Math.fround;

/** E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), doubled to integers; scales are halved to match. */
const grid = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/**
 * MXFP4: 32 weights as an exponent byte e and 4-bit codes; x = 2^(e - 128) * grid[code]; byte j holds the
 * codes of weights j and j + 16. e is the exponent of max|x| less 2. ggml: quantize_row_mxfp4_ref,
 * dequantize_row_mxfp4.
 */
export const MXFP4: Format = {
  type: 'MXFP4',

  decode: (y, x) =>
    eachBlock('MXFP4', x, y, (weights, block) => {
      const d = scaleOfExponent(block.getUint8(0));
      decodePairs(weights, block, 1, d);
    }),

  encoders: {
    MXFP4: (x, y) =>
      eachBlock('MXFP4', x, y, (weights, block) => {
        const e = exponentCode(largestMagnitude(weights));
        block.setUint8(0, e);
        encodePairs(weights, block, 1, scaleOfExponent(e));
      }),
  },
};

/**
 * NVFP4: 64 weights as 4 sub-blocks of 16; x = d * grid[code], d half the sub-block's UE4M3 scale. A block is
 * the 4 scales, then 8 bytes of codes a sub-block; byte j holds those of weights j and j + 8. The scale is
 * max|x| / 6. ggml: quantize_row_nvfp4_ref, dequantize_row_nvfp4.
 */
export const NVFP4: Format = {
  type: 'NVFP4',

  decode: (y, x) =>
    eachBlock('NVFP4', x, y, (weights, block) => {
      for (let s = 0; s < 4; s++) {
        decodePairs(
          weights.subarray(16 * s, 16 * s + 16),
          block,
          4 + 8 * s,
          fromUE4M3(block.getUint8(s)) / 2,
        );
      }
    }),

  encoders: {
    NVFP4: (x, y) =>
      eachBlock('NVFP4', x, y, (weights, block) => {
        for (let s = 0; s < 4; s++) {
          const part = weights.subarray(16 * s, 16 * s + 16);
          const code = toUE4M3(f(largestMagnitude(part) / 6));
          block.setUint8(s, code);
          encodePairs(part, block, 4 + 8 * s, fromUE4M3(code) / 2);
        }
      }),
  },
};

function decodePairs(x: Float32Array, block: DataView, at: number, d: number): void {
  const half = x.length / 2;
  for (let j = 0; j < half; j++) {
    const pair = block.getUint8(at + j);
    x[j] = grid[pair & 15] * d;
    x[j + half] = grid[pair >> 4] * d;
  }
}

function encodePairs(x: Float32Array, block: DataView, at: number, d: number): void {
  const half = x.length / 2;
  for (let j = 0; j < half; j++) block.setUint8(at + j, nearest(x[j], d) | (nearest(x[j + half], d) << 4));
}

/** The first code whose value, times d, is nearest to x; distances are float32. */
function nearest(x: number, d: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  grid.forEach((value, code) => {
    const distance = Math.abs(f(f(value * d) - x));
    if (distance < least) {
      least = distance;
      best = code;
    }
  });
  return best;
}

/**
 * log2 is a float32 here, so that it may round up to an integer that amax does not reach. Below 2^-125 the
 * code wraps around, as a negative float turned into a byte does on x86.
 */
const exponentCode = (amax: number): number => (amax > 0 ? (Math.floor(f(Math.log2(amax))) + 125) & 255 : 0);

const scaleOfExponent = (e: number): number => 2 ** (e - 128);

/**
 * UE4M3, no sign: exponent of 4 bits with bias 7, mantissa of 3 bits, rounded half up. 448 (0x7e) is the
 * largest, also for what would round to the exponent above it; a subnormal does not round up to the smallest
 * normal number.
 */
function toUE4M3(x: number): number {
  if (x < 2 ** -6) return Math.min(7, Math.floor(f(f(x * 512) + 0.5)));
  let exponent = Math.floor(Math.log2(x));
  if (2 ** exponent > x) exponent--; // log2 of a number just below a power of two may round to it
  const code = 8 * (exponent + 7) + Math.floor((x / 2 ** exponent - 1) * 8 + 0.5);
  return code < 0x78 ? code : 0x7e;
}

/** 0x7f, elsewhere a NaN, is 0; the highest of the eight bits is ignored. */
function fromUE4M3(code: number): number {
  if (code === 0x7f) return 0;
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  return exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
}
