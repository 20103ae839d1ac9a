import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { OutputLockedError } from '../../src/write/errors.ts';
import { type Journal, JournalFile } from '../../src/write/journal.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const journalAt = (path: string) =>
  new JournalFile(path, {
    format: 'gguf-quantize/journal',
    version: 1,
    output: '/models/m.gguf',
    fileBytes: 100,
    headerSha256: 'abc',
    chunk: 32768,
  });
const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Journal;
const freshPath = () => join(temporaryDirectory(), 'm.gguf.partial.json');

describe('JournalFile', () => {
  it('is a lock that names its holder until it is released', () => {
    const path = freshPath();
    const journal = journalAt(path);
    journal.lock();
    expect(read(path)).toMatchObject({ pid: process.pid, finished: [], fileBytes: 100 });
    expect(() => journalAt(path).lock()).toThrow(OutputLockedError);
    expect(() => journalAt(path).lock()).toThrow(`process ${process.pid} holds ${path}`);
    journal.save([[0, 3]]);
    expect(read(path)).toMatchObject({ pid: process.pid, finished: [[0, 3]] });
    expect(() => journalAt(path).lock()).toThrow(OutputLockedError);

    journal.release([[0, 4]]);
    expect(read(path)).toMatchObject({ pid: null, processStart: null, finished: [[0, 4]] });
    journalAt(path).lock();
    expect(read(path)).toMatchObject({ pid: process.pid, finished: [] });
    expect(readdirSync(join(path, '..'))).toEqual(['m.gguf.partial.json']);
  });

  it('waits for the holder of a journal that is still empty', async () => {
    const path = freshPath();
    writeFileSync(path, '');
    const text = JSON.stringify({ pid: process.pid, processStart: null });
    const writer = spawn(process.execPath, [
      '-e',
      `console.log(''); setTimeout(() => fs.writeFileSync(${JSON.stringify(path)}, ${JSON.stringify(text)}), 20)`,
    ]);
    await once(writer.stdout, 'data');
    expect(() => journalAt(path).lock()).toThrow(OutputLockedError);
    await once(writer, 'close');

    writeFileSync(path, ''); // created by a process that ended at once
    journalAt(path).lock();
    expect(read(path).pid).toBe(process.pid);
  });

  it.runIf(process.platform === 'linux')(
    'takes a process that only waits to be buried for dead',
    async () => {
      // A shell that becomes `sleep` never asks how its child ended.
      const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60']);
      onTestFinished(() => void parent.kill());
      const [pid] = await once(parent.stdout, 'data');
      const status = `/proc/${Number(pid)}/stat`;
      while (!readFileSync(status, 'utf8').includes(') Z ')) await delay(10);
      const path = freshPath();
      writeFileSync(path, JSON.stringify({ pid: Number(pid), processStart: null }));
      journalAt(path).lock();
      expect(existsSync(status)).toBe(true);
      expect(read(path).pid).toBe(process.pid);
    },
  );
});
