import { IQ3_S_POINTS, IQ3_XXS_POINTS } from '../../core/codebooks.ts';
import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock } from './blocks.ts';
import { Codebook } from './codebook.ts';
import { addNibble, clear, nibble, weightedEncoder, withEighth } from './codebook-block.ts';
import { type CodebookSearch, type CodedSuperBlock, SUPER, searchSuperBlock } from './codebook-search.ts';
import type { Format } from './codec.ts';

const f = Math.fround;

/**
 * IQ3_XXS and IQ3_S: super-blocks of 256 weights, eight sub-blocks of 32 with a scale of 4 bits each. Four weights are
 * a member of a codebook and four signs.
 */

/**
 * IQ3_XXS: x = d * (scale + 1/2) / 2 * sign * magnitude. Bytes: float16 d, 64 indices, then for each sub-block a uint32
 * with four times seven signs (the eighth makes their product plus) and the scale in the highest four bits. ggml:
 * quantize_row_iq3_xxs_impl with a grid of 256, dequantize_row_iq3_xxs.
 */
const searchXXS: CodebookSearch = {
  book: new Codebook(IQ3_XXS_POINTS, 8, 2),
  size: 32,
  top: 7,
  zeroBelow: f(1e-8),
  evenSigns: true,
  around: 'largest',
  steps: 15,
  delta: 0.2,
  recode: 'inexact',
};

/** Magnitudes by level, in units of half the scale. */
const magnitudesXXS = [4, 12, 20, 28, 36, 44, 52, 62];

export const IQ3_XXS: Format = {
  type: 'IQ3_XXS',

  decode(y, x) {
    eachBlock('IQ3_XXS', x, y, (x, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let group = 0; group < SUPER / 8; group++) {
        const word = block.getUint32(66 + 4 * (group >> 2), true);
        const signs = withEighth((word >>> (7 * (group % 4))) & 127);
        const scale = f(f(d * (0.5 + (word >>> 28))) * 0.5);
        const indices = [block.getUint8(2 + 2 * group), block.getUint8(2 + 2 * group + 1)];
        decodeGroup(x, group, indices, signs, (index, i) =>
          f(scale * magnitudesXXS[searchXXS.book.points[index][i]]),
        );
      }
    });
  },

  encoders: {
    IQ3_XXS: (x, y) =>
      eachBlock('IQ3_XXS', x, y, (x, block) => packXXS(block, searchSuperBlock(x, squares(x), searchXXS))),
  },

  weighted: weightedEncoder('IQ3_XXS', searchXXS, 2, packXXS),
};

function packXXS(block: DataView, { parts, zero, d, levels }: CodedSuperBlock): void {
  clear(block);
  if (zero) return;
  block.setUint16(0, toFloat16(f(d * f(1.0125))), true);
  parts.forEach((part, j) => {
    let word = levels[j] << 28;
    part?.indices.forEach((index, k) => {
      block.setUint8(2 + 8 * j + k, index);
    });
    part?.signs.forEach((byte, k) => {
      word |= (byte & 127) << (7 * k);
    });
    block.setUint32(66 + 4 * j, word, true);
  });
}

/**
 * IQ3_S: x = d * (2 * scale + 1) * sign * (2 * level + 1). Bytes: float16 d, the lower eight bits of the 64 indices,
 * their ninth bits, the signs, the scales (two to a byte). ggml: quantize_row_iq3_s_impl, dequantize_row_iq3_s.
 */
const searchS: CodebookSearch = {
  book: new Codebook(IQ3_S_POINTS, 8, 3),
  size: 32,
  top: 7,
  zeroBelow: 2 ** -149, // the smallest float32: nothing but zeros counts as zero
  evenSigns: false,
  around: 'largest',
  steps: 9,
  delta: 0.2,
  recode: 'all if inexact',
};

export const IQ3_S: Format = {
  type: 'IQ3_S',

  decode(y, x) {
    eachBlock('IQ3_S', x, y, (x, block) => {
      const d = fromFloat16(block.getUint16(0, true));
      for (let group = 0; group < SUPER / 8; group++) {
        const scale = f(d * (2 * nibble(block, 106, group >> 2) + 1));
        const indices = [0, 1].map((k) => {
          const high = (block.getUint8(66 + (group >> 2)) >> (2 * (group % 4) + k)) & 1;
          return block.getUint8(2 + 2 * group + k) | (high << 8);
        });
        decodeGroup(x, group, indices, block.getUint8(74 + group), (index, i) =>
          f(scale * (2 * searchS.book.points[index][i] + 1)),
        );
      }
    });
  },

  encoders: {
    IQ3_S: (x, y) =>
      eachBlock('IQ3_S', x, y, (x, block) => packS(block, searchSuperBlock(x, squares(x), searchS))),
  },

  weighted: weightedEncoder('IQ3_S', searchS, 2, packS),
};

/**
 * A sub-block of zeros leaves no place in what ggml writes: indices and signs of those behind it move up, ninth bits
 * and scales do not.
 */
function packS(block: DataView, { parts, d, levels }: CodedSuperBlock): void {
  clear(block);
  block.setUint16(0, toFloat16(f(d * f(1.033))), true);
  let place = 0;
  parts.forEach((part, j) => {
    addNibble(block, 106, j, levels[j]);
    if (part === null) return;
    const high = part.indices.reduce((byte, index, k) => byte | ((index >> 8) << k), 0);
    part.indices.forEach((index, k) => {
      block.setUint8(2 + 8 * place + k, index);
    });
    block.setUint8(66 + j, high);
    part.signs.forEach((byte, k) => {
      block.setUint8(74 + 4 * place + k, byte);
    });
    place++;
  });
}

/** What errors count without importances. */
const squares = (x: Float32Array): Float32Array => x.map((value) => value * value);

/** Eight weights: two members of four magnitudes each. */
function decodeGroup(
  x: Float32Array,
  group: number,
  indices: readonly number[],
  signs: number,
  magnitudeOf: (index: number, i: number) => number,
): void {
  for (let i = 0; i < 8; i++) {
    const magnitude = magnitudeOf(indices[i >> 2], i % 4);
    x[8 * group + i] = (signs >> i) & 1 ? -magnitude : magnitude;
  }
}
