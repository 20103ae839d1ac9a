import type { EncoderName } from '../../core/plan.ts';
import type { TypeName } from '../../core/types.ts';
import type { Decode, Encode, Format } from './codec.ts';
import { BF16, F16, F32 } from './float.ts';
import { IQ4_NL, IQ4_XS } from './iq4.ts';
import { Q3_K } from './q3_k.ts';
import { Q6_K } from './q6_k.ts';
import { Q8_0 } from './q8_0.ts';

/** Every format this package reads or writes. A new one is a file beside this and a line here. */
const formats: readonly Format[] = [F32, F16, BF16, Q3_K, Q6_K, Q8_0, IQ4_NL, IQ4_XS];

export const encoders = Object.assign({}, ...formats.map((format) => format.encoders)) as Readonly<
  Partial<Record<EncoderName, Encode>>
>;

export const decoders = Object.fromEntries(formats.map((format) => [format.type, format.decode])) as Readonly<
  Partial<Record<TypeName, Decode>>
>;

/** Whether this build can write the type. */
export const canEncode = (encoder: EncoderName): boolean => encoder in encoders;
