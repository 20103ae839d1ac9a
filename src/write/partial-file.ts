import {
  closeSync,
  existsSync,
  fsync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { TensorProgress } from '../core/output.ts';
import { DiskFullError, OutputLockedError, OutputPathError, outputExists, WriteError } from './errors.ts';
import {
  isWhole,
  type Journal,
  journalPath,
  partialPath,
  readJournal,
  restoreProgress,
  saveProgress,
  writeJournal,
} from './journal.ts';
import { guarded, isRunning, SIGN_OF_LIFE_MS, SILENCE_MS, thisProcess } from './lock.ts';
import { differences, type ResumeKey, ResumeMismatchError } from './resume-key.ts';

export interface PartialFileDetails {
  readonly header: Uint8Array;
  readonly fileBytes: number;
  readonly key: ResumeKey;
  /** Of each of its tensors, kept up to date by the quantize stage. Restored here when a run is resumed. */
  readonly progress: readonly TensorProgress[];
  /** Go on with what an earlier run left, if it left anything. */
  readonly resume: boolean;
  /** Replace what is at the output. */
  readonly force: boolean;
}

/** The journal follows the work at most this often, and takes at most this share of the time. */
const JOURNAL_INTERVAL_MS = 250;
const JOURNAL_SHARE = 0.005;

/**
 * An output file while it is being made: `<output>.partial`, of its final size from the start, and a journal beside it,
 * which is also the lock. Both stay when a run fails or is killed; `PartialFiles.finish` puts the file in its place.
 */
export class PartialFile {
  readonly output: string;
  readonly path: string;
  readonly #details: PartialFileDetails;
  readonly #holder = thisProcess();
  #resumed = false;
  #whole = false;
  #savedAt = 0;
  #saveMs = 0;

  /**
   * Locks the output. Takes over what an earlier run left, or discards it.
   *
   * @throws OutputLockedError, ResumeMismatchError, OutputExistsError, OutputPathError, WriteError
   */
  constructor(output: string, details: PartialFileDetails) {
    this.output = output;
    this.path = partialPath(output);
    this.#details = details;
    this.#attempt(() => guarded(`${this.path}.lock`, (now) => this.#lock(now)), asCreateError);
    try {
      this.#refuseExisting(); // a run that held the lock until now may have finished
      this.#attempt(() => {
        if (!this.#resumed) rmSync(this.path, { force: true });
      });
    } catch (error) {
      this.undo();
      throw error;
    }
  }

  /** Bytes on the disk that it still needs; holes of a sparse file count. */
  get missingBytes(): number {
    const blocks = this.#resumed ? statSync(this.path).blocks : 0;
    return Math.max(0, this.#details.fileBytes - 512 * blocks);
  }

  /**
   * Gives the file its size and header.
   *
   * @throws DiskFullError, WriteError
   */
  create(): void {
    this.#attempt(() => {
      const { header, fileBytes } = this.#details;
      const descriptor = openSync(this.path, this.#resumed ? 'r+' : 'wx');
      try {
        ftruncateSync(descriptor, fileBytes);
        for (let done = 0; done < header.length; ) {
          done += writeSync(descriptor, header, done, header.length - done, done);
        }
      } finally {
        closeSync(descriptor);
      }
    });
  }

  /** After a change of progress: saves the journal unless that was done a moment ago. */
  progressed(): void {
    const interval = Math.max(JOURNAL_INTERVAL_MS, this.#saveMs / JOURNAL_SHARE);
    if (performance.now() - this.#savedAt >= interval) this.saveJournal();
  }

  /** Saves the journal if the last one is old, so that other machines see that this run lives. */
  showLife(): void {
    if (performance.now() - this.#savedAt >= SIGN_OF_LIFE_MS) ifPossible(() => this.saveJournal());
  }

  saveJournal(released = false): void {
    const started = performance.now();
    this.#attempt(() => {
      const { fileBytes, key, progress } = this.#details;
      writeJournal(journalPath(this.output), {
        format: 'gguf-quantize/journal',
        version: 1,
        holder: released ? null : this.#holder,
        fileBytes,
        whole: this.#whole,
        key,
        tensors: saveProgress(progress),
      });
    });
    this.#savedAt = performance.now();
    this.#saveMs = this.#savedAt - started;
  }

  /** Lets go of the lock; file and journal stay for a run that resumes. Never throws. */
  release(): void {
    ifPossible(() => this.saveJournal(true)); // else the lock ends with this process
  }

  /** Before any chunk was written: leaves things as they were. Never throws. */
  undo(): void {
    if (this.#resumed) this.release();
    else {
      ifPossible(() => {
        this.#attempt(() => rmSync(this.path, { force: true }));
        this.forget();
      });
    }
  }

  /**
   * Makes the data durable, once every chunk is written.
   *
   * @throws OutputExistsError when something has appeared at the output since; WriteError
   */
  async complete(): Promise<void> {
    this.#refuseExisting();
    this.#whole = true;
    this.saveJournal();
    await sync(this.path).catch((error) => {
      throw asWriteError(error, this.path);
    });
  }

  /** Gives the file its name. */
  place(): void {
    this.#attempt(() => renameSync(this.path, this.output));
  }

  /** Removes the journal: the file is in its place. */
  forget(): void {
    this.#attempt(() => rmSync(journalPath(this.output), { force: true }));
  }

  /** Reads who holds the output, and takes it over from a run that is gone. */
  #lock(now: number): void {
    const path = journalPath(this.output);
    const journal = readJournal(path);
    const silentMs = journal === null ? 0 : now - statSync(path).mtimeMs;
    if (journal?.holder && isRunning(journal.holder, silentMs)) {
      const { pid, host, space } = journal.holder;
      const elsewhere = space !== this.#holder.space;
      throw new OutputLockedError('another run is writing this output', {
        file: this.output,
        got: elsewhere
          ? `process ${pid} on ${host} held ${path} ${Math.round(silentMs / 1000)} s ago`
          : `process ${pid} holds ${path}`,
        advice: elsewhere
          ? `wait for it, or choose another -o; after ${SILENCE_MS / 1000} s without a sign of life it counts as gone`
          : 'wait for it, stop it, or choose another -o',
      });
    }
    if (this.#details.resume && journal !== null) this.#resumed = this.#takeOver(journal);
    this.saveJournal();
  }

  /** Whether there is something to go on with, which then is in `<output>.partial` and `progress`. */
  #takeOver(journal: Journal): boolean {
    const { key, fileBytes, progress } = this.#details;
    const different = differences(journal.key, key);
    if (different.length > 0) {
      throw new ResumeMismatchError('what an earlier run left belongs to another job', {
        file: this.path,
        got: different.join('\n            '),
        advice: 'repeat the options and input of that run, or leave --resume out to start over',
      });
    }
    if (isWhole(this.output)) renameSync(this.output, this.path);
    return (
      statSync(this.path, { throwIfNoEntry: false })?.size === fileBytes &&
      restoreProgress(journal.tensors, progress)
    );
  }

  #refuseExisting(): void {
    if (!this.#details.force && existsSync(this.output)) throw outputExists(this.output);
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

/** Every file a run makes. They get their names only when all of them are whole. */
export class PartialFiles {
  readonly #files: PartialFile[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** @throws OutputLockedError, ResumeMismatchError, DiskFullError, WriteError */
  constructor(files: readonly (PartialFileDetails & { readonly output: string })[]) {
    try {
      for (const { output, ...details } of files) this.#files.push(new PartialFile(output, details));
      requireRoom(this.#files);
      for (const file of this.#files) file.create();
    } catch (error) {
      for (const file of this.#files) file.undo();
      throw error;
    }
    this.#timer = setInterval(() => {
      for (const file of this.#files) file.showLife();
    }, SIGN_OF_LIFE_MS / 2).unref();
  }

  get paths(): string[] {
    return this.#files.map(({ path }) => path);
  }

  /** What a failed run leaves behind. */
  get kept(): string[] {
    return this.#files.flatMap(({ output, path }) => [path, journalPath(output)]);
  }

  progressed(file: number): void {
    this.#files[file].progressed();
  }

  /** After a failure: keeps what there is for a run that resumes. */
  release(): void {
    clearInterval(this.#timer);
    for (const file of this.#files) file.release();
  }

  /** Once every chunk is written: makes all files durable, then gives each its name. */
  async finish(): Promise<void> {
    for (const file of this.#files) await file.complete();
    for (const file of this.#files) file.place();
    for (const directory of new Set(this.#files.map(({ output }) => dirname(output))))
      syncDirectory(directory);
    for (const file of this.#files) file.forget();
    clearInterval(this.#timer);
  }
}

/** Acts where a failure may be passed over: a full disk, say, is met by the work itself, which tells the user. */
function ifPossible(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof WriteError || error instanceof DiskFullError)) throw error;
  }
}

function requireRoom(files: readonly PartialFile[]): void {
  const [{ output, path }] = files;
  const needed = files.reduce((sum, { missingBytes }) => sum + missingBytes, 0);
  const { blocks, bavail, bsize } = statfsSync(dirname(path));
  const free = bavail * bsize;
  if (blocks === 0 || free >= needed) return; // 0 blocks: a file system that does not count them
  throw new DiskFullError('the disk has too little room for the output', {
    file: output,
    expected: `${needed} bytes free`,
    got: `${free} bytes free`,
    advice: 'free some space, or write to another disk with -o',
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
      advice: 'free some space and run again with --resume, or write to another disk with -o',
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

async function sync(path: string): Promise<void> {
  const descriptor = openSync(path, 'r+');
  try {
    await promisify(fsync)(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes renames in a directory durable, where the file system can. The files are whole and in their places anyway. */
function syncDirectory(path: string): void {
  try {
    const descriptor = openSync(path, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch {
    // Network file systems may refuse to flush a directory.
  }
}
