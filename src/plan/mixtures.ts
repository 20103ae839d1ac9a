import { UsageError } from '../core/errors.ts';
import { didYouMean } from '../core/suggest.ts';
import { dataTypes, type TypeName } from '../core/types.ts';

/**
 * What `--type` can name: a type for the bulk of the weights, and (by mixture-rules.ts) other types for the tensors
 * that need more. Names and numbers are llama.cpp's (`enum llama_ftype`, QUANT_OPTIONS of llama-quantize).
 */
export interface Mixture {
  readonly name: string;
  /** Value of `general.file_type`; null for a file that llama.cpp has no number for. */
  readonly fileType: number | null;
  /** The type of a tensor that no rule singles out. */
  readonly base: TypeName;
  /** Every matrix gets the base type; llama-quantize has no such mixture. */
  readonly uniform?: true;
}

const rows = [
  ['F32', 0, 'F32'],
  ['F16', 1, 'F16'],
  ['BF16', 32, 'BF16'],
  ['Q1_0', 40, 'Q1_0'],
  ['Q2_0', 41, 'Q2_0'],
  ['Q4_0', 2, 'Q4_0'],
  ['Q4_1', 3, 'Q4_1'],
  ['Q5_0', 8, 'Q5_0'],
  ['Q5_1', 9, 'Q5_1'],
  ['Q8_0', 7, 'Q8_0'],
  ['Q2_K', 10, 'Q2_K'],
  ['Q2_K_S', 21, 'Q2_K'],
  ['Q3_K_S', 11, 'Q3_K'],
  ['Q3_K_M', 12, 'Q3_K'],
  ['Q3_K_L', 13, 'Q3_K'],
  ['Q4_K_S', 14, 'Q4_K'],
  ['Q4_K_M', 15, 'Q4_K'],
  ['Q5_K_S', 16, 'Q5_K'],
  ['Q5_K_M', 17, 'Q5_K'],
  ['Q6_K', 18, 'Q6_K'],
  ['TQ1_0', 36, 'TQ1_0'],
  ['TQ2_0', 37, 'TQ2_0'],
  ['IQ1_S', 24, 'IQ1_S'],
  ['IQ1_M', 31, 'IQ1_M'],
  ['IQ2_XXS', 19, 'IQ2_XXS'],
  ['IQ2_XS', 20, 'IQ2_XS'],
  ['IQ2_S', 28, 'IQ2_XS'],
  ['IQ2_M', 29, 'IQ2_S'],
  ['IQ3_XXS', 23, 'IQ3_XXS'],
  ['IQ3_XS', 22, 'IQ3_S'],
  ['IQ3_S', 26, 'IQ3_S'],
  ['IQ3_M', 27, 'IQ3_S'],
  ['IQ4_NL', 25, 'IQ4_NL'],
  ['IQ4_XS', 30, 'IQ4_XS'],
  ['MXFP4_MOE', 38, 'MXFP4'],
] as const;

export type MixtureName = (typeof rows)[number][0];

/** Every mixture, by name. */
export const mixtures = Object.fromEntries(
  rows.map(([name, fileType, base]) => [name, { name, fileType, base }]),
) as Readonly<Record<MixtureName, Mixture>>;

/** Types that llama-quantize cannot be asked for: an extension, with llama.cpp's numbers for such files. */
export const uniformTypes: Readonly<Record<'MXFP4' | 'NVFP4', Mixture>> = {
  MXFP4: { name: 'MXFP4', fileType: 38, base: 'MXFP4', uniform: true },
  NVFP4: { name: 'NVFP4', fileType: 39, base: 'NVFP4', uniform: true },
};

const named: Readonly<Record<string, Mixture>> = { ...mixtures, ...uniformTypes };

/** Other names llama-quantize takes. */
const aliases: Readonly<Record<string, MixtureName>> = { Q3_K: 'Q3_K_M', Q4_K: 'Q4_K_M', Q5_K: 'Q5_K_M' };

/**
 * The mixture meant by `--type`: a name in any case, an alias, or llama.cpp's number. UsageError, naming the nearest
 * ones and all whose base type can be written, for anything else.
 */
export function parseMixture(text: string, canWrite: (type: TypeName) => boolean = () => true): Mixture {
  const wanted = text.trim().toUpperCase();
  const byNumber = /^\d+$/.test(wanted) && Object.values(mixtures).find((m) => m.fileType === Number(wanted));
  const found = byNumber || named[wanted] || mixtures[aliases[wanted]];
  if (found) return found;
  const names = Object.values(named).flatMap(({ name, base }) => (canWrite(base) ? [name] : []));
  throw new UsageError(`no type is named "${text}"`, {
    expected: names.join(', '),
    advice: didYouMean(wanted, names),
  });
}

/**
 * A mixture where there is none, for weights of no known architecture: its base type by name, and the number of the
 * mixture that is the least more than that type (Q4_K has that of Q4_K_S).
 */
export function bulkOf(mixture: Mixture): Mixture {
  const { name, base } = mixture;
  if (name === base || !Object.hasOwn(mixtures, name)) return mixture;
  const alike = Object.values<Mixture>(mixtures).filter((other) => other.base === base);
  const { fileType } = alike.find((other) => other.name === base) ?? alike[0];
  return { name: base, fileType, base };
}

const tensorTypes = Object.values(dataTypes)
  .filter(({ name, kind }) => kind === 'quantized' || name === 'F32' || name === 'F16' || name === 'BF16')
  .map(({ name }) => name);

/**
 * The type of a single tensor, as `--tensor-type`, `--output-tensor-type` and `--token-embedding-type` name it, in any
 * case. UsageError, naming `option` and the nearest types, for anything else, mixtures included.
 */
export function parseTensorType(text: string, option: string): TypeName {
  const wanted = text.trim().toUpperCase();
  const found = tensorTypes.find((name) => name === wanted);
  if (found) return found;
  const mixture = mixtures[wanted as MixtureName];
  throw new UsageError(`${option}: no tensor type is named "${text}"`, {
    expected: tensorTypes.join(', '),
    advice: mixture
      ? `${mixture.name} is a mixture of types; its base type is ${mixture.base}`
      : didYouMean(wanted, tensorTypes),
  });
}
