import { realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { OutputExistsError, OutputIsInputError, OutputPathError } from './errors.ts';

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

const sameFile = (a: Stats, b: Stats | undefined): boolean =>
  b !== undefined && a.dev === b.dev && a.ino === b.ino;
