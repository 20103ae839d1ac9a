/**
 * How numbers lie in a file: every ggml tensor type, and the safetensors dtypes that ggml lacks.
 *
 * One row a type. A type whose values stand alone has blockSize 1; a quantized type packs blockSize values into
 * typeSize bytes. Sources: `enum ggml_type` and the `type_traits` table of ggml.c; the safetensors format's dtypes.
 */
export interface DataType {
  readonly name: TypeName;
  /** Number in GGUF files; null for a type that only safetensors has. */
  readonly ggmlId: number | null;
  /** Name in safetensors headers; null for a type that only GGUF has. */
  readonly safetensors: string | null;
  /** Values per block, 1 for plain number formats. */
  readonly blockSize: number;
  /** Bytes per block. */
  readonly typeSize: number;
  readonly kind: 'float' | 'integer' | 'quantized';
}

const K = 256; // values in a super-block (QK_K)

const rows = [
  // name, ggml id, safetensors dtype, block size, type size, kind
  ['F32', 0, 'F32', 1, 4, 'float'],
  ['F16', 1, 'F16', 1, 2, 'float'],
  ['BF16', 30, 'BF16', 1, 2, 'float'],
  ['F64', 28, 'F64', 1, 8, 'float'],
  ['F8_E4M3', null, 'F8_E4M3', 1, 1, 'float'],
  ['F8_E5M2', null, 'F8_E5M2', 1, 1, 'float'],
  ['I8', 24, 'I8', 1, 1, 'integer'],
  ['I16', 25, 'I16', 1, 2, 'integer'],
  ['I32', 26, 'I32', 1, 4, 'integer'],
  ['I64', 27, 'I64', 1, 8, 'integer'],
  ['U8', null, 'U8', 1, 1, 'integer'],
  ['U16', null, 'U16', 1, 2, 'integer'],
  ['U32', null, 'U32', 1, 4, 'integer'],
  ['U64', null, 'U64', 1, 8, 'integer'],
  ['BOOL', null, 'BOOL', 1, 1, 'integer'],
  ['Q1_0', 41, null, 128, 18, 'quantized'],
  ['Q2_0', 42, null, 64, 18, 'quantized'],
  ['Q4_0', 2, null, 32, 18, 'quantized'],
  ['Q4_1', 3, null, 32, 20, 'quantized'],
  ['Q5_0', 6, null, 32, 22, 'quantized'],
  ['Q5_1', 7, null, 32, 24, 'quantized'],
  ['Q8_0', 8, null, 32, 34, 'quantized'],
  ['Q2_K', 10, null, K, 84, 'quantized'],
  ['Q3_K', 11, null, K, 110, 'quantized'],
  ['Q4_K', 12, null, K, 144, 'quantized'],
  ['Q5_K', 13, null, K, 176, 'quantized'],
  ['Q6_K', 14, null, K, 210, 'quantized'],
  ['TQ1_0', 34, null, K, 54, 'quantized'],
  ['TQ2_0', 35, null, K, 66, 'quantized'],
  ['IQ1_S', 19, null, K, 50, 'quantized'],
  ['IQ1_M', 29, null, K, 56, 'quantized'],
  ['IQ2_XXS', 16, null, K, 66, 'quantized'],
  ['IQ2_XS', 17, null, K, 74, 'quantized'],
  ['IQ2_S', 22, null, K, 82, 'quantized'],
  ['IQ3_XXS', 18, null, K, 98, 'quantized'],
  ['IQ3_S', 21, null, K, 110, 'quantized'],
  ['IQ4_NL', 20, null, 32, 18, 'quantized'],
  ['IQ4_XS', 23, null, K, 136, 'quantized'],
  ['MXFP4', 39, null, 32, 17, 'quantized'],
  ['NVFP4', 40, null, 64, 36, 'quantized'],
] as const;

export type TypeName = (typeof rows)[number][0];

/** Every type, by name. */
export const dataTypes = Object.fromEntries(
  rows.map(([name, ggmlId, safetensors, blockSize, typeSize, kind]) => [
    name,
    { name, ggmlId, safetensors, blockSize, typeSize, kind },
  ]),
) as Readonly<Record<TypeName, DataType>>;

const byGgmlId = new Map(Object.values(dataTypes).map((type) => [type.ggmlId, type]));
const bySafetensorsName = new Map(Object.values(dataTypes).map((type) => [type.safetensors, type]));

/** The type a GGUF file means by this number, or undefined. */
export const typeByGgmlId = (id: number): DataType | undefined => byGgmlId.get(id);

/** The type a safetensors header means by this dtype, or undefined. */
export const typeBySafetensorsName = (dtype: string): DataType | undefined => bySafetensorsName.get(dtype);

/** Bytes that `elements` values take; elements must be a multiple of the block size. */
export function bytesOf(type: TypeName, elements: number): number {
  const { blockSize, typeSize } = dataTypes[type];
  return (elements / blockSize) * typeSize;
}

/** Bits per weight of a type, its scales included. */
export const bitsPerWeight = (type: TypeName): number =>
  (dataTypes[type].typeSize * 8) / dataTypes[type].blockSize;

/** Number of values in a shape. */
export const elementsOf = (shape: readonly number[]): number =>
  shape.reduce((product, extent) => product * extent, 1);
