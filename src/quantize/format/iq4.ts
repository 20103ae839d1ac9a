import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { dataTypes } from '../../core/types.ts';
import type { Format } from './codec.ts';
import { halfOfQuotient } from './half.ts';
import { sumOfSquares, weigh } from './importance.ts';
import { nearestInt } from './nearest.ts';

const BLOCK = 32; // weights of an IQ4_NL block and of an IQ4_XS sub-block
const EPS = Math.fround(1e-15);
const f = Math.fround;

/**
 * The grid: finer near zero, as weights are. Its first value, -127, is where the value of largest magnitude
 * goes.
 */
export const IQ4_LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const midpoints = IQ4_LEVELS.slice(1).map((value, i) => (IQ4_LEVELS[i] + value) / 2);

/**
 * IQ4_NL: 32 weights as float16 d and 4-bit indices into the grid, x = d * grid[index]; byte i holds the
 * indices of weights i and i + 16. ggml: quantize_row_iq4_nl_impl (block 32, ntry 7),
 * dequantize_row_iq4_nl.
 */
export const IQ4_NL: Format = {
  type: 'IQ4_NL',

  decode(y, x) {
    eachBlock('IQ4_NL', x, y, (x, block) => {
      decodeIndices(block.subarray(2), x, fromFloat16(block[0] | (block[1] << 8)));
    });
  },

  encoders: {
    IQ4_NL(x, y) {
      eachBlock('IQ4_NL', x, y, (x, block) => {
        encodeBlock(
          x,
          x.map((value) => value * value),
          block,
        );
      });
    },
  },

  weighted(x, y, rowLength, importance) {
    eachBlock('IQ4_NL', x, y, (x, block, start) => {
      const column = start % rowLength;
      const variance = f(sumOfSquares(x) * (2 / BLOCK));
      encodeBlock(x, weigh(x, importance.subarray(column, column + BLOCK), variance), block);
    });
  },

  pack({ d, codes }, block) {
    writeHalf(block, d);
    packIndices(codes, block.subarray(2));
  },
};

/**
 * IQ4_XS: 256 weights as 8 sub-blocks of 32; x = d * (scale - 32) * grid[index]. A block is float16 d, 2
 * bytes with the high pairs of the 6-bit scales, 4 with their low nibbles, then the indices as in IQ4_NL.
 * ggml: quantize_row_iq4_nl_impl (super-block 256, ntry 7), dequantize_row_iq4_xs.
 */
export const IQ4_XS: Format = {
  type: 'IQ4_XS',

  decode(y, x) {
    eachBlock('IQ4_XS', x, y, (x, block) => {
      const d = fromFloat16(block[0] | (block[1] << 8));
      for (let j = 0; j < 8; j++) {
        const part = x.subarray(j * BLOCK, (j + 1) * BLOCK);
        decodeIndices(block.subarray(8 + 16 * j), part, f(d * (readScale(block, j) - 32)));
      }
    });
  },

  encoders: {
    IQ4_XS(x, y) {
      eachBlock('IQ4_XS', x, y, (x, block) => {
        encodeSuperBlock(
          x,
          x.map((value) => value * value),
          block,
        );
      });
    },
  },

  weighted(x, y, rowLength, importance) {
    eachBlock('IQ4_XS', x, y, (x, block, start) => {
      const column = start % rowLength;
      const variance = f(sumOfSquares(x) * (2 / x.length));
      encodeSuperBlock(x, weigh(x, importance.subarray(column, column + x.length), variance), block);
    });
  },

  pack({ d, scales, codes }, block) {
    writeHalf(block, d);
    block.fill(0, 2, 8);
    for (let j = 0; j < 8; j++) {
      writeScale(block, j, scales[j]);
      packIndices(codes.subarray(j * BLOCK, (j + 1) * BLOCK), block.subarray(8 + 16 * j));
    }
  },
};

function writeHalf(block: Uint8Array, half: number): void {
  block[0] = half;
  block[1] = half >> 8;
}

/** The scale of a sub-block, 0..63. The bits it goes to are 0. */
function writeScale(block: Uint8Array, j: number, scale: number): void {
  block[2 + (j >> 2)] |= (scale >> 4) << (2 * (j % 4));
  block[4 + (j >> 1)] |= (scale & 15) << (4 * (j % 2));
}

