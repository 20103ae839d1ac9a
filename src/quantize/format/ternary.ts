import { fromFloat16, toFloat16 } from '../../core/float.ts';
import { eachBlock, largestMagnitude, viewOf } from './blocks.ts';
import type { Encode, EncodeRange, Format } from './codec.ts';
import { codesOf } from './range-codes.ts';
import { hasReciprocal, roundAway } from './rounding.ts';

const f = Math.fround;

/** A block's scale and trits of -1, 0, 1. d is stored as float16. */
type Ternary = (x: Float32Array) => { d: number; trits: number[] };

/** ggml's choice: d = max|x|, trits lroundf(x * (1 / d)). */
const absmax: Ternary = (x) => {
  const d = largestMagnitude(x);
  // Without finite reciprocal ggml's trits are 0, be it for d = 0 or by an overflowing conversion on x86.
  const inverse = hasReciprocal(d) ? f(1 / d) : 0;
  return { d, trits: Array.from(x, (value) => roundAway(f(value * inverse))) };
};

/** Runs of a TQ1_0 block: bytes from `byte` on hold the weights from `weight` on, `stride` bytes wide. */
const runsTQ1_0 = [
  { byte: 0, weight: 0, stride: 32, trits: 5 },
  { byte: 32, weight: 160, stride: 16, trits: 5 },
  { byte: 48, weight: 240, stride: 4, trits: 4 },
] as const;

/**
 * A byte holds up to five trits t as v = the sum of (t + 1) * 3^(4 - i), stored as ceil(v * 256 / 243): multiplying the
 * byte by 3 carries out one trit after the other, the first first.
 */
const encodeTQ1_0 =
  (choose: Ternary): Encode =>
  (x, y) =>
    eachBlock('TQ1_0', x, y, (weights, block) => {
      const { d, trits } = choose(weights);
      packTQ1_0(toFloat16(d), Uint8Array.from(trits, codeOf), block);
    });

const codeOf = (trit: number): number => trit + 1;

function packTQ1_0(d: number, codes: Uint8Array, block: DataView): void {
  for (const run of runsTQ1_0) {
    for (let m = 0; m < run.stride; m++) {
      let v = 0;
      for (let i = 0; i < run.trits; i++) v += codes[run.weight + m + i * run.stride] * 3 ** (4 - i);
      block.setUint8(run.byte + m, Math.ceil((v * 256) / 243));
    }
  }
  block.setUint16(52, d, true);
}

/** Byte m of each 32 holds weights m, m + 32, m + 64 and m + 96 of its half block, two bits each, the first lowest. */
const encodeTQ2_0 =
  (choose: Ternary): Encode =>
  (x, y) =>
    eachBlock('TQ2_0', x, y, (weights, block) => {
      const { d, trits } = choose(weights);
      packTQ2_0(toFloat16(d), Uint8Array.from(trits, codeOf), block);
    });

/** All blocks over one range. */
const overRange =
  (encode: (choose: Ternary) => Encode): EncodeRange =>
  (x, y, range) =>
    encode((weights) => ({ d: range.scale, trits: codesOf(weights, range) }))(x, y);

function packTQ2_0(d: number, codes: Uint8Array, block: DataView): void {
  for (let byte = 0; byte < 64; byte++) {
    const first = (byte >> 5) * 128 + (byte & 31);
    let bits = 0;
    for (let i = 0; i < 4; i++) bits |= codes[first + 32 * i] << (2 * i);
    block.setUint8(byte, bits);
  }
  block.setUint16(64, d, true);
}

/**
 * TQ1_0: 256 weights as 52 bytes of trits in base 3 and float16 d; x = d * trit. ggml: quantize_row_tq1_0_ref,
 * dequantize_row_tq1_0.
 */
export const TQ1_0: Format = {
  type: 'TQ1_0',

  decode: (y, x) =>
    eachBlock('TQ1_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(52, true));
      for (const run of runsTQ1_0) {
        for (let m = 0; m < run.stride; m++) {
          let rest = block.getUint8(run.byte + m);
          for (let i = 0; i < run.trits; i++) {
            weights[run.weight + m + i * run.stride] = (((rest * 3) >> 8) - 1) * d;
            rest = (rest * 3) & 255;
          }
        }
      }
    }),

  encoders: { TQ1_0: encodeTQ1_0(absmax) },
  range: overRange(encodeTQ1_0),
  pack: ({ d, codes }, bytes) => packTQ1_0(d, codes, viewOf(bytes)),
};

/**
 * TQ2_0: 256 weights as 64 bytes of two bits a trit and float16 d; x = d * trit (a code of 3, which no encoder
 * writes, decodes to 2 * d). ggml: quantize_row_tq2_0_ref, dequantize_row_tq2_0.
 */
export const TQ2_0: Format = {
  type: 'TQ2_0',

  decode: (y, x) =>
    eachBlock('TQ2_0', x, y, (weights, block) => {
      const d = fromFloat16(block.getUint16(64, true));
      for (let byte = 0; byte < 64; byte++) {
        const first = (byte >> 5) * 128 + (byte & 31);
        for (let i = 0; i < 4; i++) {
          weights[first + 32 * i] = (((block.getUint8(byte) >> (2 * i)) & 3) - 1) * d;
        }
      }
    }),

  encoders: { TQ2_0: encodeTQ2_0(absmax) },
  range: overRange(encodeTQ2_0),
  pack: ({ d, codes }, bytes) => packTQ2_0(d, codes, viewOf(bytes)),
};
