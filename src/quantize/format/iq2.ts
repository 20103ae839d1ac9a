import { IQ2_S_POINTS, IQ2_XS_POINTS, IQ2_XXS_POINTS } from '../../core/codebooks.ts';
import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock } from './blocks.ts';
import { Codebook } from './codebook.ts';
import { addNibble, clear, nibble, weightedEncoder, withEighth } from './codebook-block.ts';
import { type CodebookSearch, type CodedSuperBlock, SUPER, searchSuperBlock } from './codebook-search.ts';
import type { Format } from './codec.ts';
import { sumOfSquares } from './importance.ts';

const f = Math.fround;

/** Magnitudes by level, in units of a quarter of the scale. */
const magnitudes = [8, 25, 43];

/**
 * IQ2_XXS, IQ2_XS and IQ2_S: super-blocks of 256 weights. Eight weights are a member of a codebook and eight signs;
 * 16 (IQ2_XXS: 32) weights share a scale of 4 bits: x = d * (scale + 1/2) / 4 * sign * magnitude.
 */

/**
 * IQ2_XXS. Bytes: float16 d, then for each 32 weights the indices of four members, and a uint32 with four times seven
 * signs (the eighth makes their product plus) and the scale in the highest four bits. ggml: quantize_row_iq2_xxs_impl,
 * dequantize_row_iq2_xxs; it has no coding without importances.
 */
const searchXXS: CodebookSearch = {
  book: new Codebook(IQ2_XXS_POINTS, 3, 2),
  size: 32,
  top: 2,
  zeroBelow: f(1e-15),
  evenSigns: true,
  around: 'search',
  steps: 6,
  delta: 0.1,
  recode: 'all',
};

export const IQ2_XXS: Format = {
  type: 'IQ2_XXS',

  decode(y, x) {
    eachBlock('IQ2_XXS', x, y, (x, block) => {
      for (let group = 0; group < SUPER / 8; group++) {
        const j = group >> 2;
        const word = block.getUint32(2 + 8 * j + 4, true);
        const index = block.getUint8(2 + 8 * j + (group % 4));
        const signs = withEighth((word >>> (7 * (group % 4))) & 127);
        decodeGroup(x, group, searchXXS.book, index, signs, scaleOf(block, word >>> 28));
      }
    });
  },

  encoders: {},

  weighted: weightedEncoder('IQ2_XXS', searchXXS, 1, (block, { parts, zero, d, levels }) => {
    if (zero) return;
    block.setUint16(0, toFloat16(d), true);
    parts.forEach((part, j) => {
      let word = levels[j] << 28;
      part?.indices.forEach((index, k) => {
        block.setUint8(2 + 8 * j + k, index);
        word |= (part.signs[k] & 127) << (7 * k);
      });
      block.setUint32(2 + 8 * j + 4, word, true);
    });
  }),
};

/**
 * IQ2_XS. Bytes: float16 d, for each eight weights a uint16 with nine bits of index and seven signs (as in IQ2_XXS),
 * then the scales, two a byte. ggml: quantize_row_iq2_xs_impl, dequantize_row_iq2_xs; it has no coding without
 * importances.
 */
const searchXS: CodebookSearch = {
  book: new Codebook(IQ2_XS_POINTS, 3, 2),
  size: 16,
  top: 2,
  zeroBelow: f(1e-15),
  evenSigns: true,
  around: 'largest',
  steps: 9,
  delta: 0.1,
  recode: 'inexact',
};

export const IQ2_XS: Format = {
  type: 'IQ2_XS',

  decode(y, x) {
    eachBlock('IQ2_XS', x, y, (x, block) => {
      for (let group = 0; group < SUPER / 8; group++) {
        const word = block.getUint16(2 + 2 * group, true);
        const scale = scaleOf(block, nibble(block, 66, group >> 1));
        decodeGroup(x, group, searchXS.book, word & 511, withEighth(word >> 9), scale);
      }
    });
  },

  encoders: {},

  weighted: weightedEncoder('IQ2_XS', searchXS, 1, (block, { parts, zero, d, levels }) => {
    if (zero) return;
    block.setUint16(0, toFloat16(d), true);
    parts.forEach((part, j) => {
      part?.indices.forEach((index, k) => {
        block.setUint16(2 + 4 * j + 2 * k, index | ((part.signs[k] & 127) << 9), true);
      });
      addNibble(block, 66, j, levels[j]);
    });
  }),
};

/**
 * IQ2_S. Bytes: float16 d, the lower eight bits of the indices, the signs, the upper two bits of the indices (four to a
 * byte), the scales (two to a byte). ggml: quantize_row_iq2_s_impl, dequantize_row_iq2_s.
 */
const searchS: CodebookSearch = {
  ...searchXS,
  book: new Codebook(IQ2_S_POINTS, 3, 1),
  zeroBelow: f(1e-8),
  evenSigns: false,
};

export const IQ2_S: Format = {
  type: 'IQ2_S',

  decode(y, x) {
    eachBlock('IQ2_S', x, y, (x, block) => {
      for (let group = 0; group < SUPER / 8; group++) {
        const high = (block.getUint8(66 + (group >> 2)) >> (2 * (group % 4))) & 3;
        const index = block.getUint8(2 + group) | (high << 8);
        const scale = scaleOf(block, nibble(block, 74, group >> 1));
        decodeGroup(x, group, searchS.book, index, block.getUint8(34 + group), scale);
      }
    });
  },

  encoders: {
    IQ2_S(x, y) {
      eachBlock('IQ2_S', x, y, (x, block) => {
        const variance = f(f(2 * sumOfSquares(x)) / SUPER);
        const weights = x.map((value) => f(0.25 * variance) + f(value * value));
        packS(block, searchSuperBlock(x, weights, searchS));
      });
    },
  },

  weighted: weightedEncoder('IQ2_S', searchS, 2, packS),
};

function packS(block: DataView, { parts, d, levels }: CodedSuperBlock): void {
  clear(block);
  block.setUint16(0, toFloat16(f(d * f(0.9875))), true);
  parts.forEach((part, j) => {
    part?.indices.forEach((index, k) => {
      const group = 2 * j + k;
      const high = 66 + (group >> 2);
      block.setUint8(2 + group, index);
      block.setUint8(34 + group, part.signs[k]);
      block.setUint8(high, block.getUint8(high) | ((index >> 8) << (2 * (group % 4))));
    });
    addNibble(block, 74, j, levels[j]);
  });
}

const scaleOf = (block: DataView, level: number): number =>
  f(f(fromFloat16(block.getUint16(0, true)) * (0.5 + level)) * 0.25);

function decodeGroup(
  x: Float32Array,
  group: number,
  book: Codebook,
  index: number,
  signs: number,
  scale: number,
): void {
  book.points[index].forEach((level, i) => {
    const magnitude = f(scale * magnitudes[level]);
    x[8 * group + i] = (signs >> i) & 1 ? -magnitude : magnitude;
  });
}
