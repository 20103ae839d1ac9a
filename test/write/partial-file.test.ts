import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  DiskFullError,
  OutputExistsError,
  OutputLockedError,
  OutputPathError,
  WriteError,
} from '../../src/write/errors.ts';
import type { Journal } from '../../src/write/journal.ts';
import { thisProcess } from '../../src/write/lock.ts';
import {
  asCreateError,
  asWriteError,
  type PartialFileDetails,
  PartialFiles,
} from '../../src/write/partial-file.ts';
import { ResumeMismatchError } from '../../src/write/resume-key.ts';
import { keyOf, progressOf } from '../support/resume.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const details = (over: Partial<PartialFileDetails> = {}): PartialFileDetails => ({
  header: new Uint8Array([1, 2, 3]),
  fileBytes: 100,
  key: keyOf(),
  progress: [progressOf(), progressOf()],
  resume: false,
  force: false,
  ...over,
});
const open = (output: string, over: Partial<PartialFileDetails> = {}) =>
  new PartialFiles([{ output, ...details(over) }]);
const temporaryOutput = () => join(temporaryDirectory(), 'm.gguf');

const journalOf = (output: string): Journal =>
  JSON.parse(readFileSync(`${output}.partial.json`, 'utf8')) as Journal;
const changeJournal = (output: string, change: Partial<Journal>) =>
  writeFileSync(`${output}.partial.json`, JSON.stringify({ ...journalOf(output), ...change }));

async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => child.on('exit', resolve));
  return child.pid!;
}

