import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { QuantizeError } from '../core/errors.ts';

/** There is nothing at the path. */
export class FileMissingError extends QuantizeError {}

/** The path exists but cannot be opened: permissions, a loop of symbolic links, too many open files. */
export class FileAccessError extends QuantizeError {}

/** The path is a directory, a pipe, a socket or a device where a file is needed. */
export class NotARegularFileError extends QuantizeError {}

/** A file gave fewer bytes than it holds, or was asked for bytes it does not hold. */
export class ShortReadError extends QuantizeError {}

/** A file is larger than anything of its kind has a reason to be. */
export class FileTooLargeError extends QuantizeError {}

/** Bytes asked of the operating system at once; Node refuses more than 2^31 - 1. */
const READ_SIZE = 2 ** 30;

/** A regular file opened for exact reads at any offset up to 2^53 - 1. */
export class ByteSource {
  readonly path: string;
  /** Bytes in the file when it was opened. */
  readonly size: number;
  readonly #descriptor: number;

  constructor(path: string, descriptor: number, size: number) {
    this.path = path;
    this.size = size;
    this.#descriptor = descriptor;
  }

  /** A new buffer of `length` bytes from `position` on, allocated only if the file holds them. */
  read(position: number, length: number): Buffer {
    this.#check(position, length);
    const target = Buffer.allocUnsafe(length);
    this.#fill(target, position);
    return target;
  }

  /** Fills `target` from `position` on; errors name `tensor` where one is given. */
  readInto(target: Uint8Array, position: number, tensor?: string): void {
    this.#check(position, target.byteLength, tensor);
    this.#fill(target, position, tensor);
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #check(position: number, length: number, tensor?: string): void {
    if (!(position >= 0 && length >= 0 && position + length <= this.size)) {
      throw new ShortReadError('the file ends before the bytes that are needed', {
        file: this.path,
        tensor,
        expected: `${length} bytes at offset ${position}`,
        got: `a file of ${this.size} bytes`,
      });
    }
  }

  #fill(target: Uint8Array, position: number, tensor?: string): void {
    let done = 0;
    while (done < target.byteLength) {
      const wanted = Math.min(target.byteLength - done, READ_SIZE);
      const got = this.#readSome(target.subarray(done, done + wanted), position + done, tensor);
      if (got === 0) {
        throw new ShortReadError('the file became shorter while it was read', {
          file: this.path,
          tensor,
          expected: `${target.byteLength} bytes at offset ${position}`,
          got: `${done} bytes`,
          advice: 'wait until the download or copy has finished, then run again',
        });
      }
      done += got;
    }
  }

  #readSome(target: Uint8Array, position: number, tensor?: string): number {
    try {
      return readSync(this.#descriptor, target, 0, target.byteLength, position);
    } catch (cause) {
      throw new FileAccessError('cannot read the file', {
        file: this.path,
        tensor,
        expected: `${target.byteLength} bytes at offset ${position}`,
        got: reasonOf(cause),
        cause,
      });
    }
  }
}

/**
 * Opens a regular file. Symbolic links are followed; a pipe, socket or device is refused without waiting for its
 * other end.
 */
export function openSource(path: string): ByteSource {
  const found = statFile(path);
  if (!found.isFile()) throw new NotARegularFileError('not a regular file', { file: path, ...kindOf(found) });
  let descriptor: number;
  try {
    // Non-blocking, because a pipe may have taken the file's place since.
    descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw accessError(path, cause);
  }
  const opened = fstatSync(descriptor);
  if (!opened.isFile()) {
    closeSync(descriptor);
    throw new NotARegularFileError('not a regular file', { file: path, ...kindOf(opened) });
  }
  return new ByteSource(path, descriptor, opened.size);
}

/** Opens a file, hands it to `use` and closes it whatever happens. */
export function withSource<T>(path: string, use: (source: ByteSource) => T): T {
  const source = openSource(path);
  try {
    return use(source);
  } finally {
    source.close();
  }
}

/** What is at the path, symbolic links followed. */
export function statFile(path: string): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    throw accessError(path, cause);
  }
}

/** The error for a failed system call on a path. */
export function accessError(path: string, cause: unknown): QuantizeError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new FileMissingError('no such file or directory', {
      file: path,
      advice: 'check the path; a symbolic link may point to a file that is gone',
      cause,
    });
  }
  return new FileAccessError('cannot open the file', {
    file: path,
    got: reasonOf(cause),
    advice:
      code === 'EACCES' || code === 'EPERM'
        ? 'ask for the right to read it (chmod, chown), or copy the model to a place of your own'
        : 'see what the system says above',
    cause,
  });
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

function kindOf(stats: Stats): { expected: string; got: string } {
  let got = 'a device';
  if (stats.isDirectory()) got = 'a directory';
  else if (stats.isFIFO()) got = 'a named pipe';
  else if (stats.isSocket()) got = 'a socket';
  return { expected: 'a regular file', got };
}
