import type { MetadataEntry } from './metadata.ts';
import type { TypeName } from './types.ts';

/** A tensor as it lies in a file, checked against that file's size by the reader that made it. */
export interface StoredTensor {
  readonly name: string;
  readonly type: TypeName;
  /** Extents with the slowest axis first, as safetensors and PyTorch write them (GGUF's order reversed). */
  readonly shape: readonly number[];
  /** Index into `Checkpoint.files`. */
  readonly file: number;
  /** Absolute byte offset in that file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A file that holds tensor data. */
export interface CheckpointFile {
  readonly path: string;
  readonly size: number;
}

/** A model as found on disk: headers read and checked, tensor data untouched. */
export interface Checkpoint {
  readonly format: 'safetensors' | 'gguf';
  /** Path as the user gave it, for messages. */
  readonly path: string;
  /** Directory in which configuration and tokenizer files lie. */
  readonly directory: string;
  /** For a split GGUF its parts in order. */
  readonly files: readonly CheckpointFile[];
  /** In the order the official converter visits them: by file, then by name; a GGUF keeps its own order. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Key-value pairs of a GGUF file, of the first part where it is split; empty for safetensors. */
  readonly metadata: readonly MetadataEntry[];
}
