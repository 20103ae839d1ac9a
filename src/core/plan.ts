import type { InputScale } from './activations.ts';
import type { PlannedCalibration, Statistics } from './calibration.ts';
import type { Checkpoint, StoredTensor } from './checkpoint.ts';
import type { MetadataEntry } from './metadata.ts';
import type { RangedType, RangeSpec } from './ranges.ts';
import type { TypeName } from './types.ts';

/**
 * Names a way of turning float32 values into blocks of a type. The name of a type is ggml's own coding of it;
 * `:range` is the same grid over ranges that are chosen (`PlannedTensor.range`).
 */
export type EncoderName = TypeName | 'I8:zero-point' | `${RangedType}:range`;

/** The grid an encoder codes onto. */
export const typeOfEncoder = (encoder: EncoderName): TypeName => encoder.split(':')[0] as TypeName;

/** Order in which the rows of a stored tensor appear in the output. */
export type RowOrder =
  | { readonly kind: 'file' }
  /**
   * Rotary halves interleaved, as llama.cpp's converter permutes q and k of the Llama family: within each of
   * `heads` heads of size h, output row 2i + t is stored row i + t * h / 2.
   */
  | { readonly kind: 'rotary'; readonly heads: number };

/** Where the values of an output tensor come from. */
export type TensorSource =
  | {
      readonly kind: 'stored';
      /** One tensor, or the parts stacked along a new slowest axis (experts). All of one type and shape. */
      readonly parts: readonly StoredTensor[];
      readonly rows: RowOrder;
    }
  /** Values known before any weight is coded: computed by the plan, such as rope factors, or found by a first pass. */
  | { readonly kind: 'values'; readonly values: readonly number[] | Float32Array | Int8Array }
  /** The scales or zero points of the rows of another planned tensor, known once its ranges are. */
  | { readonly kind: 'row-range'; readonly of: string; readonly what: 'scale' | 'zero-point' };

/** Type in which a source's values are stored; of values that were calculated F32. */
export const storedType = (source: TensorSource): TypeName =>
  source.kind === 'stored' ? source.parts[0].type : 'F32';

/** A source whose values can be read before any work is done. */
export type ReadableSource = Exclude<TensorSource, { kind: 'row-range' }>;

export interface PlannedTensor {
  readonly name: string;
  /** Extents in GGUF order: fastest axis (row length) first. */
  readonly shape: readonly number[];
  readonly type: TypeName;
  readonly encoder: EncoderName;
  readonly source: TensorSource;
  /** Why it has this type, in a few words a user understands ("mixture Q4_K_M: attn_v, layer 0 of 32"). */
  readonly reason: string;
  /** Set when the row length does not allow the type the mixture wanted. */
  readonly fallbackFrom?: TypeName;
  /**
   * What an error in each column counts, as the encoder gets it: `shape[0]` values, then those of the next expert.
   * Absent where the coding follows none.
   */
  readonly importance?: Float32Array;
  /** How its ranges are chosen, and reported: by us where the encoder is one of `:range`, else as ggml's coding does. */
  readonly range?: RangeSpec;
  /** Static scales of its inputs, where they are written beside it. */
  readonly inputScale?: InputScale;
  /** The statistics it waits for before it is coded; absent where its coding needs none that the plan does not have. */
  readonly calibrated?: Statistics;
}

/** Everything that will be done, decided before any tensor data is read. */
export interface Plan {
  readonly checkpoint: Checkpoint;
  /** The type or mixture by name, as `general.file_type` will say ("Q4_K_M"). */
  readonly fileType: string;
  readonly method: string;
  /** Name of the model, for the default output name: that of its directory or file. */
  readonly modelName: string;
  /** Architecture as llama.cpp names it; null when the weights are not a model it knows. */
  readonly architecture: string | null;
  /** Whether stock llama.cpp can run the output; if not, why. */
  readonly runnable: { readonly yes: true } | { readonly yes: false; readonly reason: string };
  readonly metadata: readonly MetadataEntry[];
  /** Null for a method that needs no statistics beyond what the plan holds. */
  readonly calibration: PlannedCalibration | null;
  /** In file order. */
  readonly tensors: readonly PlannedTensor[];
  /** What was chosen in the user's place, one sentence each. */
  readonly notes: readonly string[];
  /** Things the user should read, one sentence each (fallbacks, skipped tensors, odd configuration). */
  readonly warnings: readonly string[];
}
