import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Report } from '../../src/report/report.ts';
import type { Journal } from '../../src/write/journal.ts';
import { hashOf } from './cli.ts';

/** What runs leave on the disk. */

/** The journal of an output; null when there is none. */
export function journalOf(output: string): Journal | null {
  const path = `${output}.partial.json`;
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Journal) : null;
}

/** Chunks that it says are done. */
export function chunksIn(output: string): number {
  const tensors = journalOf(output)?.tensors ?? [];
  return tensors.reduce((sum, [chunks, , , waiting]) => sum + chunks + waiting.length, 0);
}

/** Hash of every file whose name begins as that of `output` (.gguf aside), by what follows that beginning. */
export function outputsOf(output: string): Record<string, string> {
  const stem = basename(output).replace(/\.gguf$/, '');
  const names = readdirSync(dirname(output)).filter((name) => name.startsWith(stem));
  return Object.fromEntries(
    names.sort().map((name) => [name.slice(stem.length), hashOf(join(dirname(output), name))]),
  );
}

/** A JSON report without what may differ between equal runs. */
export function reportOf(path: string): Omit<Report, 'run'> {
  const { run: _run, ...report } = JSON.parse(readFileSync(path, 'utf8')) as Report;
  return report;
}
