import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { QuantizeError } from '../core/errors.ts';

/** A scratch file, for what does not fit in memory, could not be made, written or read. */
export class ScratchFileError extends QuantizeError {}

/** `directory`: where the file is, or was to be. */
export const scratchFileError = (
  directory: string,
  summary: string,
  got: string,
  cause: unknown,
): ScratchFileError =>
  new ScratchFileError(summary, {
    file: directory,
    got,
    advice: 'free space in this folder, name another by TMPDIR, or allow more memory by --memory',
    cause,
  });

/** An open file without a name: none is left behind, whatever ends the process. */
export interface ScratchFile {
  readonly file: number;
  close(): void;
}

/**
 * Makes a scratch file of `bytes` zeros in a directory; they take room as they are written.
 *
 * @throws ScratchFileError
 */
export function openScratchFile(directory: string, bytes: number): ScratchFile {
  let folder: string | undefined;
  let file: number | undefined;
  try {
    folder = mkdtempSync(join(directory, 'gguf-quantize-'));
    file = openSync(join(folder, 'scratch'), 'wx+');
    ftruncateSync(file, bytes);
  } catch (error) {
    if (file !== undefined) closeSync(file);
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    const summary = `cannot make a scratch file of ${bytes} bytes`;
    throw scratchFileError(directory, summary, (error as Error).message, error);
  }
  const descriptor = file;
  const remove = removeNow(folder);
  return {
    file: descriptor,
    close() {
      closeSync(descriptor);
      remove();
    },
  };
}

/** Removes a folder with an open file in it; where the system refuses (Windows), returns how to do it later. */
function removeNow(folder: string): () => void {
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    remove();
    return () => {};
  } catch {
    return remove;
  }
}

/** Reads or writes at a position of a file: `readSync` or `writeSync`. */
type Access = (file: number, bytes: Uint8Array, offset: number, length: number, position: number) => number;

const transfer =
  (act: Access) =>
  (file: number, bytes: Uint8Array, position: number): void => {
    for (let done = 0; done < bytes.length; ) {
      const moved = act(file, bytes, done, bytes.length - done, position + done);
      if (moved === 0) throw new Error('the file ended early');
      done += moved;
    }
  };

/** All of `bytes` from, or to, a position of a scratch file. The system's errors as they are: threads know no folder. */
export const readScratch = transfer(readSync);
export const writeScratch = transfer(writeSync);
