import { IQ1_POINTS } from '../../core/codebooks.ts';
import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock, largestMagnitude } from './blocks.ts';
import { Codebook } from './codebook.ts';
import type { Format } from './codec.ts';
import { sumOfSquares, weigh } from './importance.ts';
import { type IQ1Split, searchIQ1M, searchIQ1S, shifted } from './iq1-search.ts';
import { nearestCode } from './nearest.ts';

/**
 * IQ1_S and IQ1_M: groups of 8 weights are members of a codebook with three levels, -1, 0, 1, moved by 1/8.
 */
const book = new Codebook(IQ1_POINTS, 3, 3);
const LARGEST = (2 - 2 ** -23) * 2 ** 127; // float32
const f = Math.fround;

/**
 * IQ1_S: 256 weights as 8 sub-blocks of 32; x = d * (2 * scale + 1) * (level - 1 ± 1/8). A block is float16
 * d; the low bytes of the groups' indices; for each sub-block 16 bits: the high 3 bits of its four indices, a
 * scale of 3 bits, and whether its levels are moved down. Needs importance. ggml: quantize_row_iq1_s_impl,
 * dequantize_row_iq1_s.
 */
export const IQ1_S: Format = {
  type: 'IQ1_S',

  decode: (y, x) =>
    eachBlock('IQ1_S', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let j = 0; j < 8; j++) {
        const bits = block.getUint16(34 + 2 * j, true);
        const scale = f(d * (2 * ((bits >> 12) & 7) + 1));
        for (let k = 0; k < 4; k++) {
          const index = block.getUint8(2 + 4 * j + k) | (((bits >> (3 * k)) & 7) << 8);
          decodeGroup(weights.subarray(32 * j + 8 * k), index, scale, bits & 0x8000 ? -1 : 1);
        }
      }
    }),

  encoders: {},

  weighted: (x, y, rowLength, importance) =>
    eachBlock('IQ1_S', x, y, (weights, block, start) => {
      const column = start % rowLength;
      const errors = weigh(weights, importance.subarray(column, column + 256), variance(weights));
      clear(block);
      const parts = Array.from({ length: 8 }, (_, j) =>
        encodePart(
          weights.subarray(32 * j, 32 * j + 32),
          errors.subarray(32 * j, 32 * j + 32),
          1e-12,
          searchIQ1S,
        ),
      );
      const largest = largestScale(parts);
      const inverse = f(1 / f(largest / 15));
      parts.forEach((part, j) => {
        let bits = part !== null && part.shifts[0] < 0 && largest > 0 ? 0x8000 : 0;
        if (largest > 0) bits |= scaleCode(part?.scale ?? 0, inverse) << 12;
        part?.indices.forEach((index, k) => {
          block.setUint8(2 + 4 * j + k, index);
          bits |= (index >> 8) << (3 * k);
        });
        block.setUint16(34 + 2 * j, bits, true);
      });
      // A little more than the fit, by ggml's measurements.
      if (largest > 0) block.setUint16(0, toFloat16(f(f(largest / 15) * 1.125)), true);
    }),
};

/**
 * IQ1_M: 256 weights as 16 sub-blocks of 16; x = d * (2 * scale + 1) * (level - 1 ± 1/8), where each of the
 * two groups of a sub-block has its own sign. A block is the low bytes of the groups' indices; for each group
 * 4 bits, the high 3 bits of its index and whether its levels are moved down; four times 16 bits with four
 * scales of 3 bits and, at the top, 4 bits of the float16 d. ggml: quantize_row_iq1_m_impl,
 * dequantize_row_iq1_m.
 */
export const IQ1_M: Format = {
  type: 'IQ1_M',

  decode: (y, x) =>
    eachBlock('IQ1_M', x, y, (weights, block) => {
      const quarters = [0, 1, 2, 3].map((i) => block.getUint16(48 + 2 * i, true));
      const d = fromFloat16(quarters.reduce((bits, quarter, i) => bits | ((quarter >> 12) << (4 * i)), 0));
      for (let j = 0; j < 16; j++) {
        const scale = f(d * (2 * ((quarters[j >> 2] >> (3 * (j % 4))) & 7) + 1));
        for (let k = 0; k < 2; k++) {
          const bits = block.getUint8(32 + j) >> (4 * k);
          const index = block.getUint8(2 * j + k) | ((bits & 7) << 8);
          decodeGroup(weights.subarray(16 * j + 8 * k), index, scale, bits & 8 ? -1 : 1);
        }
      }
    }),

  encoders: {
    IQ1_M: (x, y) =>
      eachBlock('IQ1_M', x, y, (weights, block) => {
        encodeIQ1M(
          weights,
          weights.map((value) => value * value),
          block,
        );
      }),
  },

  weighted: (x, y, rowLength, importance) =>
    eachBlock('IQ1_M', x, y, (weights, block, start) => {
      const column = start % rowLength;
      encodeIQ1M(
        weights,
        weigh(weights, importance.subarray(column, column + 256), variance(weights)),
        block,
      );
    }),
};