function readScale(block: Uint8Array, j: number): number {
  const low = (block[4 + (j >> 1)] >> (4 * (j % 2))) & 15;
  return low | (((block[2 + (j >> 2)] >> (2 * (j % 4))) & 3) << 4);
}

function packIndices(indices: Uint8Array, nibbles: Uint8Array): void {
  for (let i = 0; i < 16; i++) nibbles[i] = indices[i] | (indices[i + 16] << 4);
}

/** Codes 32 weights as IQ4_NL, the error of each counting as often as `weights` says. */
function encodeBlock(x: Float32Array, weights: Float32Array, block: Uint8Array): void {
  const d = searchScale(x, weights);
  writeHalf(block, halfOfQuotient(d));
  encodeIndices(x, block.subarray(2), d);
}

/** Codes 256 weights as IQ4_XS. */
function encodeSuperBlock(x: Float32Array, weights: Float32Array, block: Uint8Array): void {
  const partsOf = (values: Float32Array) =>
    Array.from({ length: 8 }, (_, j) => values.subarray(j * BLOCK, (j + 1) * BLOCK));
  const parts = partsOf(x);
  const scales = partsOf(weights).map((part, j) => searchScale(parts[j], part));
  let max = 0;
  for (const scale of scales) if (Math.abs(scale) > Math.abs(max)) max = scale;
  const d = f(-max / 32);
  block.fill(0);
  writeHalf(block, toFloat16(d));
  parts.forEach((part, j) => {
    const level = Math.max(-32, Math.min(31, nearestInt(f(inverseOf(d) * scales[j]))));
    writeScale(block, j, level + 32);
    encodeIndices(part, block.subarray(8 + 16 * j), f(d * level)); // d as searched, not as stored
  });
}

function eachBlock(
  type: 'IQ4_NL' | 'IQ4_XS',
  x: Float32Array,
  y: Uint8Array,
  visit: (x: Float32Array, block: Uint8Array, start: number) => void,
): void {
  const { blockSize, typeSize } = dataTypes[type];
  for (let start = 0, at = 0; start < x.length; start += blockSize, at += typeSize) {
    visit(x.subarray(start, start + blockSize), y.subarray(at, at + typeSize), start);
  }
}

function decodeIndices(nibbles: Uint8Array, x: Float32Array, d: number): void {
  for (let i = 0; i < 16; i++) {
    x[i] = d * IQ4_LEVELS[nibbles[i] & 15];
    x[i + 16] = d * IQ4_LEVELS[nibbles[i] >> 4];
  }
}

function encodeIndices(x: Float32Array, nibbles: Uint8Array, d: number): void {
  const inverse = inverseOf(d);
  packIndices(
    Uint8Array.from(x, (value) => indexOf(f(inverse * value))),
    nibbles,
  );
}

const inverseOf = (d: number): number => (d === 0 ? 0 : f(1 / d));

/** Nearest grid value, the upper one at a midpoint; NaN goes to the last, as in ggml's bisection. */
function indexOf(v: number): number {
  let index = 0;
  while (index < midpoints.length && !(v < midpoints[index])) index++;
  return index;
}

/**
 * Scale of 32 weights, 0 for (nearly) zeros: of 16 inverse scales around -127 / max, the one whose
 * least-squares scale leaves the least weighted error.
 */
function searchScale(x: Float32Array, weights: Float32Array): number {
  let max = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(max)) max = value;
  if (Math.abs(max) < EPS) return 0;

  const [qx, q2] = moments(x, weights, f(1 / f(-max / IQ4_LEVELS[0])));
  let scale = q2 > 0 ? f(qx / q2) : 0;
  let best = f(scale * qx);
  for (let step = -7; step <= 7; step++) {
    const [qx, q2] = moments(x, weights, f((step + IQ4_LEVELS[0]) / max));
    if (q2 > 0 && f(qx * qx) > f(best * q2)) {
      scale = f(qx / q2);
      best = f(scale * qx);
    }
  }
  return scale;
}

/** Sums of w q x and w q^2, q the grid value of x at this inverse scale. */
function moments(x: Float32Array, weights: Float32Array, inverse: number): [qx: number, q2: number] {
  let [qx, q2] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const q = IQ4_LEVELS[indexOf(f(inverse * x[i]))];
    const wq = f(weights[i] * q);
    qx = f(qx + f(wq * x[i]));
    q2 = f(q2 + f(wq * q));
  }
  return [qx, q2];
}
