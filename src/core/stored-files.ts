import { closeSync, openSync, readSync } from 'node:fs';
import { type StoredSource, segmentsOf } from './segments.ts';

/** What went wrong with an input file, by its index: the operating system refused, or the file ended early. */
export type StoredFailure =
  | { readonly cause: 'read'; readonly file: number; readonly code: string; readonly message: string }
  | { readonly cause: 'short-read'; readonly file: number };

/** Stored values could not be read; threads send `failure` to where names are known. */
export class StoredReadError extends Error {
  readonly failure: StoredFailure;
  constructor(failure: StoredFailure) {
    super(failure.cause);
    this.failure = failure;
  }
}

/** The files of a model, opened as they are needed, for threads that read its tensors. */
export class StoredFiles {
  readonly #paths: readonly string[];
  readonly #descriptors = new Map<number, number>();

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /**
   * Reads elements [start, start + count) as they are stored, in output order, to byte `address` of a buffer.
   *
   * @throws StoredReadError
   */
  read(source: StoredSource, start: number, count: number, buffer: ArrayBufferLike, address: number): void {
    const bytes = new Uint8Array(buffer);
    let at = address;
    for (const { file, offset, byteLength } of segmentsOf(source, start, count)) {
      this.#fill(file, offset, bytes, at, byteLength);
      at += byteLength;
    }
  }

  #fill(file: number, offset: number, bytes: Uint8Array, at: number, length: number): void {
    try {
      let descriptor = this.#descriptors.get(file);
      if (descriptor === undefined) {
        descriptor = openSync(this.#paths[file], 'r');
        this.#descriptors.set(file, descriptor);
      }
      for (let done = 0; done < length; ) {
        const read = readSync(descriptor, bytes, at + done, length - done, offset + done);
        if (read === 0) throw new StoredReadError({ cause: 'short-read', file });
        done += read;
      }
    } catch (error) {
      const { code = '', message, syscall } = error as NodeJS.ErrnoException;
      if (syscall === undefined) throw error; // not the operating system
      throw new StoredReadError({ cause: 'read', file, code, message });
    }
  }

  close(): void {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
    this.#descriptors.clear();
  }
}
