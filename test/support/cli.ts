import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

/** The built program as a process that tests watch, signal and read from. */

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const bundledModel = fileURLToPath(new URL('../../fixtures/sotu-3m', import.meta.url));

export interface Ended {
  /** Exit status; null when a signal ended it, which `signal` then names. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

export interface Run {
  readonly child: ChildProcess;
  readonly pid: number;
  /** What it has said on stderr so far. */
  stderr(): string;
  readonly ended: Promise<Ended>;
}

/** Starts `quantize` with these arguments. It is killed if it still runs when the test ends. */
export function start(
  argv: readonly string[],
  options: SpawnOptions & { node?: readonly string[] } = {},
): Run {
  const { node = [], ...rest } = options;
  return watch(process.execPath, [...node, 'bin/quantize.js', ...argv], rest);
}

/** Starts a shell command in which "$QUANTIZE" is the program. */
export const shell = (command: string, options: SpawnOptions = {}): Run =>
  watch('sh', ['-c', command], options, { QUANTIZE: `${root}/bin/quantize.js` });

function watch(
  file: string,
  argv: readonly string[],
  options: SpawnOptions,
  variables: Record<string, string> = {},
): Run {
  const child = spawn(file, argv, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined, ...variables },
    ...options,
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => (stderr += text));
  const ended = once(child, 'close').then(([status, signal]) => ({ status, signal, stderr }) as Ended);
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    child.stdout?.destroy();
    await ended;
  });
  return { child, pid: child.pid!, stderr: () => stderr, ended };
}

/** Runs `quantize` to its end. Standard output is thrown away. */
export async function quantize(argv: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  const run = start(argv, options);
  run.child.stdout?.resume();
  return run.ended;
}

/** SHA-256 of a file, or of all that a stream gives. */
export const hashOf = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

export async function hashOfStream(stream: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest('hex');
}

/** Waits until `value` gives something, and gives that. */
export async function until<T>(value: () => T | null | undefined | false, what: string): Promise<T> {
  for (let waited = 0; waited < 30_000; waited += 20) {
    const found = value();
    if (found) return found;
    await delay(20);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** A figure of /proc/PID/status in bytes (VmRSS, VmHWM); null once the process has ended. */
export function memoryOf(pid: number | 'self', figure: 'VmRSS' | 'VmHWM'): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(new RegExp(`^${figure}:\\s*(\\d+) kB$`, 'm').exec(text)![1]) * 1024;
  } catch {
    return null;
  }
}

/** Whether `script` can give a command a terminal of its own. */
export function hasTerminals(): boolean {
  return spawnSync('script', ['-qec', 'stty raw', '/dev/null'], { stdio: 'ignore' }).status === 0;
}
