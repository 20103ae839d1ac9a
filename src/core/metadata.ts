/** GGUF metadata value types with their numbers in the file (`enum gguf_type`). */
export const metadataTypes = {
  UINT8: 0,
  INT8: 1,
  UINT16: 2,
  INT16: 3,
  UINT32: 4,
  INT32: 5,
  FLOAT32: 6,
  BOOL: 7,
  STRING: 8,
  ARRAY: 9,
  UINT64: 10,
  INT64: 11,
  FLOAT64: 12,
} as const;

export type MetadataType = keyof typeof metadataTypes;
export type ScalarType = Exclude<MetadataType, 'ARRAY'>;
/** 64-bit integers are bigint, other numbers number, strings string, booleans boolean. */
export type ScalarValue = number | bigint | boolean | string;

/** One key of a GGUF file, in file order. Arrays are one level deep, as everything llama.cpp reads is. */
export type MetadataEntry =
  | { readonly key: string; readonly type: ScalarType; readonly value: ScalarValue }
  | {
      readonly key: string;
      readonly type: 'ARRAY';
      readonly elementType: ScalarType;
      readonly value: MetadataArray;
    };

/** Long numeric arrays are typed arrays, which keeps a 256k-token vocabulary small. */
export type MetadataArray = readonly ScalarValue[] | Float32Array | Int32Array | Uint8Array;
