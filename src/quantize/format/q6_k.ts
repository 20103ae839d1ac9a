import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { Format } from './codec.ts';
import { nearestInt } from './nearest.ts';

const { blockSize, typeSize } = dataTypes.Q6_K;
const SUB = 16; // weights that share an int8 scale
const QH = 128; // byte offsets in a block: ql at 0, then these
const SCALES = 192;
const D = 208;
const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * Q6_K: 256 weights as 16 sub-blocks of 16; x = d * scale * (code - 32). Codes have 6 bits (128 bytes of low nibbles,
 * 64 bytes of high pairs), scales are int8, d is float16. ggml: quantize_row_q6_K_ref, make_qx_quants (rmse_type 1),
 * dequantize_row_q6_K.
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
        encodeBlock(x.subarray(start, start + blockSize), y.subarray(at, at + typeSize));
      }
    },
  },
};

function encodeBlock(x: Float32Array, block: Uint8Array): void {
  block.fill(0);
  const codes = new Uint8Array(blockSize);
  const parts = Array.from({ length: blockSize / SUB }, (_, j) => [j * SUB, (j + 1) * SUB] as const);
  const scales = parts.map(([from, to]) => searchScale(x.subarray(from, to), codes.subarray(from, to)));
  let max = 0;
  for (const scale of scales) if (Math.abs(scale) > Math.abs(max)) max = scale;
  if (Math.abs(max) < EPS) return;

  const inverse = f(-128 / max);
  const half = toFloat16(f(1 / inverse));
  block[D] = half;
  block[D + 1] = half >> 8;
  parts.forEach(([from, to], j) => {
    block[SCALES + j] = Math.min(127, nearestInt(f(inverse * scales[j])));
    const d = f(fromFloat16(half) * int8(block[SCALES + j]));
    if (d === 0) return; // the codes of the search stay
    for (let i = from; i < to; i++) codes[i] = codeOf(f(x[i] / d));
  });

  codes.forEach((code, i) => {
    const { low, lowShift, high, highShift } = placeOf(i);
    block[low] |= (code & 15) << lowShift;
    block[high] |= (code >> 4) << highShift;
  });
}

/**
 * Scale of one sub-block: of 19 inverse scales around -32 / max, the one whose least-squares scale leaves the least
 * error weighted by x^2. Fills codes and returns the scale, 0 for a sub-block of (nearly) zeros.
 */
function searchScale(x: Float32Array, codes: Uint8Array): number {
  let max = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(max)) max = value;
  if (Math.abs(max) < EPS) return 0;

  let inverse = f(-32 / max);
  const [lx, l2] = moments(x, inverse);
  let scale = l2 === 0 ? 0 : f(lx / l2);
  let best = f(scale * lx);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const candidate = f(-f(32 + f(f(0.1) * step)) / max);
    const [lx, l2] = moments(x, candidate);
    if (l2 > 0 && f(lx * lx) > f(best * l2)) {
      inverse = candidate;
      scale = f(lx / l2);
      best = f(scale * lx);
    }
  }
  for (let i = 0; i < SUB; i++) codes[i] = codeOf(f(inverse * x[i]));
  return scale;
}

/** Sums of w x l and w l^2 over a sub-block, w = x^2, l the level of x at this inverse scale. */
function moments(x: Float32Array, inverse: number): [lx: number, l2: number] {
  let [lx, l2] = [0, 0];
  for (const value of x) {
    const w = f(value * value);
    const l = codeOf(f(inverse * value)) - 32;
    lx = f(lx + f(f(w * value) * l));
    l2 = f(l2 + f(f(w * l) * l));
  }
  return [lx, l2];
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
