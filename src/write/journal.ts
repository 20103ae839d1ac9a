import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { OutputLockedError } from './errors.ts';
import { pause } from './pause.ts';

/** What a run in progress says about itself, in `<output>.partial.json`. */
export interface Journal {
  readonly format: 'gguf-quantize/journal';
  readonly version: 1;
  /**
   * The process that holds the lock, and when it started (kernel ticks since boot; null where unknown). A run that
   * failed and cleaned up leaves null: nobody holds it.
   */
  readonly pid: number | null;
  readonly processStart: string | null;
  readonly output: string;
  readonly fileBytes: number;
  /** SHA-256 of the output's header, which fixes every name, type and offset. */
  readonly headerSha256: string;
  /** Weights in a chunk, and the chunks that are written: [first, end) ranges, in order. */
  readonly chunk: number;
  readonly finished: readonly (readonly [number, number])[];
}

/** How long another run may take to fill the journal it has just created, in ms. */
const FILL_TIME = 500;

/** The journal of a run, which is also the lock on its output. */
export class JournalFile {
  readonly path: string;
  readonly #identity: Omit<Journal, 'finished' | 'pid' | 'processStart'>;

  constructor(path: string, identity: Omit<Journal, 'finished' | 'pid' | 'processStart'>) {
    this.path = path;
    this.#identity = identity;
  }

  /**
   * Creates the journal; takes over one whose process has ended.
   *
   * @throws OutputLockedError when a living process holds it
   */
  lock(): void {
    for (let attempt = 0; ; attempt++) {
      try {
        writeFileSync(this.path, this.#text(process.pid, []), { flag: 'wx' });
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === 10) throw error;
      }
      const left = readFilled(this.path);
      const holder = left === null ? null : holderIn(left);
      if (holder !== null && isRunning(holder)) {
        throw new OutputLockedError('another run is writing this output', {
          file: this.#identity.output,
          got: `process ${holder.pid} holds ${this.path}`,
          advice: 'wait for it, stop it, or choose another -o',
        });
      }
      if (left !== null) discard(this.path, left);
    }
  }

  /** Writes the journal anew, in one step. */
  save(finished: Journal['finished']): void {
    this.#replace(this.#text(process.pid, finished));
  }

  /** The same, and gives up the lock. */
  release(finished: Journal['finished']): void {
    this.#replace(this.#text(null, finished));
  }

  remove(): void {
    rmSync(this.path, { force: true });
  }

  #replace(text: string): void {
    const next = `${this.path}.next`;
    try {
      writeFileSync(next, text);
      renameSync(next, this.path);
    } catch (error) {
      rmSync(next, { force: true });
      throw error;
    }
  }

  #text(pid: number | null, finished: Journal['finished']): string {
    const { format, version, ...rest } = this.#identity;
    const start = pid === null ? null : processStart(pid);
    const journal: Journal = { format, version, pid, processStart: start, ...rest, finished };
    return `${JSON.stringify(journal)}\n`;
  }
}

/** The text of a journal, null when it is gone. Between its creation and its first byte, waits. */
function readFilled(path: string): string | null {
  for (let waited = 0; ; waited += 10) {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
    if (text !== '' || waited >= FILL_TIME) return text;
    pause(10);
  }
}

/**
 * Removes the journal if it still says what was read: of two runs that find the same dead one, the second must not
 * remove the journal that the first has put in its place.
 */
function discard(path: string, expected: string): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // the other was faster
    throw error;
  }
  if (readFileSync(aside, 'utf8') === expected) rmSync(aside);
  else renameSync(aside, path);
}

interface Holder {
  readonly pid: number;
  readonly processStart: string | null;
}

function holderIn(text: string): Holder | null {
  try {
    const journal = JSON.parse(text) as Partial<Journal>;
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
  const now = statusOf(pid);
  if (now === null) return true; // no /proc to look into
  if (now.state === 'Z') return false; // ended, and its parent has not yet asked how
  return start === null || start === now.start;
}

const processStart = (pid: number): string | null => statusOf(pid)?.start ?? null;

/** Fields 3 (state) and 22 (start time in ticks since boot) of /proc/<pid>/stat. */
function statusOf(pid: number): { state: string; start: string } | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' '); // the name before it may hold anything
  return { state: fields[0], start: fields[19] };
}
