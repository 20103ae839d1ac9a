/** What an importance matrix says of one tensor. */
export interface ImportanceEntry {
  /**
   * Mean square of the inputs each column was multiplied with, as llama-quantize takes it: row length first, then the
   * next expert's. In shared memory, so that every worker reads the same copy.
   */
  readonly values: Float32Array;
  /** Inputs seen, one number for each expert (one for a plain matrix); null where the file does not say. */
  readonly counts: readonly number[] | null;
}

/** An importance matrix as read from its file, before anything is known of the model it is for. */
export interface ImportanceMatrix {
  /** Path as the user gave it. */
  readonly path: string;
  /** By the name of the tensor in GGUF files. */
  readonly entries: ReadonlyMap<string, ImportanceEntry>;
  /** Names of the texts it was made from. */
  readonly datasets: readonly string[];
  /** Chunks of text it was made from; 0 where the file does not say. */
  readonly chunks: number;
}

/** n zeros in shared memory. */
export const sharedFloats = (n: number): Float32Array =>
  new Float32Array(new SharedArrayBuffer(n * Float32Array.BYTES_PER_ELEMENT));
