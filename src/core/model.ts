import type { MetadataEntry } from './metadata.ts';
import type { ReadableSource } from './plan.ts';
import type { TypeName } from './types.ts';

/** A tensor as llama.cpp's converter would name, shape and order it, before any type is chosen. */
export interface MappedTensor {
  readonly name: string;
  /** GGUF order: row length first. */
  readonly shape: readonly number[];
  readonly source: ReadableSource;
  /** The type it keeps when it is not quantized: the converter's (`--outtype auto`), or in a GGUF the stored one. */
  readonly keep: TypeName;
  /** Its name before layers were pruned, where they were: importance matrices know it by that name. */
  readonly unprunedName?: string;
}

/** What the type policy asks about a model (llama.cpp's hparams of the same meaning). */
export interface Hyperparameters {
  readonly architecture: string;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** 0 for a dense model. */
  readonly experts: number;
}

/** A checkpoint understood as a model of a known architecture. */
export interface ModelDescription {
  readonly hyperparameters: Hyperparameters;
  /** In the converter's order, `general.file_type` and `general.quantization_version` included. */
  readonly metadata: readonly MetadataEntry[];
  /** In the converter's order. */
  readonly tensors: readonly MappedTensor[];
  /** Sentences for the user: ignored tensors, guessed fields. */
  readonly warnings: readonly string[];
}
