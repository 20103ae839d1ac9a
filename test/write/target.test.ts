import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { OutputExistsError, OutputIsInputError, OutputPathError } from '../../src/write/errors.ts';
import { resolveTarget } from '../../src/write/target.ts';
import { temporaryDirectory } from '../support/temp.ts';

describe('resolveTarget', () => {
  it('takes a new file in an existing directory', () => {
    const path = join(temporaryDirectory(), 'm.gguf');
    expect(resolveTarget(path, [], false)).toEqual({ kind: 'file', path });
  });

  it('refuses a missing directory and a directory', () => {
    const directory = temporaryDirectory();
    expect(() => resolveTarget(join(directory, 'a', 'm.gguf'), [], false)).toThrow(OutputPathError);
    expect(() => resolveTarget(directory, [], true)).toThrow(OutputPathError);
  });

  it('replaces an existing file only with force, through a link its target', () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'm.gguf');
    const link = join(directory, 'link.gguf');
    writeFileSync(path, 'old');
    symlinkSync(path, link);
    expect(() => resolveTarget(path, [], false)).toThrow(OutputExistsError);
    expect(resolveTarget(path, [], true)).toEqual({ kind: 'file', path });
    expect(resolveTarget(link, [], true)).toEqual({ kind: 'file', path });
  });

  it.each(['itself', 'a symbolic link', 'a hard link', 'a link to its directory'])(
    'never overwrites an input, reached by %s',
    (way) => {
      const directory = temporaryDirectory();
      mkdirSync(join(directory, 'model'));
      const input = join(directory, 'model', 'model.safetensors');
      writeFileSync(input, 'weights');
      const output = {
        itself: input,
        'a symbolic link': join(directory, 'soft'),
        'a hard link': join(directory, 'hard'),
        'a link to its directory': join(directory, 'other', 'model.safetensors'),
      }[way]!;
      symlinkSync(input, join(directory, 'soft'));
      linkSync(input, join(directory, 'hard'));
      symlinkSync(join(directory, 'model'), join(directory, 'other'));
      expect(() => resolveTarget(output, [input], true)).toThrow(OutputIsInputError);
    },
  );

  it('streams to standard output, devices and pipes, with no need for force', () => {
    const fifo = join(temporaryDirectory(), 'fifo');
    execFileSync('mkfifo', [fifo]);
    expect(resolveTarget('-', [], false)).toEqual({ kind: 'stream', path: '-' });
    expect(resolveTarget('/dev/null', [], false)).toEqual({ kind: 'stream', path: '/dev/null' });
    expect(resolveTarget(fifo, [], false)).toEqual({ kind: 'stream', path: fifo });
  });
});
