import { fstatSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { UsageError } from '../core/errors.ts';
import { OutputExistsError, OutputIsInputError, OutputPathError, outputExists } from './errors.ts';
import type { Layout } from './gguf.ts';
import { isWhole, journalPath, partialPath } from './journal.ts';
import { fileNames } from './split.ts';

/** Where the output goes, decided and checked before any work. */
export type OutputTarget =
  /**
   * A regular file: written beside its final name and renamed. `path` has links resolved; `force` says that what is
   * there may be replaced.
   */
  | { readonly kind: 'file'; readonly path: string; readonly force: boolean }
  /**
   * Written once, in order: a pipe or device by its path, or what is already open under a descriptor (standard output
   * is 1), whatever that is.
   */
  | { readonly kind: 'stream'; readonly path: string; readonly descriptor: number | null };

/** Where everything a run writes goes. */
export type OutputTargets =
  | { readonly kind: 'files'; readonly paths: readonly string[]; readonly force: boolean }
  | Extract<OutputTarget, { kind: 'stream' }>;

/**
 * Decides how to write the files of a layout whose output was named `output`.
 *
 * @param resume whether to go on with what an earlier run left
 * @throws UsageError when a stream cannot take what is asked for; the errors of resolveTarget for each file
 */
export function resolveTargets(
  output: string,
  layout: Layout,
  inputs: readonly string[],
  { force, resume }: { force: boolean; resume: boolean },
): OutputTargets {
  refuseNameless(output);
  if (layout.split !== null) requireFile(output, 'a split model');
  if (resume) requireFile(output, 'a resumed run');
  const paths: string[] = [];
  for (const name of fileNames(output, layout)) {
    const target = resolveTarget(name, inputs, force || (resume && isWhole(name)));
    if (target.kind === 'file') paths.push(target.path);
    else if (layout.split === null) return target;
    else requireFile(name, 'a part of a split model');
  }
  return { kind: 'files', paths, force };
}

/** Refuses what is no regular file, nor can become one. */
function requireFile(path: string, what: string): void {
  const stats = descriptorOf(path) === null ? statPath(path) : null;
  if (stats?.isDirectory()) throw isDirectory(path);
  if (stats === undefined || stats?.isFile()) return;
  throw new UsageError(`${what} cannot go to ${path === '-' ? 'standard output' : 'a stream or device'}`, {
    ...(path !== '-' && { file: path }),
    advice: 'pass -o FILE',
  });
}

const isDirectory = (path: string): OutputPathError =>
  new OutputPathError('the output is a directory', {
    file: path,
    expected: 'a file name',
    advice: `name the file, for example -o '${join(path, 'model.gguf')}'`,
  });

/**
 * Decides how to write to `path` ('-' is standard output).
 *
 * @param inputs every file the run reads; neither the output nor what is written on the way to it may be one of them,
 *   by whatever name.
 * @throws OutputPathError, OutputIsInputError, OutputExistsError
 */
export function resolveTarget(path: string, inputs: readonly string[], force: boolean): OutputTarget {
  refuseNameless(path);
  const descriptor = descriptorOf(path);
  const existing = descriptor === null ? statPath(path) : statOpen(descriptor, path);
  if (existing?.isDirectory()) throw isDirectory(path);
  if (existing) refuseInput(path, existing, inputs);
  if (descriptor !== null) return { kind: 'stream', path, descriptor };
  if (existing === undefined) return fileTarget(inDirectory(path), inputs, force);
  if (existing.isSocket()) {
    throw new OutputPathError('the output is a socket', { file: path, expected: 'a file, pipe or device' });
  }
  if (!existing.isFile()) return { kind: 'stream', path, descriptor: null };
  if (!force) throw outputExists(path);
  return fileTarget(realpathSync(path), inputs, force);
}

/** A file must have a name: 'out/' and '' have none, whatever is there. */
function refuseNameless(path: string): void {
  if (path !== '' && !path.endsWith('/') && !path.endsWith(sep)) return;
  throw new OutputPathError(path === '' ? 'the output has no name' : 'the output is named as a directory', {
    ...(path !== '' && { file: path }),
    expected: 'a file name',
    advice: `name the file, for example -o '${join(path, 'model.gguf')}'`,
  });
}

/** '-' and the names that systems give to open descriptors; null for a path of the file system. */
function descriptorOf(path: string): number | null {
  if (path === '-' || path === '/dev/stdout') return 1;
  const match = /^(?:\/dev|\/proc\/self)\/fd\/(\d+)$/.exec(path);
  return match === null ? null : Number(match[1]);
}

function statPath(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw new OutputPathError('the output cannot be reached', {
      file: path,
      got: (cause as Error).message,
      advice: 'choose another -o',
      cause,
    });
  }
}

function statOpen(descriptor: number, path: string): Stats {
  try {
    return fstatSync(descriptor);
  } catch (cause) {
    throw new OutputPathError('the output is no open descriptor', {
      file: path,
      expected: 'a descriptor that the caller has opened for writing',
      cause,
    });
  }
}

/** The path with its directory's links resolved. */
function inDirectory(path: string): string {
  const directory = dirname(path);
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    throw new OutputPathError('the output directory does not exist', {
      file: path,
      expected: `a directory ${directory}`,
      advice: `create it (mkdir -p '${directory}') or choose another -o`,
    });
  }
  return join(realpathSync(directory), basename(path));
}

/**
 * A regular file, once nothing is in the way of the files beside it. An interrupted run leaves a journal beside its
 * `.partial`; without one, the name may be that of somebody's download.
 */
function fileTarget(path: string, inputs: readonly string[], force: boolean): OutputTarget {
  const partial = statSync(partialPath(path), { throwIfNoEntry: false });
  const journal = statSync(journalPath(path), { throwIfNoEntry: false });
  if (partial) refuseInput(partialPath(path), partial, inputs);
  if (journal) refuseInput(journalPath(path), journal, inputs);
  if (partial && !journal && !force) {
    throw new OutputExistsError('a file that no run has left is in the way', {
      file: partialPath(path),
      advice: 'move it, choose another -o, or pass --force to replace it',
    });
  }
  return { kind: 'file', path, force };
}

function refuseInput(path: string, existing: Stats, inputs: readonly string[]): void {
  for (const input of inputs) {
    if (!sameFile(existing, statSync(input, { throwIfNoEntry: false }))) continue;
    throw new OutputIsInputError('the output is one of the input files', {
      file: path,
      got: `the same file as ${input}`,
      advice: 'choose another -o; an input is never overwritten',
    });
  }
}

const sameFile = (a: Stats, b: Stats | undefined): boolean =>
  b !== undefined && a.dev === b.dev && a.ino === b.ino;
