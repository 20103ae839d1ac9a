/** How workers hand encoded chunks over: at their offset in a file, or in a window of slots emptied in order. */
export type ChunkTarget =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'window'; readonly window: Uint8Array; readonly slotBytes: number };

/** An encoded chunk that is ready (window) or written (file). */
export interface EncodedChunk {
  /** Chunks are numbered through the file. */
  readonly number: number;
  /** Absolute offset in the output file. */
  readonly offset: number;
  readonly byteLength: number;
}