describe('PartialFiles', () => {
  it('leaves nothing at the output until it is finished, then exactly the output', async () => {
    const output = temporaryOutput();
    const partial = open(output);
    expect(partial.paths).toEqual([`${output}.partial`]);
    expect(existsSync(output)).toBe(false);
    const bytes = readFileSync(`${output}.partial`);
    expect(bytes).toEqual(Buffer.concat([Buffer.from([1, 2, 3]), Buffer.alloc(97)]));
    await partial.finish();
    expect(readFileSync(output)).toEqual(bytes);
    expect(readdirSync(join(output, '..'))).toEqual(['m.gguf']);
  });

  it('gives names to several files only when all are whole', async () => {
    const directory = temporaryDirectory();
    const outputs = ['a.gguf', 'b.gguf'].map((name) => join(directory, name));
    const partial = new PartialFiles(outputs.map((output) => ({ output, ...details() })));
    rmSync(`${outputs[1]}.partial`);
    await expect(partial.finish()).rejects.toThrow(WriteError);
    expect(outputs.map(existsSync)).toEqual([false, false]);
  });

  it('says beforehand that the disk is too small for all files together, and leaves nothing', () => {
    const directory = temporaryDirectory();
    const { bavail, bsize } = statfsSync(directory);
    const files = ['a.gguf', 'b.gguf'].map((name) => ({
      output: join(directory, name),
      ...details({ fileBytes: Math.floor(0.75 * bavail * bsize) }),
    }));
    expect(() => new PartialFiles(files)).toThrow(DiskFullError);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('replaces nothing that has appeared since, without force', async () => {
    const output = temporaryOutput();
    const partial = open(output);
    writeFileSync(output, 'another');
    await expect(partial.finish()).rejects.toThrow(OutputExistsError);
    partial.release();
    expect(() => open(output)).toThrow(OutputExistsError);
    expect(readFileSync(output, 'utf8')).toBe('another');
    await open(output, { force: true }).finish();
    expect(readFileSync(output).length).toBe(100);
  });

  it('names what is in the way of the temporary file, and leaves no lock', () => {
    const output = temporaryOutput();
    mkdirSync(`${output}.partial`);
    expect(() => open(output)).toThrow(WriteError);
    expect(() => open(output)).toThrow(`${output}.partial`);
  });

  it('names the file when the system refuses', () => {
    const output = join(temporaryDirectory(), 'missing', 'm.gguf');
    expect(() => open(output)).toThrow(WriteError);
    expect(() => open(output)).toThrow(output);
  });
});

describe('the lock', () => {
  it('keeps a second run from an output that a living process writes', () => {
    const output = temporaryOutput();
    const first = open(output);
    expect(() => open(output)).toThrow(OutputLockedError);
    expect(() => open(output, { resume: true })).toThrow(String(process.pid));
    first.release();
    open(output).release();
  });

  it('passes from a dead process, and from what is no journal at all', async () => {
    const output = temporaryOutput();
    open(output).release();
    writeFileSync(`${output}.partial`, 'old');
    changeJournal(output, { holder: { ...thisProcess(), pid: await deadPid() } });
    await open(output).finish();
    expect(readFileSync(output).length).toBe(100);

    const other = temporaryOutput();
    writeFileSync(`${other}.partial.json`, 'no JSON');
    await open(other, { resume: true }).finish();
    expect(readFileSync(other).length).toBe(100);
  });

  it.runIf(process.platform === 'linux')('is not fooled by a new process with the old number', () => {
    const output = temporaryOutput();
    open(output).release();
    changeJournal(output, { holder: { ...thisProcess(), start: '1' } });
    open(output).release();
  });

  it('passes from another machine or container once that is silent', () => {
    const output = temporaryOutput();
    open(output).release();
    changeJournal(output, { holder: { host: 'elsewhere', space: 'another boot', pid: 1, start: null } });
    expect(() => open(output)).toThrow('process 1 on elsewhere');
    const longAgo = new Date(Date.now() - 600_000);
    utimesSync(`${output}.partial.json`, longAgo, longAgo);
    open(output).release();
  });

  it.runIf(process.platform === 'linux')('passes from a process that only waits to be buried', async () => {
    // A shell that becomes `sleep` never asks how its child ended.
    const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60']);
    onTestFinished(() => void parent.kill());
    const [pid] = await once(parent.stdout, 'data');
    while (!readFileSync(`/proc/${Number(pid)}/stat`, 'utf8').includes(') Z ')) await delay(10);
    const output = temporaryOutput();
    open(output).release();
    changeJournal(output, { holder: { ...thisProcess(), pid: Number(pid), start: null } });
    open(output).release();
  });

  it('is not held up for ever by a process that died while it took the lock', () => {
    const output = temporaryOutput();
    writeFileSync(`${output}.partial.lock`, '');
    open(output).release();
    expect(existsSync(`${output}.partial.lock`)).toBe(false);
  });
});

describe('resuming', () => {
  it('restores progress to the bit, and keeps the bytes', () => {
    const output = temporaryOutput();
    const progress = [progressOf(3), progressOf(1, [3, 4]), progressOf()];
    const first = open(output, { progress });
    writeFileSync(`${output}.partial`, Buffer.alloc(100, 9));
    first.release();
    expect(journalOf(output).tensors).toHaveLength(2);

    const restored = [progressOf(), progressOf(), progressOf()];
    open(output, { progress: restored, resume: true }).release();
    expect(restored).toEqual(progress);
    expect(readFileSync(`${output}.partial`)).toEqual(
      Buffer.concat([Buffer.from([1, 2, 3]), Buffer.alloc(97, 9)]),
    );
  });

  it.each([
    ['the file is missing', (output: string) => rmSync(`${output}.partial`)],
    ['the file has another size', (output: string) => writeFileSync(`${output}.partial`, 'short')],
    ['the journal is missing', (output: string) => rmSync(`${output}.partial.json`)],
    ['the journal is cut off', (output: string) => writeFileSync(`${output}.partial.json`, '{"format"')],
    [
      'the journal holds nonsense',
      (output: string) => changeJournal(output, { tensors: [[1, 2, ['x'], []]] as never }),
    ],
  ])('starts over when %s', (_, damage) => {
    const output = temporaryOutput();
    const first = open(output, { progress: [progressOf(2)] });
    writeFileSync(`${output}.partial`, Buffer.alloc(100, 9));
    first.release();
    damage(output);
    const progress = [progressOf()];
    open(output, { progress, resume: true }).release();
    expect(progress).toEqual([progressOf()]);
    expect(readFileSync(`${output}.partial`)[50]).toBe(0);
  });

  it('starts over unless asked to resume', () => {
    const output = temporaryOutput();
    open(output, { progress: [progressOf(2)] }).release();
    const progress = [progressOf()];
    open(output, { progress }).release();
    expect(progress).toEqual([progressOf()]);
  });

  it('goes on after a run that was killed between giving names', async () => {
    const directory = temporaryDirectory();
    const outputs = ['a.gguf', 'b.gguf'].map((name) => join(directory, name));
    const files = (resume: boolean, progress = progressOf()) =>
      outputs.map((output) => ({ output, ...details({ progress: [progress], resume }) }));
    const killed = new PartialFiles(files(false, progressOf(2)));
    killed.release();
    for (const output of outputs) changeJournal(output, { whole: true });
    writeFileSync(outputs[0], readFileSync(`${outputs[0]}.partial`));
    rmSync(`${outputs[0]}.partial`);

    const progress = progressOf();
    await new PartialFiles(files(true, progress)).finish();
    expect(progress).toEqual(progressOf(2));
    expect(readdirSync(directory).sort()).toEqual(['a.gguf', 'b.gguf']);
  });

  it.each([
    [{ version: '2.0.0' }, 'version: 1.0.0 then, 2.0.0 now'],
    [{ chunk: 65536 }, '--chunk-size: 32768 then, 65536 now'],
    [{ inputs: [{ ...keyOf().inputs[0], bytes: 101 }] }, 'size of model.safetensors: 100 then, 101 now'],
    [{ inputs: [{ ...keyOf().inputs[0], modified: 1 }] }, 'modification time of model.safetensors'],
    [{ inputs: [{ ...keyOf().inputs[0], headerSha256: 'ab' }] }, 'header of model.safetensors'],
    [{ gemm: 'wasm' }, '--gemm: null then, wasm now'],
    [{ inputs: [] }, 'number of input files: 1 then, 0 now'],
    [{ planSha256: 'b', options: { type: 'Q8_0' } }, 'type: "Q4_0" then, "Q8_0" now'],
    [{ headerSha256: 'c' }, 'the plan: metadata or tensors'],
  ])('refuses another job, and says what differs: %j', (change, message) => {
    const output = temporaryOutput();
    open(output).release();
    const other = { key: keyOf(change), resume: true };
    expect(() => open(output, other)).toThrow(ResumeMismatchError);
    expect(() => open(output, other)).toThrow(message);
    open(output, { key: keyOf(change) }).release();
  });

  it('does not mind other names of the input, nor other words for the same plan', () => {
    const output = temporaryOutput();
    open(output).release();
    const key = keyOf({ inputs: [{ ...keyOf().inputs[0], name: 'm' }], options: { method: 'absmax' } });
    open(output, { key, resume: true }).release();
  });
});

describe('asWriteError', () => {
  it('tells a full disk from other failures', () => {
    for (const code of ['ENOSPC', 'EDQUOT']) {
      expect(asWriteError(Object.assign(new Error('x'), { code }), 'f')).toBeInstanceOf(DiskFullError);
    }
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
