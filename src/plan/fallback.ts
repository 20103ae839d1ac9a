import { QuantizeError } from '../core/errors.ts';
import { bitsPerWeight, dataTypes, elementsOf, type TypeName } from '../core/types.ts';
import { formatSignedBytes } from '../core/units.ts';
import type { TypedTensor } from './policy.ts';

/** Rows do not divide into a type's blocks, and llama-quantize knows no type to take instead. */
export class NoFallbackError extends QuantizeError {}

/** What llama-quantize takes for rows that are no multiple of the type's block (`tensor_type_fallback`). */
const fallbacks: Readonly<Partial<Record<TypeName, TypeName>>> = {
  IQ1_S: 'IQ4_NL',
  IQ1_M: 'IQ4_NL',
  IQ2_XXS: 'IQ4_NL',
  IQ2_XS: 'IQ4_NL',
  IQ2_S: 'IQ4_NL',
  IQ3_XXS: 'IQ4_NL',
  IQ3_S: 'IQ4_NL',
  IQ4_XS: 'IQ4_NL',
  Q2_0: 'Q4_0',
  Q2_K: 'Q4_0',
  Q3_K: 'Q4_0',
  TQ1_0: 'Q4_0',
  TQ2_0: 'Q4_0',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
};

/** Whether rows (shape in GGUF order) divide into the type's blocks. */
export const fits = (type: TypeName, shape: readonly number[]): boolean =>
  shape[0] % dataTypes[type].blockSize === 0;

/** The type taken for one that does not fit: one of blocks of 32, or F16 where even those do not fit. */
export function fallbackFor(name: string, shape: readonly number[], type: TypeName): TypeName {
  const { blockSize } = dataTypes[type];
  const smaller = fallbacks[type] ?? (blockSize <= 32 ? 'F16' : undefined);
  if (smaller === undefined) {
    throw new NoFallbackError(
      `${type} cannot hold this tensor, and llama.cpp defines no type to take instead`,
      {
        tensor: name,
        expected: `rows that are a multiple of ${blockSize}`,
        got: `rows of ${shape[0]}`,
        advice: 'give this tensor a type by --tensor-type, or choose another --type',
      },
    );
  }
  return fits(smaller, shape) ? smaller : 'F16';
}

/** One sentence for each pair of types and row length, with what the fallback costs. */
export function fallbackWarnings(tensors: readonly TypedTensor[]): string[] {
  const groups = new Map<string, TypedTensor[]>();
  for (const typed of tensors) {
    if (typed.fallbackFrom === undefined) continue;
    const key = `${typed.fallbackFrom} ${typed.type} ${typed.tensor.shape[0]}`;
    groups.set(key, [...(groups.get(key) ?? []), typed]);
  }
  return [...groups.values()].map((group) => {
    const [{ tensor, type, fallbackFrom }] = group;
    const wanted = fallbackFrom!;
    const extra = bitsPerWeight(type) - bitsPerWeight(wanted);
    const weights = group.reduce((sum, each) => sum + elementsOf(each.tensor.shape), 0);
    const who = group.length === 1 ? tensor.name : `${group.length} tensors (${tensor.name}, ...)`;
    const verb = group.length === 1 ? 'gets' : 'get';
    return (
      `rows of ${tensor.shape[0]} do not divide into ${wanted} blocks of ${dataTypes[wanted].blockSize}: ` +
      `${who} ${verb} ${type}, ${extra < 0 ? '' : '+'}${extra.toFixed(2)} bits per weight ` +
      `(${formatSignedBytes(Math.round((extra * weights) / 8))})`
    );
  });
}
