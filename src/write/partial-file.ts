import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { DiskFullError, OutputPathError, WriteError } from './errors.ts';
import { JournalFile } from './journal.ts';
import { journalPath, outputExists, partialPath } from './target.ts';

/** How often the journal on disk is brought up to date, in ms. */
const JOURNAL_INTERVAL = 1000;

/**
 * The output while it is being made: `<output>.partial`, of its final size from the start, and a journal beside it.
 * Both stay when a run fails; `finish` puts the file in its place in one step.
 */
export class PartialFile {
  readonly output: string;
  readonly path: string;
  readonly journalPath: string;
  readonly #journal: JournalFile;
  readonly #force: boolean;
  readonly #finished = new RangeSet();
  #lastJournal = 0;

  /**
   * Locks the output, discards what an earlier run left, checks the room on the disk and writes the header.
   *
   * @throws OutputLockedError, OutputExistsError, OutputPathError, DiskFullError, WriteError
   */
  constructor(
    output: string,
    details: { header: Uint8Array; headerSha256: string; fileBytes: number; chunk: number; force: boolean },
  ) {
    const { header, headerSha256, fileBytes, chunk, force } = details;
    this.output = output;
    this.#force = force;
    this.path = partialPath(output);
    this.journalPath = journalPath(output);
    this.#journal = new JournalFile(this.journalPath, {
      format: 'gguf-quantize/journal',
      version: 1,
      output,
      fileBytes,
      headerSha256,
      chunk,
    });
    this.#attempt(() => this.#journal.lock(), asCreateError);
    try {
      this.#refuseExisting(); // a run that held the lock until now may have finished
      this.#attempt(() => this.#create(header, fileBytes), asCreateError);
    } catch (error) {
      this.#removeAll(); // nothing has been made that is worth keeping
      throw error;
    }
  }

  /** Records a chunk as written; the journal on disk follows at most once a second. */
  chunkFinished(number: number): void {
    this.#finished.add(number);
    if (Date.now() - this.#lastJournal >= JOURNAL_INTERVAL) this.saveJournal();
  }

  /** Writes the journal now. */
  saveJournal(): void {
    this.#lastJournal = Date.now();
    this.#attempt(() => this.#journal.save(this.#finished.ranges()));
  }

  /**
   * Makes the data durable, gives the file its final name and removes the journal.
   *
   * @throws OutputExistsError when something has appeared there since; WriteError
   */
  finish(): void {
    this.#refuseExisting();
    this.#attempt(() => {
      sync(this.path, 'r+');
      renameSync(this.path, this.output);
      syncDirectory(dirname(this.output));
      this.#journal.remove();
    });
  }

  /** After a failure: the journal says what is finished, and that nobody holds it. Never throws. */
  release(): void {
    try {
      this.#journal.release(this.#finished.ranges());
    } catch {
      // On a full disk the journal stays as it was, which is true too: the lock ends with this process.
    }
  }

  #refuseExisting(): void {
    if (!this.#force && existsSync(this.output)) throw outputExists(this.output);
  }

  #removeAll(): void {
    try {
      rmSync(this.path, { force: true });
      this.#journal.remove();
    } catch {
      // What is in the way has been reported by the error that led here.
    }
  }

  #create(header: Uint8Array, fileBytes: number): void {
    rmSync(this.path, { force: true });
    this.#checkRoom(fileBytes);
    const descriptor = openSync(this.path, 'wx');
    try {
      ftruncateSync(descriptor, fileBytes);
      for (let done = 0; done < header.length; ) {
        done += writeSync(descriptor, header, done, header.length - done, done);
      }
    } finally {
      closeSync(descriptor);
    }
  }

  #checkRoom(bytes: number): void {
    const { blocks, bavail, bsize } = statfsSync(dirname(this.path));
    const free = bavail * bsize;
    if (blocks === 0 || free >= bytes) return; // 0 blocks: a file system that does not count them
    throw new DiskFullError('the disk has too little room for the output', {
      file: this.output,
      expected: `${bytes} bytes free`,
      got: `${free} bytes free`,
      advice: 'free some space, or write to another disk with -o',
    });
  }

  /** Turns what the operating system refuses into an error that names the output. */
  #attempt(act: () => void, named: (error: unknown, file: string) => unknown = asWriteError): void {
    try {
      act();
    } catch (error) {
      throw named(error, this.path);
    }
  }
}

/**
 * Why `file` could not be created or opened: OutputPathError naming `place` where something about the place forbids it,
 * otherwise as `asWriteError`.
 */
export function asCreateError(error: unknown, file: string, place = dirname(file)): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined || !['EACCES', 'EPERM', 'EROFS'].includes(code)) return asWriteError(error, file);
  return new OutputPathError('the output cannot be created here', {
    file: place,
    expected: 'permission to write',
    got: message,
    advice: 'choose another -o',
    cause: error,
  });
}

/** DiskFullError or WriteError for an error of the operating system; any other error as it is. */
export function asWriteError(error: unknown, file: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new DiskFullError('the disk filled up', {
      file,
      got: message,
      advice: 'free some space and run again, or write to another disk with -o',
      cause: error,
    });
  }
  if (code === 'EFBIG') {
    return new WriteError('the file may not become that large', {
      file,
      got: message,
      advice: 'raise the limit (ulimit -f), or write to a file system that takes larger files',
      cause: error,
    });
  }
  return new WriteError('writing failed', { file, got: message, cause: error });
}

/** Makes a rename in the directory durable, where the file system can. The file is whole and in its place anyway. */
function syncDirectory(path: string): void {
  try {
    sync(path, 'r');
  } catch {
    // Network file systems may refuse to flush a directory.
  }
}

function sync(path: string, mode: 'r' | 'r+'): void {
  const descriptor = openSync(path, mode);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** A set of numbers as [first, end) ranges. */
class RangeSet {
  readonly #ends = new Map<number, number>(); // first -> end
  readonly #firsts = new Map<number, number>(); // end -> first

  add(number: number): void {
    const first = this.#firsts.get(number) ?? number;
    const end = this.#ends.get(number + 1) ?? number + 1;
    this.#firsts.delete(number);
    this.#ends.delete(number + 1);
    this.#ends.set(first, end);
    this.#firsts.set(end, first);
  }

  ranges(): [number, number][] {
    return [...this.#ends].sort(([a], [b]) => a - b);
  }
}
