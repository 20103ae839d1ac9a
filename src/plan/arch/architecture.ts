import type { JsonObject } from '../../core/model-files.ts';
import type { ModelConfig } from '../config.ts';
import type { MetadataBuilder } from '../metadata-builder.ts';

/** Extents a table can name; `sizesOf` in tensors.ts gives their values. */
export type Extent = 'vocab' | 'hidden' | 'ffn' | 'query' | 'keyValue' | 'headSize' | 'experts';

/** One tensor, or with `{bid}` and `{xid}` in its name one for each layer and each expert. */
export interface TensorRule {
  /** Name in the checkpoint. */
  readonly from: string;
  /** Name in the GGUF file. With `{xid}` in `from`, the experts' matrices are stacked to this one. */
  readonly to: string;
  /** Extents as stored, slowest axis first. */
  readonly shape: readonly Extent[];
  /** 'always', 'optional', or the name of the configuration flag that says so. */
  readonly needed: string;
  /** Set when the rows are permuted for llama.cpp's rotary embedding: which number of heads they belong to. */
  readonly rotary?: 'query' | 'keyValue';
}

export interface FieldContext {
  readonly config: ModelConfig;
  readonly metadata: MetadataBuilder;
  /** llama.cpp's name of the architecture, the prefix of its keys. */
  readonly architecture: string;
  readonly fileType: number;
  readonly warn: (sentence: string) => void;
}

/** Writes one metadata key, or a few that belong together. Called in file order. */
export type Field = (context: FieldContext) => void;

/** Where the vocabulary comes from; the first source whose files fit is used. */
export type VocabularySource = 'sentencepiece' | 'llama-hf' | 'bpe';

/** Values the converter computes and stores as a tensor of its own, before all others. */
export interface ExtraTensor {
  readonly name: string;
  readonly values: readonly number[];
}

/** Everything that is particular to an architecture: one small file each, listed in index.ts. */
export interface Architecture {
  /** Name in llama.cpp. */
  readonly name: string;
  /** Entries of `architectures` in config.json. */
  readonly classes: readonly string[];
  /**
   * What transformers' configuration class fills in for fields that config.json omits, by `model_type`. The
   * official converter reads configurations through that class, so these values reach its output.
   */
  readonly defaults: Readonly<Record<string, JsonObject>>;
  /** Types of model whose configuration class derives a missing head_dim from hidden size and heads. */
  readonly derivesHeadSize: readonly string[];
  readonly tensors: readonly TensorRule[];
  readonly fields: readonly Field[];
  readonly vocabulary: readonly VocabularySource[];
  readonly extraTensors?: (config: ModelConfig) => ExtraTensor[];
}
