import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  DiskFullError,
  OutputExistsError,
  OutputLockedError,
  OutputPathError,
  WriteError,
} from '../../src/write/errors.ts';
import type { Journal } from '../../src/write/journal.ts';
import { asCreateError, asWriteError, PartialFile } from '../../src/write/partial-file.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const details = (fileBytes = 100) => ({
  header: new Uint8Array([1, 2, 3]),
  headerSha256: 'abc',
  fileBytes,
  chunk: 32768,
  force: false,
});
const journalOf = (output: string): Journal =>
  JSON.parse(readFileSync(`${output}.partial.json`, 'utf8')) as Journal;

describe('PartialFile', () => {
  it('leaves nothing at the output until it is finished, then exactly the output', () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const partial = new PartialFile(output, details());
    expect(existsSync(output)).toBe(false);
    const bytes = readFileSync(partial.path);
    expect(bytes).toEqual(Buffer.concat([Buffer.from([1, 2, 3]), Buffer.alloc(97)]));
    partial.finish();
    expect(readFileSync(output)).toEqual(bytes);
    expect(existsSync(partial.path)).toBe(false);
    expect(existsSync(`${partial.path}.json`)).toBe(false);
  });

  it('replaces nothing that has appeared since, without force', () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const partial = new PartialFile(output, details());
    writeFileSync(output, 'another');
    expect(() => partial.finish()).toThrow(OutputExistsError);
    partial.release();
    expect(() => new PartialFile(output, details())).toThrow(OutputExistsError);
    expect(readFileSync(output, 'utf8')).toBe('another');
    new PartialFile(output, { ...details(), force: true }).finish();
    expect(readFileSync(output).length).toBe(100);
  });

  it('records finished chunks as ranges, in whatever order they come', () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const partial = new PartialFile(output, details());
    for (const number of [5, 0, 2, 1, 7, 6]) partial.chunkFinished(number);
    partial.saveJournal();
    expect(journalOf(output).finished).toEqual([
      [0, 3],
      [5, 8],
    ]);
  });

  it('refuses an output that a living process is writing', () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    new PartialFile(output, details());
    expect(() => new PartialFile(output, details())).toThrow(OutputLockedError);
    expect(() => new PartialFile(output, details())).toThrow(String(process.pid));
  });

  it('takes over what a dead process left, and what is no journal at all', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => child.on('exit', resolve));
    writeFileSync(`${output}.partial`, 'old');
    writeFileSync(`${output}.partial.json`, JSON.stringify({ pid: child.pid, processStart: '1' }));
    new PartialFile(output, details()).finish();
    expect(readFileSync(output).length).toBe(100);

    const other = join(temporaryDirectory(), 'm.gguf');
    writeFileSync(`${other}.partial.json`, 'no JSON');
    new PartialFile(other, details()).finish();
    expect(readFileSync(other).length).toBe(100);
  });

  it.runIf(process.platform === 'linux')('is not fooled by a new process with the old number', () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    writeFileSync(`${output}.partial.json`, JSON.stringify({ pid: process.pid, processStart: '1' }));
    new PartialFile(output, details()).finish();
    expect(existsSync(output)).toBe(true);
  });

  it('says beforehand that the disk is too small, and leaves nothing', () => {
    const directory = temporaryDirectory();
    expect(() => new PartialFile(join(directory, 'm.gguf'), details(2 ** 52))).toThrow(DiskFullError);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('keeps both files of a failed run and gives up the lock, so that the next run replaces them', () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const failed = new PartialFile(output, details());
    failed.chunkFinished(0);
    failed.chunkFinished(1);
    failed.release();
    expect(journalOf(output)).toMatchObject({ pid: null, finished: [[0, 2]] });
    expect(readFileSync(failed.path).length).toBe(100);
    new PartialFile(output, details(50)).finish();
    expect(readFileSync(output).length).toBe(50);
  });

  it('names what is in the way of the temporary file, and leaves no lock', () => {
    const directory = temporaryDirectory();
    const output = join(directory, 'm.gguf');
    mkdirSync(`${output}.partial`);
    expect(() => new PartialFile(output, details())).toThrow(WriteError);
    expect(() => new PartialFile(output, details())).toThrow(`${output}.partial`);
  });

  it('names the file when the system refuses', () => {
    const output = join(temporaryDirectory(), 'missing', 'm.gguf');
    expect(() => new PartialFile(output, details())).toThrow(WriteError);
    expect(() => new PartialFile(output, details())).toThrow(output);
  });
});

describe('asWriteError', () => {
  it('tells a full disk from other failures', () => {
    expect(asWriteError(Object.assign(new Error('x'), { code: 'ENOSPC' }), 'f')).toBeInstanceOf(
      DiskFullError,
    );
    expect(asWriteError(Object.assign(new Error('x'), { code: 'EDQUOT' }), 'f')).toBeInstanceOf(
      DiskFullError,
    );
    expect(asWriteError(Object.assign(new Error('x'), { code: 'EIO' }), 'f')).toBeInstanceOf(WriteError);
    const bug = new TypeError('bug');
    expect(asWriteError(bug, 'f')).toBe(bug);
  });
});

it.each(['EACCES', 'EPERM', 'EROFS'])('a directory that takes no file (%s) is named', (code) => {
  const error = asCreateError(Object.assign(new Error(`${code}: no`), { code }), '/models/m.gguf.partial');
  expect(error).toBeInstanceOf(OutputPathError);
  expect((error as OutputPathError).details).toMatchObject({ file: '/models', advice: 'choose another -o' });
});
