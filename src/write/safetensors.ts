import { QuantizeError } from '../core/errors.ts';
import type { Plan } from '../core/plan.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../core/types.ts';
import type { LaidOut } from './gguf.ts';

/** A tensor has a name or a type that safetensors cannot hold. */
export class SafetensorsTensorError extends QuantizeError {}

/** What the header says of a tensor. Shape with the slowest axis first. */
export interface SafetensorsInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: TypeName;
}

const METADATA = '__metadata__';

/**
 * The order in which a safetensors file can hold these tensors without gaps and with each aligned to its type: larger
 * types first, otherwise as they come.
 */
export const bySizeOfType = <T extends { readonly type: TypeName }>(tensors: readonly T[]): T[] =>
  tensors.toSorted((a, b) => dataTypes[b.type].typeSize - dataTypes[a.type].typeSize);

/**
 * Lays out a safetensors file: u64 length of the header, header (JSON, padded by spaces to a multiple of 8 bytes), then
 * the tensors' data one after another. `texts` go into `__metadata__`, beside the format's own "pt".
 *
 * @throws SafetensorsTensorError
 */
export function layOutSafetensors(
  texts: readonly { readonly key: string; readonly value: string }[],
  tensors: readonly SafetensorsInfo[],
): LaidOut {
  const metadata = [{ key: 'format', value: 'pt' }, ...texts.filter(({ key }) => key !== 'format')];
  const fields = [
    `${JSON.stringify(METADATA)}:{${metadata.map(({ key, value }) => pair(key, value)).join()}}`,
  ];
  let end = 0;
  const relativeOffsets = tensors.map(({ name, shape, type }) => {
    const dtype = dataTypes[type].safetensors;
    if (dtype === null || name === METADATA) {
      throw new SafetensorsTensorError('safetensors cannot hold a tensor', {
        tensor: name,
        expected: dtype === null ? 'a type of plain numbers' : `any name but ${METADATA}`,
        got: type,
        advice: 'write a GGUF file: give -o a name that ends in .gguf',
      });
    }
    const begin = end;
    end += bytesOf(type, elementsOf(shape));
    fields.push(pair(name, { dtype, shape, data_offsets: [begin, end] }));
    return begin;
  });

  const json = Buffer.from(`{${fields.join()}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, 8);
  return {
    header,
    offsets: relativeOffsets.map((offset) => header.length + offset),
    fileBytes: header.length + end,
  };
}

const pair = (key: string, value: unknown): string => `${JSON.stringify(key)}:${JSON.stringify(value)}`;

/** The plan with its tensors as its container orders them. */
export const inOrderOf = (container: 'gguf' | 'safetensors', plan: Plan): Plan =>
  container === 'gguf' ? plan : { ...plan, tensors: bySizeOfType(plan.tensors) };

/** A plan as safetensors: the texts of a GGUF's metadata, and tensors with their slowest axis first. */
export function torchView({ checkpoint, metadata, tensors }: Plan): Parameters<typeof layOutSafetensors> {
  const texts = checkpoint.format === 'gguf' ? metadata : [];
  return [
    texts.flatMap(({ key, value }) => (typeof value === 'string' ? [{ key, value }] : [])),
    tensors.map(({ name, type, shape, source }) => ({
      name,
      type,
      shape: source.kind === 'stored' ? source.parts[0].shape : [...shape].reverse(),
    })),
  ];
}
