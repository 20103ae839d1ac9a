// What benchmarks share, most of it those of whole runs: where files are, a folder for what a benchmark makes, a generated model,
// processes and their seconds, the host.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file's path, from one that is relative to this folder. */
export const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** For parseArgs: the generated model of a benchmark that runs it over a text, and the text's windows. */
export const modelOptions = {
  gib: { type: 'string', default: '0.2' }, // of bf16: over 100 M weights
  hidden: { type: 'string', default: '1024' },
  context: { type: 'string', default: '256' },
};

export const processor = cpus()[0]?.model ?? 'unknown processor';
export const host = `${processor}, ${cpus().length} cores, Node ${process.version}`;

/** Makes a temporary folder, which goes when the process ends; gives the path of a file in it. */
export function scratchFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'quantize-bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return (name) => join(folder, name);
}

/** Runs a script by this Node.js: its seconds. */
export function run(...command) {
  const started = performance.now();
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')} failed:\n${stderr}`);
  return (performance.now() - started) / 1000;
}

/** Runs `quantize`: its seconds. */
export const quantize = (...words) => run(here('../bin/quantize.js'), ...words);

/** Writes a checkpoint of Gaussian bf16 weights; `more` as scripts/make-checkpoint.js takes it. */
export const makeCheckpoint = (directory, { gib, hidden }, ...more) =>
  run(here('../scripts/make-checkpoint.js'), directory, '--gib', gib, '--hidden', hidden, ...more);

export const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

/** "1.50 (1.40..1.70)": median and extremes. */
export const spread = (list) =>
  `${median(list).toFixed(2)} (${Math.min(...list).toFixed(2)}..${Math.max(...list).toFixed(2)})`;
