import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { DiskFullError, OutputLockedError, WriteError } from './errors.ts';

/** What a run in progress says about itself, in `<output>.partial.json`. */
export interface Journal {
  readonly format: 'gguf-quantize/journal';
  readonly version: 1;
  /** The process that holds the lock, and when it started (kernel ticks since boot; null where unknown). */
  readonly pid: number;
  readonly processStart: string | null;
  readonly output: string;
  readonly fileBytes: number;
  /** SHA-256 of the output's header, which fixes every name, type and offset. */
  readonly headerSha256: string;
  /** Weights in a chunk, and the chunks that are written: [first, end) ranges, in order. */
  readonly chunk: number;
  readonly finished: readonly (readonly [number, number])[];
}

const JOURNAL_INTERVAL_MS = 1000;

/**
 * The output while it is being made: `<output>.partial`, of its final size from the start, and a journal beside it.
 * Both stay when a run fails; `finish` puts the file in its place in one step.
 */
export class PartialFile {
  readonly output: string;
  readonly path: string;
  readonly #journalPath: string;
  readonly #identity: Omit<Journal, 'finished'>;
  readonly #finished = new RangeSet();
  #lastJournal = 0;

  /**
   * Locks the output, discards what an earlier run left, checks the room on the disk and writes the header.
   *
   * @throws OutputLockedError, DiskFullError, WriteError
   */
  constructor(
    output: string,
    details: { header: Uint8Array; headerSha256: string; fileBytes: number; chunk: number },
  ) {
    this.output = output;
    this.path = `${output}.partial`;
    this.#journalPath = `${this.path}.json`;
    this.#identity = {
      format: 'gguf-quantize/journal',
      version: 1,
      pid: process.pid,
      processStart: processStart(process.pid),
      output,
      fileBytes: details.fileBytes,
      headerSha256: details.headerSha256,
      chunk: details.chunk,
    };
    this.#attempt(() => this.#lock());
    this.#attempt(() => {
      rmSync(this.path, { force: true });
      this.#checkRoom(details.fileBytes);
      const descriptor = openSync(this.path, 'wx');
      try {
        ftruncateSync(descriptor, details.fileBytes);
        for (let done = 0; done < details.header.length; ) {
          done += writeSync(descriptor, details.header, done, details.header.length - done, done);
        }
      } finally {
        closeSync(descriptor);
      }
    });
  }

  /** Records a chunk as written; the journal on disk follows at most once a second. */
  chunkFinished(number: number): void {
    this.#finished.add(number);
    if (Date.now() - this.#lastJournal >= JOURNAL_INTERVAL_MS) this.saveJournal();
  }

  /** Writes the journal now. */
  saveJournal(): void {
    this.#lastJournal = Date.now();
    this.#attempt(() => {
      const next = `${this.#journalPath}.next`;
      writeFileSync(next, this.#journalText());
      renameSync(next, this.#journalPath);
    });
  }

  /** Makes the data durable, gives the file its final name and removes the journal. */
  finish(): void {
    this.#attempt(() => {
      sync(this.path);
      renameSync(this.path, this.output);
      sync(dirname(this.output));
      rmSync(this.#journalPath, { force: true });
    });
  }

  #journalText(): string {
    const journal: Journal = { ...this.#identity, finished: this.#finished.ranges() };
    return `${JSON.stringify(journal)}\n`;
  }

  /** Creates the journal, which is the lock; takes over one whose process has ended. */
  #lock(): void {
    for (let attempt = 0; ; attempt++) {
      try {
        writeFileSync(this.#journalPath, this.#journalText(), { flag: 'wx' });
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === 3) throw error;
      }
      const holder = readHolder(this.#journalPath);
      if (holder !== null && isRunning(holder)) {
        throw new OutputLockedError('another run is writing this output', {
          file: this.output,
          got: `process ${holder.pid} holds ${this.#journalPath}`,
          advice: 'wait for it, stop it, or choose another -o',
        });
      }
      rmSync(this.#journalPath, { force: true });
    }
  }

  #checkRoom(bytes: number): void {
    const { bavail, bsize } = statfsSync(dirname(this.path));
    const free = bavail * bsize;
    if (free < bytes) {
      throw new DiskFullError('the disk has too little room for the output', {
        file: this.output,
        expected: `${bytes} bytes free`,
        got: `${free} bytes free`,
        advice: 'free some space, or write to another disk with -o',
      });
    }
  }

  /** Turns what the operating system refuses into an error that names the output. */
  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      throw asWriteError(error, this.path);
    }
  }
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
  return new WriteError('writing failed', { file, got: message, cause: error });
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

type Holder = Pick<Journal, 'pid' | 'processStart'>;

function readHolder(path: string): Holder | null {
  try {
    const journal = JSON.parse(readFileSync(path, 'utf8')) as Partial<Journal>;
    return Number.isSafeInteger(journal.pid)
      ? { pid: journal.pid!, processStart: journal.processStart ?? null }
      : null;
  } catch {
    return null;
  }
}

/** Whether the very process that wrote the journal still runs (not another one with its number). */
function isRunning({ pid, processStart: start }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = processStart(pid);
  return start === null || now === null || start === now;
}

/** Field 22 of /proc/<pid>/stat: start time in ticks since boot. */
function processStart(pid: number): string | null {
  const path = `/proc/${pid}/stat`;
  if (!statSync(path, { throwIfNoEntry: false })) return null;
  const text = readFileSync(path, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null;
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
