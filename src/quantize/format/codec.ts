import type { CodedRange } from '../../core/ranges.ts';
import type { TypeName } from '../../core/types.ts';

/** Encodes float32 values into blocks. x.length is a multiple of the block size; y has exactly the blocks' bytes. */
export type Encode = (x: Float32Array, y: Uint8Array) => void;

/** Decodes blocks to float32. */
export type Decode = (y: Uint8Array, x: Float32Array) => void;

/**
 * Encodes rows of `rowLength` float32 values into blocks, an error in column i counting importance[i] times, as
 * `ggml_quantize_chunk` does with an importance matrix. Importances are finite and not negative.
 */
export type EncodeWeighted = (
  x: Float32Array,
  y: Uint8Array,
  rowLength: number,
  importance: Float32Array,
) => void;

/** Encodes float32 values into blocks that share one range. */
export type EncodeRange = (x: Float32Array, y: Uint8Array, range: CodedRange) => void;

/**
 * One format as a scalar definition: the readable twin of a SIMD kernel, which must agree with it bit for bit.
 * Arithmetic is float32 (each operation through Math.fround) wherever ggml's is.
 */
export interface Format {
  readonly type: TypeName;
  readonly decode: Decode;
  /** ggml's own coding, by the type's name; none for a type that is only read. */
  readonly encoders: Readonly<Partial<Record<TypeName, Encode>>>;
  /** ggml's own coding under an importance matrix; absent where ggml ignores it. */
  readonly weighted?: EncodeWeighted;
  /** Coding over a range given from outside; only the types whose blocks hold one float scale. */
  readonly range?: EncodeRange;
}
