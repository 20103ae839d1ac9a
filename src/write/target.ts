import { realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UsageError } from '../core/errors.ts';
import { OutputExistsError, OutputIsInputError, OutputPathError } from './errors.ts';
import type { Layout } from './gguf.ts';
import { isWhole } from './journal.ts';
import { fileNames } from './split.ts';

/** Where the output goes, decided and checked before any work. */
export type OutputTarget =
  /** A regular file: written beside its final name and renamed. `path` has links resolved. */
  | { readonly kind: 'file'; readonly path: string }
  /** Standard output, a pipe or a device: written once, in order. */
  | { readonly kind: 'stream'; readonly path: string };

/**
 * Decides how to write to `path` ('-' is standard output).
 *
 * @param inputs every file the run reads; the output may be none of them, by whatever name.
 * @throws OutputPathError, OutputIsInputError, OutputExistsError
 */
export function resolveTarget(path: string, inputs: readonly string[], force: boolean): OutputTarget {
  if (path === '-') return { kind: 'stream', path };
  const existing = statSync(path, { throwIfNoEntry: false });
  if (existing === undefined) {
    const directory = dirname(path);
    const parent = statSync(directory, { throwIfNoEntry: false });
    if (!parent?.isDirectory()) {
      throw new OutputPathError('the output directory does not exist', {
        file: path,
        expected: `a directory ${directory}`,
        advice: `create it (mkdir -p '${directory}') or choose another -o`,
      });
    }
    return { kind: 'file', path: join(realpathSync(directory), basename(path)) };
  }
  if (existing.isDirectory()) {
    throw new OutputPathError('the output is a directory', {
      file: path,
      expected: 'a file name',
      advice: `name the file, for example -o '${join(path, 'model.gguf')}'`,
    });
  }
  for (const input of inputs) {
    if (sameFile(existing, statSync(input, { throwIfNoEntry: false }))) {
      throw new OutputIsInputError('the output is one of the input files', {
        file: path,
        got: `the same file as ${input}`,
        advice: 'choose another -o; an input is never overwritten',
      });
    }
  }
  if (!existing.isFile()) return { kind: 'stream', path };
  if (!force) {
    throw new OutputExistsError('the output already exists', {
      file: path,
      advice: 'choose another -o, or pass --force to replace it',
    });
  }
  return { kind: 'file', path: realpathSync(path) };
}

/** Where everything a run writes goes. */
export type OutputTargets =
  | { readonly kind: 'files'; readonly paths: readonly string[] }
  | { readonly kind: 'stream'; readonly path: string };

/**
 * Decides how to write the files of a run whose output was named `output`.
 *
 * @param resume whether to go on with what an earlier run left
 * @throws UsageError when a stream cannot take what is asked for, and the errors of resolveTarget
 */
export function resolveTargets(
  output: string,
  layout: Layout,
  inputs: readonly string[],
  { force, resume }: { force: boolean; resume: boolean },
): OutputTargets {
  const { split } = layout;
  const option = split ? 'a split model' : resume ? 'a resumed run' : null;
  const existing = output === '-' ? undefined : statSync(output, { throwIfNoEntry: false });
  if (option !== null && (output === '-' || (existing && !existing.isFile() && !existing.isDirectory()))) {
    throw new UsageError(
      `${option} cannot go to ${output === '-' ? 'standard output' : 'a pipe or device'}`,
      {
        ...(output !== '-' && { file: output }),
        advice: 'pass -o FILE',
      },
    );
  }
  const targets = fileNames(output, layout).map((name) =>
    resolveTarget(name, inputs, force || (resume && isWhole(name))),
  );
  const stream = targets.find(({ kind }) => kind === 'stream');
  if (stream === undefined) return { kind: 'files', paths: targets.map(({ path }) => path) };
  if (split === null) return { kind: 'stream', path: stream.path };
  throw new OutputPathError('a part of a split model must be a regular file', {
    file: stream.path,
    advice: 'remove what is there, or choose another -o',
  });
}

const sameFile = (a: Stats, b: Stats | undefined): boolean =>
  b !== undefined && a.dev === b.dev && a.ino === b.ino;
