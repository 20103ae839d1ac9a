import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { ChunkFailure } from './chunk-failure.ts';

/** The output file that the last chunk went to; chunks come in file order, so one is open at a time. */
export class ChunkOutput {
  readonly #paths: readonly string[];
  #index = -1;
  #descriptor = -1;

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** Writes all of a chunk at an offset of output file `index`. @throws ChunkFailure */
  write(index: number, bytes: Uint8Array, offset: number): void {
    const descriptor = this.#at(index);
    for (let done = 0; done < bytes.length; ) {
      done += operation(() => writeSync(descriptor, bytes, done, bytes.length - done, offset + done));
    }
  }

  /** Reads a chunk back; how many of its bytes there are. @throws ChunkFailure */
  read(index: number, bytes: Uint8Array, offset: number): number {
    const descriptor = this.#at(index);
    let done = 0;
    while (done < bytes.length) {
      const read = operation(() => readSync(descriptor, bytes, done, bytes.length - done, offset + done));
      if (read === 0) break;
      done += read;
    }
    return done;
  }

  #at(index: number): number {
    if (index === this.#index) return this.#descriptor;
    this.close();
    this.#descriptor = operation(() => openSync(this.#paths[index], 'r+'));
    this.#index = index;
    return this.#descriptor;
  }

  close(): void {
    if (this.#index >= 0) closeSync(this.#descriptor);
    this.#index = -1;
  }
}

function operation(act: () => number): number {
  try {
    return act();
  } catch (error) {
    const { code = '', message, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error; // a bug, not the operating system
    throw new ChunkFailure({ cause: 'write', file: null, code, message });
  }
}
