import { closeSync, openSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { pause } from './pause.ts';

/** A process that writes an output. */
export interface Holder {
  /** For people to read. */
  readonly host: string;
  /** Where its number means something: a machine since it was started, and there a namespace (a container has its own). */
  readonly space: string;
  readonly pid: number;
  /** When it started, in kernel ticks since boot; null where unknown. It tells a process from a later one of its number. */
  readonly start: string | null;
}

/** A holder shows that it lives by saving its journal at least this often. */
export const SIGN_OF_LIFE_MS = 20_000;
/** After this time without one, a holder whose process cannot be looked up counts as gone. */
export const SILENCE_MS = 120_000;

/** Deciding about a lock takes a few milliseconds: who takes this long was killed while doing it. */
const GUARD_WAIT_MS = 2000;
const GUARD_POLL_MS = 20;

export const thisProcess = (): Holder => ({
  host: hostname(),
  space: processSpace(),
  pid: process.pid,
  start: statusOf(process.pid)?.start ?? null,
});

function processSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname(); // no /proc to look into
  }
}

/**
 * Whether a holder still runs.
 *
 * @param silentMs time since its journal was saved, by the clock of the file system
 */
export function isRunning({ space, pid, start }: Holder, silentMs: number): boolean {
  if (space !== processSpace()) return silentMs < SILENCE_MS;
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

/**
 * Runs `act` while no other process does so for the same path: who holds an output is read and changed only here, so
 * that two processes cannot both take over from one that is gone.
 *
 * @param act gets the time of the file system, in milliseconds since 1970
 */
export function guarded<T>(path: string, act: (now: number) => T): T {
  const seen = { inode: 0, polls: 0 };
  while (!create(path)) {
    const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
    seen.polls = inode === seen.inode ? seen.polls + 1 : 0;
    seen.inode = inode;
    if (seen.polls * GUARD_POLL_MS > GUARD_WAIT_MS) rmSync(path, { force: true });
    pause(GUARD_POLL_MS);
  }
  try {
    return act(statSync(path).mtimeMs);
  } finally {
    rmSync(path, { force: true });
  }
}

/** Creates an empty file; false when there is one. */
function create(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx'));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
