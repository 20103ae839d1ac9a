import { close, constants, fstatSync, open, statSync, write } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { BrokenPipeError } from './errors.ts';
import { asCreateError, asWriteError } from './partial-file.ts';
import type { OutputTarget } from './target.ts';

/** How often to look whether a FIFO has a reader, and whether a full non-blocking device has room, in ms. */
const FIFO_POLL = 50;
const FULL_POLL = 5;

const openFile = promisify(open);
const closeFile = promisify(close);

/** Ends a write that was waiting when the stream was cancelled. */
export class StreamCancelled extends Error {}

/**
 * Standard output, a pipe or a device, written in order. Each write waits until the system has taken all of it, so a
 * slow reader slows the writer down instead of filling memory.
 *
 * Pipes and sockets are written without blocking a thread (a thread inside write(2) would keep the process from ending
 * while the reader sleeps); whatever else it is, by plain writes.
 */
export class OutputStream {
  readonly #name: string;
  readonly #descriptor: number;
  readonly #socket: Socket | null;
  readonly #owned: boolean;
  #cancelled = false;

  private constructor(name: string, descriptor: number, owned: boolean, socket: Socket | null) {
    this.#name = name;
    this.#descriptor = descriptor;
    this.#owned = owned;
    this.#socket = socket;
  }

  /**
   * Opens the target. A FIFO is opened once it has a reader.
   *
   * @throws StreamCancelled when the signal aborts before that; DiskFullError, WriteError
   */
  static async open(
    target: Extract<OutputTarget, { kind: 'stream' }>,
    signal?: AbortSignal,
  ): Promise<OutputStream> {
    const { path } = target;
    const descriptor = target.descriptor ?? (await openForWriting(path, signal));
    const stats = fstatSync(descriptor);
    let socket: Socket | null = null;
    if (stats.isFIFO() || stats.isSocket()) {
      const { Socket } = await import('node:net');
      socket = new Socket({ fd: descriptor, readable: false, writable: true });
      socket.on('error', () => {}); // each write learns of it by its callback
    }
    const name = target.descriptor === 1 ? 'standard output' : path;
    return new OutputStream(name, descriptor, target.descriptor === null, socket);
  }

  /**
   * Writes all of the bytes, which must stay as they are until then.
   *
   * @throws BrokenPipeError, DiskFullError, WriteError, StreamCancelled
   */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      if (this.#cancelled) throw new StreamCancelled();
      try {
        done += await this.#writeSome(bytes.subarray(done));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (this.#cancelled) throw new StreamCancelled();
        if (code === 'EAGAIN') {
          await delay(FULL_POLL);
          continue;
        }
        if (code === 'EPIPE' || code === 'ECONNRESET') {
          throw new BrokenPipeError('the reader of the output closed it before the end', {
            file: this.#name,
            got: 'only the beginning of the GGUF was taken',
            advice: 'see why the reader ended, and run again',
            cause: error,
          });
        }
        throw asWriteError(error, this.#name);
      }
    }
    if (this.#cancelled) throw new StreamCancelled(); // a socket calls back as if it had written
  }

  #writeSome(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#socket) {
        this.#socket.write(bytes, (error) => (error ? reject(error) : resolve(bytes.length)));
        return;
      }
      write(this.#descriptor, bytes, 0, bytes.length, null, (error, written) =>
        error ? reject(error) : resolve(written),
      );
    });
  }

  /** Makes the write in progress, if it can wait for a reader, and every later one throw StreamCancelled. */
  cancel(): void {
    this.#cancelled = true;
    this.#socket?.destroy();
  }

  /** Once the last write has ended. Standard descriptors stay open. */
  async close(): Promise<void> {
    if (this.#socket) this.#socket.destroy();
    else if (this.#owned) await closeFile(this.#descriptor);
  }
}

async function openForWriting(path: string, signal?: AbortSignal): Promise<number> {
  for (;;) {
    if (signal?.aborted) throw new StreamCancelled();
    try {
      // Without O_NONBLOCK, opening a FIFO holds a thread until somebody reads.
      return await openFile(path, constants.O_WRONLY | (constants.O_NONBLOCK ?? 0));
    } catch (error) {
      const waits = (error as NodeJS.ErrnoException).code === 'ENXIO' && statSync(path).isFIFO();
      if (!waits) throw asCreateError(error, path, path);
      await delay(FIFO_POLL);
    }
  }
}
