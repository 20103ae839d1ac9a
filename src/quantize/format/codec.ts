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

/** A block taken apart; every number as it is stored. What a type does not have stays as it is. */
export interface BlockParts {
  /** float16 bits of the scale, or of what the scales of sub-blocks are multiples of. */
  d: number;
  /** float16 bits of the minimum, or of what the minima of sub-blocks are multiples of. */
  dmin: number;
  /** Of sub-blocks, as unsigned bytes: a type with signed scales stores them with a bias or in two's complement. */
  readonly scales: Uint8Array;
  readonly mins: Uint8Array;
  /** Of weights, 0 upward; for Q8_0 bytes of two's complement. */
  readonly codes: Uint8Array;
}

/** Writes the parts of a block as its bytes. */
export type Pack = (parts: BlockParts, block: Uint8Array) => void;

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
  /** Absent where codes stand for more than one weight, or nothing needs it. */
  readonly pack?: Pack;
}
