import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { BlockParts, Format } from './codec.ts';
import { halfOfQuotient } from './half.ts';
import { sumOfSquares, total, weigh } from './importance.ts';
import { nearestInt } from './nearest.ts';
import { searchSymmetric } from './symmetric.ts';

const { blockSize, typeSize } = dataTypes.Q3_K;
const SUB = 16; // weights that share a 6-bit scale
const QS = 32; // byte offsets in a block: high bits at 0, then these
const SCALES = 96;
const D = 108;
const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * Q3_K: 256 weights as 16 sub-blocks of 16; x = d * (scale - 32) * (code - 4). Codes have 3 bits (32 bytes
 * of high bits, 64 bytes of low pairs), scales have 6 (8 bytes of low nibbles, 4 of high pairs), d is
 * float16. ggml: quantize_row_q3_K_ref, make_q3_quants (do_rmse), quantize_row_q3_K_impl, dequantize_row_q3_K.
 */
export const Q3_K: Format = {
  type: 'Q3_K',

  decode(y, x) {
    for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
      const block = y.subarray(at, at + typeSize);
      const d = fromFloat16(block[D] | (block[D + 1] << 8));
      for (let i = 0; i < blockSize; i++) {
        const { high, highShift, low, lowShift } = placeOfCode(i);
        const code = (((block[high] >> highShift) & 1) << 2) | ((block[low] >> lowShift) & 3);
        x[start + i] = f(d * (scaleOf(block, Math.floor(i / SUB)) - 32)) * (code - 4);
      }
    }
  },

  encoders: {
    Q3_K(x, y) {
      for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
        encodeBlock(x.subarray(start, start + blockSize), y.subarray(at, at + typeSize));
      }
    },
  },

  weighted(x, y, rowLength, importance) {
    for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
      const column = start % rowLength;
      encodeBlockWeighted(
        x.subarray(start, start + blockSize),
        importance.subarray(column, column + blockSize),
        y.subarray(at, at + typeSize),
      );
    }
  },

  pack: packBlock,
};

function packBlock({ d, scales, codes }: Omit<BlockParts, 'dmin' | 'mins'>, block: Uint8Array): void {
  block.fill(0);
  block[D] = d;
  block[D + 1] = d >> 8;
  for (let j = 0; j < blockSize / SUB; j++) {
    const { low, lowShift, high, highShift } = placeOfScale(j);
    block[low] |= (scales[j] & 15) << lowShift;
    block[high] |= (scales[j] >> 4) << highShift;
  }
  for (let i = 0; i < blockSize; i++) {
    const { high, highShift, low, lowShift } = placeOfCode(i);
    block[high] |= (codes[i] >> 2) << highShift;
    block[low] |= (codes[i] & 3) << lowShift;
  }
}

const parts = Array.from({ length: blockSize / SUB }, (_, j) => [j * SUB, (j + 1) * SUB] as const);

function encodeBlock(x: Float32Array, block: Uint8Array): void {
  const codes = new Uint8Array(blockSize);
  const scales = parts.map(([from, to]) => searchScale(x.subarray(from, to), codes.subarray(from, to)));
  let max = 0;
  for (const scale of scales) if (Math.abs(scale) > Math.abs(max)) max = scale;

  const inverse = f(-32 / max);
  const codeOfScale = (scale: number) => Math.max(-32, Math.min(31, nearestInt(f(inverse * scale)))) + 32;
  if (max === 0) writeBlock(x, block, codes, 0, new Uint8Array(parts.length));
  else writeBlock(x, block, codes, toFloat16(f(1 / inverse)), Uint8Array.from(scales, codeOfScale));
}

/** Under importance scale and codes are searched as in Q6_K, d as if the scales were weights of a sub-block. */
function encodeBlockWeighted(x: Float32Array, importance: Float32Array, block: Uint8Array): void {
  const codes = new Uint8Array(blockSize);
  const costs = weigh(x, importance, f(f(2 * sumOfSquares(x)) / blockSize));
  const totals = Float32Array.from(parts, ([from, to]) => total(costs.subarray(from, to)));
  const scales = Float32Array.from(parts, ([from, to]) =>
    searchSymmetric(x.subarray(from, to), costs.subarray(from, to), codes.subarray(from, to), 4),
  );
  const scaleCodes = new Uint8Array(parts.length);
  const d = searchSymmetric(scales, totals, scaleCodes, 32);
  writeBlock(x, block, codes, halfOfQuotient(d), scaleCodes);
}