function encodeIQ1M(weights: Float32Array, errors: Float32Array, block: DataView): void {
  clear(block);
  const parts = Array.from({ length: 16 }, (_, j) => {
    const [from, to] = [16 * j, 16 * j + 16];
    return encodePart(weights.subarray(from, to), errors.subarray(from, to), 1e-7, searchIQ1M);
  });
  const largest = largestScale(parts);
  const inverse = f(1 / f(largest / 15));
  const quarters = [0, 0, 0, 0];
  let [qx, qq] = [0, 0];
  parts.forEach((part, j) => {
    const { scale, indices, shifts } = part ?? { scale: 0, indices: [0, 0], shifts: [1, 1] };
    const code = largest > 0 ? scaleCode(scale, inverse) : 0;
    quarters[j >> 2] |= code << (3 * (j % 4));
    let bits = 0;
    indices.forEach((index, k) => {
      block.setUint8(2 * j + k, index);
      bits |= ((index >> 8) | (shifts[k] < 0 && largest > 0 ? 8 : 0)) << (4 * k);
      // With the codes of all scales fixed, least squares once more for what they multiply.
      const values = shifted(shifts[k]).map((value) => value * (2 * code + 1));
      for (let i = 0; i < 8; i++) {
        const at = 16 * j + 8 * k + i;
        const q = values[book.points[index][i]];
        const wq = f(errors[at] * q);
        qx = f(qx + f(wq * weights[at]));
        qq = f(qq + f(wq * q));
      }
    });
    block.setUint8(32 + j, bits);
  });
  if (!(largest > 0)) return;
  const d = qq > 0 ? f(qx / qq) : f(largest / 15);
  const half = toFloat16(f(d * f(1.1125))); // a little more than the fit, by ggml's measurements
  quarters.forEach((quarter, i) => {
    block.setUint16(48 + 2 * i, quarter | (((half >> (4 * i)) & 15) << 12), true);
  });
}

/**
 * How a sub-block is coded: its groups' indices in the codebook, and the direction in which their levels
 * move.
 */
interface Part {
  readonly scale: number;
  readonly indices: readonly number[];
  readonly shifts: readonly (1 | -1)[];
}

/**
 * The best coding without the codebook, moved onto it group by group; null for zeros, or where nothing
 * counts.
 */
function encodePart(
  x: Float32Array,
  errors: Float32Array,
  eps: number,
  search: (x: Float32Array, errors: Float32Array) => IQ1Split | null,
): Part | null {
  if (largestMagnitude(x) < f(eps)) return null;
  const split = search(x, errors);
  if (split === null) return null;

  let { scale } = split;
  let refit = false;
  const indices: number[] = [];
  let [qx, qq] = [0, 0];
  for (let at = 0; at < x.length; at += 8) {
    const values = shifted(split.shifts[at / 8]);
    const levels = split.levels.slice(at, at + 8);
    let index = book.indexOf(levels);
    if (index === undefined) {
      refit = true;
      index = nearestNeighbour(
        levels,
        x.subarray(at, at + 8),
        errors.subarray(at, at + 8),
        split.scale,
        values,
      );
    }
    indices.push(index);
    for (let i = 0; i < 8; i++) {
      const q = values[book.points[index][i]];
      const wq = f(errors[at + i] * q);
      qx = f(qx + f(wq * x[at + i]));
      qq = f(qq + f(wq * q));
    }
  }
  if (refit && qx > 0 && qq > 0) scale = f(qx / qq);
  return { scale, indices, shifts: split.shifts };
}

/**
 * Of the neighbours of a point that is no member, the first of least weighted square error. ggml:
 * iq1_find_best_neighbour2 (which, where no error is below the largest float32, reads outside its block; here
 * the first neighbour is taken).
 */
function nearestNeighbour(
  levels: ArrayLike<number>,
  x: Float32Array,
  errors: Float32Array,
  scale: number,
  values: readonly number[],
): number {
  const neighbours = book.neighboursOf(levels);
  let best = neighbours[0];
  let least = LARGEST;
  for (const index of neighbours) {
    const cost = book.points[index].reduce((sum, level, i) => {
      const difference = f(f(scale * values[level]) - x[i]);
      return f(sum + f(f(errors[i] * difference) * difference));
    }, 0);
    if (cost < least) {
      least = cost;
      best = index;
    }
  }
  return best;
}

const largestScale = (parts: readonly (Part | null)[]): number =>
  parts.reduce((largest, part) => (part !== null && part.scale > largest ? part.scale : largest), 0);

/** Twice the mean of x^2. */
const variance = (x: Float32Array): number => f(f(2 * sumOfSquares(x)) / 256);

const clear = (block: DataView): void =>
  void new Uint8Array(block.buffer, block.byteOffset, block.byteLength).fill(0);

/** The scale as one of the multiples 1, 3, ..., 15 of d. */
const scaleCode = (scale: number, inverse: number): number =>
  nearestCode(f(0.5 * f(f(inverse * scale) - 1)), 7);

function decodeGroup(x: Float32Array, index: number, scale: number, shift: 1 | -1): void {
  const values = shifted(shift);
  book.points[index].forEach((level, i) => {
    x[i] = scale * values[level];
  });
}
