import type { EncoderName } from '../../core/plan.ts';
import type { RangedType } from '../../core/ranges.ts';
import type { TypeName } from '../../core/types.ts';
import type { Decode, Encode, EncodeRange, EncodeWeighted, Format, Pack } from './codec.ts';
import { BF16, F16, F32 } from './float.ts';
import { MXFP4, NVFP4 } from './fp4.ts';
import { Q4_0, Q5_0 } from './full-range.ts';
import { IQ1_M, IQ1_S } from './iq1.ts';
import { IQ2_S, IQ2_XS, IQ2_XXS } from './iq2.ts';
import { IQ3_S, IQ3_XXS } from './iq3.ts';
import { IQ4_NL, IQ4_XS } from './iq4.ts';
import { Q4_1, Q5_1 } from './min-max.ts';
import { Q1_0 } from './q1_0.ts';
import { Q2_0 } from './q2_0.ts';
import { Q2_K } from './q2_k.ts';
import { Q3_K } from './q3_k.ts';
import { Q6_K } from './q6_k.ts';
import { Q8_0 } from './q8_0.ts';
import { Q4_K, Q5_K } from './q45_k.ts';
import { stored } from './stored.ts';
import { TQ1_0, TQ2_0 } from './ternary.ts';

/** Every format this package reads or writes. A new one is a file beside this and a line here. */
const formats: readonly Format[] = [
  ...[F32, F16, BF16],
  ...[Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q1_0, Q2_0],
  ...[Q2_K, Q3_K, Q4_K, Q5_K, Q6_K],
  ...[IQ1_S, IQ1_M],
  ...[IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS],
  ...[TQ1_0, TQ2_0],
  ...[MXFP4, NVFP4],
  ...stored,
];

export const encoders = Object.assign({}, ...formats.map((format) => format.encoders)) as Readonly<
  Partial<Record<TypeName, Encode>>
>;

/** Of the types whose coding in ggml follows an importance matrix. */
export const weightedEncoders = Object.fromEntries(
  formats.flatMap(({ type, weighted }) => (weighted === undefined ? [] : [[type, weighted]])),
) as Readonly<Partial<Record<TypeName, EncodeWeighted>>>;

/** Of the types whose blocks can share a scale. */
export const rangeEncoders = Object.fromEntries(
  formats.flatMap(({ type, range }) => (range === undefined ? [] : [[type, range]])),
) as Readonly<Record<RangedType, EncodeRange>>;

/** Of the types whose codes stand for one weight each. */
export const packers = Object.fromEntries(
  formats.flatMap(({ type, pack }) => (pack === undefined ? [] : [[type, pack]])),
) as Readonly<Partial<Record<TypeName, Pack>>>;

/** Every type has one, which test/quantize/formats.test.ts holds to the table of types. */
export const decoders = Object.fromEntries(formats.map((format) => [format.type, format.decode])) as Readonly<
  Record<TypeName, Decode>
>;

/** Whether this build can write the type. */
export const canEncode = (encoder: EncoderName): boolean =>
  encoder === 'I8:zero-point' || encoder.endsWith(':range') || encoder in encoders;

/** Whether the encoder follows an importance matrix: ggml's own codings of the types in which ggml does. */
export const canWeigh = (encoder: EncoderName): boolean => encoder in weightedEncoders;
