import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, linkSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { OutputExistsError, OutputIsInputError, OutputPathError } from '../../src/write/errors.ts';
import { resolveTarget } from '../../src/write/target.ts';
import { temporaryDirectory } from '../support/temporary.ts';

describe('resolveTarget', () => {
  it('takes a new file in an existing directory', () => {
    const path = join(temporaryDirectory(), 'm.gguf');
    expect(resolveTarget(path, [], false)).toMatchObject({ kind: 'file', path });
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
    expect(resolveTarget(path, [], true)).toMatchObject({ kind: 'file', path });
    expect(resolveTarget(link, [], true)).toMatchObject({ kind: 'file', path });
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

  it('streams to pipes and devices, and to what is open already, with no need for force', () => {
    const directory = temporaryDirectory();
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const stream = (path: string, descriptor: number | null) => ({ kind: 'stream', path, descriptor });
    expect(resolveTarget('-', [], false)).toEqual(stream('-', 1));
    expect(resolveTarget('/dev/stdout', [], false)).toEqual(stream('/dev/stdout', 1));
    expect(resolveTarget('/dev/null', [], false)).toEqual(stream('/dev/null', null));
    expect(resolveTarget(fifo, [], false)).toEqual(stream(fifo, null));

    const open = openSync(join(directory, 'open'), 'w');
    onTestFinished(() => closeSync(open));
    for (const path of [`/dev/fd/${open}`, `/proc/self/fd/${open}`]) {
      expect(resolveTarget(path, [], false)).toEqual(stream(path, open));
      expect(() => resolveTarget(path, [join(directory, 'open')], true)).toThrow(OutputIsInputError);
    }
    expect(() => resolveTarget('/dev/fd/9999', [], false)).toThrow(OutputPathError);
  });

  it.each(['', 'out/', 'no/such/'])("refuses '%s', which names no file", (name) => {
    const path = name && join(temporaryDirectory(), name);
    expect(() => resolveTarget(path, [], true)).toThrow(OutputPathError);
    expect(() => resolveTarget(path, [], true)).toThrow("model.gguf'");
  });

  it('names an output that cannot even be looked at', () => {
    const path = join(temporaryDirectory(), 'x'.repeat(300));
    expect(() => resolveTarget(path, [], true)).toThrow(OutputPathError);
  });

  it('refuses a socket', async () => {
    const path = join(temporaryDirectory(), 'socket');
    const server = createServer().listen(path);
    await once(server, 'listening');
    expect(() => resolveTarget(path, [], true)).toThrow(OutputPathError);
    server.close();
  });

  it.each(['m.gguf.partial', 'm.gguf.partial.json'])('never writes over an input on the way: %s', (name) => {
    const directory = temporaryDirectory();
    const input = join(directory, name);
    writeFileSync(input, 'weights');
    symlinkSync(directory, join(directory, 'link'));
    expect(() => resolveTarget(join(directory, 'link', 'm.gguf'), [input], true)).toThrow(OutputIsInputError);
  });

  it('replaces the .partial of an interrupted run, but without force no other file of that name', () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'm.gguf');
    writeFileSync(`${path}.partial`, 'a download');
    expect(() => resolveTarget(path, [], false)).toThrow(OutputExistsError);
    expect(resolveTarget(path, [], true)).toMatchObject({ kind: 'file', path });
    writeFileSync(`${path}.partial.json`, '{}');
    expect(resolveTarget(path, [], false)).toMatchObject({ kind: 'file', path });
  });
});