/** Writes d as float16 bits, the 6-bit scales and the final codes. */
function writeBlock(
  x: Float32Array,
  block: Uint8Array,
  codes: Uint8Array,
  half: number,
  scaleCodes: Uint8Array,
): void {
  const d = fromFloat16(half);
  parts.forEach(([from, to], j) => {
    const step = f(d * (scaleCodes[j] - 32));
    if (step === 0) return; // the codes of the search stay
    for (let i = from; i < to; i++) codes[i] = levelOf(f(x[i] / step)) + 4;
  });
  packBlock({ d: half, scales: scaleCodes, codes }, block);
}

/**
 * Scale of one sub-block, 0 for (nearly) zeros; fills codes. Starts with levels at the inverse scale -4 /
 * max, then moves single levels, up to five times over the sub-block, as long as the error of the
 * least-squares scale under weights w = x^2 falls: the scale is lx / l2 with lx = sum w x l and l2 = sum w
 * l^2, and lx^2 / l2 grows.
 */
function searchScale(x: Float32Array, codes: Uint8Array): number {
  let max = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(max)) max = value;
  if (Math.abs(max) < EPS) return 0;

  const inverse = f(-4 / max);
  const levels = Array.from(x, (value) => levelOf(f(inverse * value)));
  let [lx, l2] = [0, 0];
  for (let i = 0; i < SUB; i++) {
    lx = f(lx + lxTerm(x[i], levels[i]));
    l2 = f(l2 + l2Term(x[i], levels[i]));
  }
  for (let pass = 0, changed = true; pass < 5 && changed; pass++) {
    changed = false;
    for (let i = 0; i < SUB; i++) {
      const lxOthers = f(lx - lxTerm(x[i], levels[i]));
      if (!(lxOthers > 0)) continue;
      const l2Others = f(l2 - l2Term(x[i], levels[i]));
      const level = levelOf(f(f(x[i] * l2Others) / lxOthers));
      if (level === levels[i]) continue;
      const lxNew = f(lxOthers + lxTerm(x[i], level));
      const l2New = f(l2Others + l2Term(x[i], level));
      if (l2New > 0 && f(f(lxNew * lxNew) * l2) > f(f(lx * lx) * l2New)) {
        [levels[i], lx, l2, changed] = [level, lxNew, l2New, true];
      }
    }
  }
  for (let i = 0; i < SUB; i++) codes[i] = levels[i] + 4;
  return l2 > 0 ? f(lx / l2) : 0;
}

const lxTerm = (x: number, level: number): number => f(f(f(x * x) * x) * level);

const l2Term = (x: number, level: number): number => f(f(f(x * x) * level) * level);

const levelOf = (v: number): number => Math.max(-4, Math.min(3, nearestInt(v)));

/** The 6-bit scale of sub-block j as stored. */
function scaleOf(block: Uint8Array, j: number): number {
  const { low, lowShift, high, highShift } = placeOfScale(j);
  return ((block[low] >> lowShift) & 15) | (((block[high] >> highShift) & 3) << 4);
}

interface Place {
  readonly low: number;
  readonly lowShift: number;
  readonly high: number;
  readonly highShift: number;
}

const placeOfScale = (j: number): Place => ({
  low: SCALES + (j % 8),
  lowShift: j < 8 ? 0 : 4,
  high: SCALES + 8 + (j % 4),
  highShift: 2 * Math.floor(j / 4),
});

/**
 * Where the code of weight i lies: low pairs of four quarters in each half of 128, high bits of all eight
 * runs.
 */
const placeOfCode = (i: number): Place => ({
  low: QS + Math.floor(i / 128) * 32 + (i % 32),
  lowShift: 2 * (Math.floor(i / 32) % 4),
  high: i % 32,
  highShift: Math.floor(i / 32),
});
