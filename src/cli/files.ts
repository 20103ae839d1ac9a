import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { QuantizeError, UsageError } from '../core/errors.ts';
import { closest } from '../core/suggest.ts';

/** The path given as input does not exist. */
export class InputNotFoundError extends QuantizeError {}

/** The report cannot go where it was asked to. */
export class ReportPathError extends QuantizeError {}

/** Refuses a path that does not exist, suggesting a neighbour with almost this name. `what`: what the file should be. */
export function requireInput(path: string, what = 'models are read from the local disk'): void {
  if (existsSync(path)) return;
  const directory = dirname(path);
  const similar = existsSync(directory) ? closest(basename(path), readdirSync(directory)) : undefined;
  const suggestion = directory === '.' && !path.startsWith('.') ? similar : join(directory, similar ?? '');
  throw new InputNotFoundError('no such file or directory', {
    file: path,
    advice: similar === undefined ? `check the path; ${what}` : `did you mean ${suggestion}?`,
  });
}

/** Whether a report of this name is a page; all others are JSON. */
export const isPage = (path: string): boolean => /\.html?$/i.test(path);

/** Where a report goes, checked before hours of work depend on it. */
export interface ReportTarget {
  /**
   * Writes the whole report at once: a reader never sees half of it.
   *
   * @throws ReportPathError
   */
  write(text: string): void;
}

/**
 * A file for the report. A regular file is written beside its place and renamed over it, through links; a pipe or
 * device is written to directly. A file that is not a report is replaced only with `force`, and beside the model only a page:
 * the files of a model are none.
 *
 * @throws UsageError when the report would overwrite one of `paths`; ReportPathError when it cannot be placed.
 */
export function reportTarget(
  path: string,
  paths: {
    input: string;
    output?: string | undefined;
    imatrix?: string | undefined;
    base?: string | undefined;
    /** Files of them, and texts, that are read. */
    statistics?: readonly string[];
    texts?: readonly string[];
  },
  force: boolean,
): ReportTarget {
  for (const [what, other] of [
    ['input', paths.input],
    ['output', paths.output],
    ['importance matrix', paths.imatrix],
    ['base', paths.base],
    ...(paths.statistics ?? []).map((file) => ['file of statistics', file]),
    ...(paths.texts ?? []).map((text) => ['text', text]),
  ]) {
    if (other !== undefined && samePlace(path, other)) {
      throw new UsageError(`--report and the ${what} are the same file: ${path}`);
    }
  }
  if (/\.(gguf|safetensors)$/i.test(path)) {
    throw new UsageError(`--report ${path} has the name of a model`, { advice: 'name it .json or .html' });
  }
  return placeReport(path, force, modelDirectory(paths.input));
}

/**
 * The same without the checks against what a run reads and writes; `model` is the directory in which nothing but a report
 * or a page is ever replaced.
 *
 * @throws ReportPathError
 */
export function placeReport(path: string, force: boolean, model: string | null): ReportTarget {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined && !existsSync(dirname(path))) {
    throw new ReportPathError('the directory for the report does not exist', {
      file: dirname(path),
      advice: 'create it first',
    });
  }
  if (stats?.isDirectory()) throw new ReportPathError('the report path is a directory', { file: path });
  if (stats !== undefined && !stats.isFile()) {
    return { write: (text) => orNamed(path, () => writeFileSync(path, text)) };
  }
  if (stats !== undefined && stats.size > 0 && !isReport(path)) {
    const besideModel = model !== null && !isPage(path) && sameDirectory(dirname(path), model); // config.json, tokenizer.json
    if (besideModel || !force) {
      throw new ReportPathError('the report would replace a file that is not a report', {
        file: path,
        advice: besideModel ? 'choose another name' : 'choose another name, or pass --force',
      });
    }
  }
  return {
    write: (text) => orNamed(path, () => replaceFile(stats === undefined ? path : realpathSync(path), text)),
  };
}

/** Names a failure to write; a pipe whose reader has stopped is none. */
function orNamed(path: string, write: () => void): void {
  try {
    write();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EPIPE') throw cause;
    throw new ReportPathError('the report could not be written', {
      file: path,
      got: message,
      advice: 'make room, or choose another place',
      cause,
    });
  }
}

/** Whether standard output already is this path: "-o x.gguf --json > x.gguf". Terminals and devices do not count. */
export function isStandardOutput(path: string): boolean {
  const [file, stdout] = [statSync(path, { throwIfNoEntry: false }), fstatSync(1)];
  return file !== undefined && !file.isCharacterDevice() && sameFile(file, stdout);
}

/** Writes `<path>.partial`, flushes it, and renames it to `path`. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  const partial = `${path}.partial`;
  try {
    writeFileSync(partial, content, { flush: true });
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

/** Whether a file begins as this tool's reports do. */
function isReport(path: string): boolean {
  const start = Buffer.alloc(64);
  const file = openSync(path, 'r');
  const length = readSync(file, start, 0, start.length, 0);
  closeSync(file);
  return /^(\{\s*"schema":\s*"|<!doctype html>\n<!-- )gguf-quantize\/report\b/.test(
    start.toString('utf8', 0, length),
  );
}

const sameFile = (a: Stats, b: Stats): boolean => a.dev === b.dev && a.ino === b.ino;

/** Whether two paths lead to one file, or would once both exist. */
export function samePlace(a: string, b: string): boolean {
  const [statsA, statsB] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }));
  if (statsA !== undefined && statsB !== undefined) return sameFile(statsA, statsB);
  return sameDirectory(dirname(a), dirname(b)) && basename(a) === basename(b);
}

function sameDirectory(a: string, b: string): boolean {
  const [statsA, statsB] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }));
  return statsA !== undefined && statsB !== undefined && sameFile(statsA, statsB);
}

const modelDirectory = (input: string): string =>
  statSync(input, { throwIfNoEntry: false })?.isDirectory() ? input : dirname(input);
