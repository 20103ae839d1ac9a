import { write } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { BrokenPipeError } from './errors.ts';
import { asWriteError } from './partial-file.ts';

/** How long to wait before trying again when a pipe set to non-blocking has no room. */
const RETRY_MS = 5;

/**
 * Standard output, a pipe or a device, written in order. Each write waits until the system has taken all of it, so a
 * slow reader slows the writer down instead of filling memory.
 */
export class OutputStream {
  readonly #name: string;
  readonly #handle: FileHandle | null;

  private constructor(name: string, handle: FileHandle | null) {
    this.#name = name;
    this.#handle = handle;
  }

  /** Opens the path ('-' is standard output). Opening a FIFO waits for its reader. */
  static async open(path: string): Promise<OutputStream> {
    if (path === '-') return new OutputStream('standard output', null);
    try {
      return new OutputStream(path, await open(path, 'w'));
    } catch (error) {
      throw asWriteError(error, path);
    }
  }

  /** Writes all of the bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      try {
        done += await this.#writeSome(bytes.subarray(done));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') {
          await delay(RETRY_MS);
          continue;
        }
        if (code === 'EPIPE') {
          throw new BrokenPipeError('the reader of the output closed it before the end', {
            file: this.#name,
            cause: error,
          });
        }
        throw asWriteError(error, this.#name);
      }
    }
  }

  #writeSome(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      const descriptor = this.#handle?.fd ?? process.stdout.fd;
      write(descriptor, bytes, 0, bytes.length, null, (error, written) =>
        error ? reject(error) : resolve(written),
      );
    });
  }

  async close(): Promise<void> {
    await this.#handle?.close();
  }
}
