import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Report } from '../../src/report/report.ts';
import type { Journal } from '../../src/write/journal.ts';
import { repository } from './checkpoints.ts';

/** The built command as real processes: side by side, and killed in the middle of a run. */

const command = [join(repository, 'bin/quantize.js')];
const options = { cwd: repository, env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined } };

/** Runs to the end. */
export const run = (...argv: string[]) =>
  spawnSync(process.execPath, [...command, ...argv], { ...options, encoding: 'utf8' });

export interface Started {
  readonly process: ChildProcess;
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; stderr: string }>;
  /** Resolves when the run has said `text`, or ended. */
  says(text: string): Promise<void>;
}

/** Starts a run and does not wait for it. */
export function start(...argv: string[]): Started {
  const child = spawn(process.execPath, [...command, ...argv], {
    ...options,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (text) => (stderr += text));
  const ended = once(child, 'close').then(([status, signal]) => ({ status, signal, stderr }));
  const says = async (text: string) => {
    while (!stderr.includes(text) && !child.stderr.closed) await delay(5);
  };
  return { process: child, ended, says };
}

/** Resolves when the journal of `output` (a file that the run makes) says that a chunk is done, or the run ends. */
export async function journals(output: string, { process: { stderr } }: Started): Promise<void> {
  while (chunksIn(output) === 0 && !stderr!.closed) await delay(5);
}

/** Chunks that the journal of an output says are done. */
function chunksIn(output: string): number {
  const path = `${output}.partial.json`;
  if (!existsSync(path)) return 0;
  const { tensors } = JSON.parse(readFileSync(path, 'utf8')) as Journal;
  return tensors.reduce((sum, [chunks, , , waiting]) => sum + chunks + waiting.length, 0);
}

/** SHA-256 of every file whose name begins as that of `output` (.gguf aside), by name after that beginning. */
export function outputsOf(output: string): Record<string, string> {
  const stem = basename(output).replace(/\.gguf$/, '');
  return Object.fromEntries(
    readdirSync(dirname(output))
      .filter((name) => name.startsWith(stem))
      .sort()
      .map((name) => [
        name.slice(stem.length),
        createHash('sha256')
          .update(readFileSync(join(dirname(output), name)))
          .digest('hex'),
      ]),
  );
}

/** A JSON report without what may differ between equal runs. */
export function reportOf(path: string): Omit<Report, 'run'> {
  const { run: _run, ...report } = JSON.parse(readFileSync(path, 'utf8')) as Report;
  return report;
}
