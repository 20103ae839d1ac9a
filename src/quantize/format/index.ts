import type { EncoderName } from '../../core/plan.ts';
import type { TypeName } from '../../core/types.ts';
import type { Decode, Encode, Format } from './codec.ts';
import { BF16, F16, F32 } from './float.ts';
import { Q2_K } from './q2_k.ts';
import { Q8_0 } from './q8_0.ts';
import { Q4_K, Q5_K } from './q45_k.ts';

/** Every format this package reads or writes. A new one is a file beside this and a line here. */
const formats: readonly Format[] = [F32, F16, BF16, Q8_0, Q2_K, Q4_K, Q5_K];

export const encoders = Object.assign({}, ...formats.map((format) => format.encoders)) as Readonly<
  Partial<Record<EncoderName, Encode>>
>;

export const decoders = Object.fromEntries(formats.map((format) => [format.type, format.decode])) as Readonly<
  Partial<Record<TypeName, Decode>>
>;

/** Whether this build can write the type. */
export const canEncode = (encoder: EncoderName): boolean => encoder in encoders;
