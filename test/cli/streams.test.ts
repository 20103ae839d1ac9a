import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { quantize as quantizeHere } from '../../src/pipeline.ts';
import type { Report } from '../../src/report/report.ts';
import {
  bundledModel,
  type Ended,
  hashOf,
  hashOfStream,
  hasTerminals,
  memoryOf,
  quantize,
  root,
  shell,
  start,
  until,
} from '../support/cli.ts';
import { generatedCheckpoint, slowly } from '../support/generated.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Output that is no regular file: the same bytes, in order, through every kind of reader. */

const { directory, model } = generatedCheckpoint(3);
const expected = join(directory, 'q4.gguf');
const small = ['--quiet', '--type', 'Q4_K_M', '--chunk-size', '32768', '--threads', '3'];
const q4 = [bundledModel, ...small];
let expectedHash: string;
beforeAll(async () => {
  await quantizeHere({ input: bundledModel, type: 'Q4_K_M', output: expected, threads: 1 });
  expectedHash = hashOf(expected);
});

const fifoIn = (place: string): string => {
  const fifo = join(place, 'fifo');
  execFileSync('mkfifo', [fifo]);
  return fifo;
};
const ended = (run: Ended) => [run.status, run.stderr];

/** A failed run: its status, and one error with no stack. */
function expectFailure({ status, stderr }: Ended, message: RegExp): void {
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/\n {4}at |bug in quantize/);
  expect(status).toBe(1);
}

describe('standard output', () => {
  it.each([
    ['a mixture', { type: 'Q4_K_M' }],
    ['floats', { type: 'F32' }],
    ['codes with tensors of scales', { method: 'zero-point', bits: 8 }],
    ['ternary', { method: 'ternary' }],
  ])('gets byte for byte what a file would: %s', async (_name, options) => {
    const file = join(temporaryDirectory(), 'm.gguf');
    await quantizeHere({ ...options, input: bundledModel, output: file, threads: 1 });
    const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const run = start([bundledModel, ...flags, '--chunk-size', '32768', '--threads', '3', '-o', '-']);
    expect(await hashOfStream(run.child.stdout as Readable)).toBe(hashOf(file));
    const { status, stderr } = await run.ended;
    expect(status).toBe(0);
    expect(stderr).toContain('wrote to standard output');
  });

  it.each(['-', '/dev/stdout'])('may be a file: %s', async (name) => {
    const place = temporaryDirectory();
    const file = join(place, 'm.gguf');
    const run = shell(`"$QUANTIZE" ${q4.join(' ')} -o ${name} > ${file}`);
    expect(ended(await run.ended)).toEqual([0, '']);
    expect(hashOf(file)).toBe(expectedHash);
    writeFileSync(file, 'before');
    await shell(`"$QUANTIZE" ${q4.join(' ')} -o ${name} >> ${file}`).ended;
    expect(readFileSync(file).equals(Buffer.concat([Buffer.from('before'), readFileSync(expected)]))).toBe(
      true,
    );
    expect(readdirSync(place)).toEqual(['m.gguf']);
  });

  it('may be a pipe that blocks nobody', async () => {
    const fifo = fifoIn(temporaryDirectory());
    const reader = spawn('sh', ['-c', `sleep 0.5; cat ${fifo}`]);
    const hash = hashOfStream(reader.stdout);
    const nonBlocking = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const run = start([...q4, '-o', '-'], { stdio: ['ignore', nonBlocking, 'pipe'] });
    const result = await run.ended;
    closeSync(nonBlocking);
    expect(ended(result)).toEqual([0, '']);
    expect(await hash).toBe(expectedHash);
  });

  it('is never an input', async () => {
    const place = temporaryDirectory();
    execFileSync('cp', ['-r', bundledModel, join(place, 'model')]);
    const { status, stderr } = await shell(`"$QUANTIZE" ${place}/model -o - >> ${place}/model/config.json`)
      .ended;
    expect(stderr).toContain('the output is one of the input files');
    expect(status).toBe(2);
    expect(hashOf(join(place, 'model/config.json'))).toBe(hashOf(join(bundledModel, 'config.json')));
  });
});

describe('paths that are no regular files', () => {
  it('a FIFO gets the file and stays a FIFO', async () => {
    const place = temporaryDirectory();
    const fifo = fifoIn(place);
    const run = start([...q4, '-o', fifo]);
    await delay(300); // no reader yet
    const reader = spawn('cat', [fifo]);
    expect(await hashOfStream(reader.stdout)).toBe(expectedHash);
    expect(ended(await run.ended)).toEqual([0, '']);
    expect(statSync(fifo).isFIFO()).toBe(true);
    expect(readdirSync(place)).toEqual(['fifo']);
  });

  it('/dev/null takes all of it and stays what it is', async () => {
    expect(ended(await quantize([...q4, '-o', '/dev/null', '--force']))).toEqual([0, '']);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    expect(readdirSync('/dev').filter((name) => name.includes('partial'))).toEqual([]);
  });

  it('an open descriptor by its name', async () => {
    const file = join(temporaryDirectory(), 'm.gguf');
    const run = shell(`"$QUANTIZE" ${q4.join(' ')} -o /dev/fd/3 3> ${file} | cat 3>&-`);
    expect(ended(await run.ended)).toEqual([0, '']);
    expect(hashOf(file)).toBe(expectedHash);
  });

  it.runIf(hasTerminals())('a terminal that has no room at times', async () => {
    // In raw mode a terminal changes no byte. What `script` shows is read after a pause.
    const command = `stty raw; ${root}/bin/quantize.js ${q4.join(' ')} -o /dev/tty`;
    const run = shell(`script -qec '${command}' /dev/null | (sleep 1; cat)`, { stdio: 'pipe' });
    expect(await hashOfStream(run.child.stdout as Readable)).toBe(expectedHash);
    expect((await run.ended).status).toBe(0);
  });

  it.each([
    ['by path', '-o /dev/full'],
    ['as standard output', '-o - > /dev/full'],
  ])('/dev/full is a full disk, %s', async (_name, redirection) => {
    const run = await shell(`"$QUANTIZE" ${q4.join(' ')} ${redirection}`).ended;
    expectFailure(run, /^error: the disk filled up\n {2}file: {5}(\/dev\/full|standard output)\n/);
  });
});

describe('a reader that leaves', () => {
  it('is named, and ends the run by status 1', async () => {
    const run = start([model, '--type', 'F16', '--quiet', '-o', '-']);
    await once(run.child.stdout!, 'data');
    run.child.stdout!.destroy();
    expectFailure(await run.ended, /^error: the reader of the output closed it[\s\S]*standard output/);
  });

  it('of a pipe', async () => {
    const fifo = fifoIn(temporaryDirectory());
    const run = start([model, '--type', 'F16', '--quiet', '-o', fifo]);
    execFileSync('head', ['-c', '100000', fifo]);
    expectFailure(await run.ended, /^error: the reader of the output closed it/);
  });
});

describe('a reader that sleeps', () => {
  it.runIf(process.platform === 'linux')('holds the run up, in a few megabytes', async () => {
    const argv = [model, '--type', 'F16', '--threads', '2'];
    const file = join(temporaryDirectory(), 'm.gguf');
    const report = join(temporaryDirectory(), 'report.json');
    expect((await quantize([...argv, '--quiet', '-o', file, '--report', report])).status).toBe(0);
    const { peakRssBytes } = (JSON.parse(readFileSync(report, 'utf8')) as Report).run;

    const run = start([...argv, '-o', '-']);
    const resident = () => memoryOf(run.pid, 'VmRSS')!;
    await until(() => run.stderr().includes('to write'), 'the plan');
    // Until the window is full: four chunks of 2 MiB.
    for (let before = 0; Math.abs(resident() - before) > 1e6; await delay(700)) before = resident();
    const before = resident();
    await delay(1000);
    expect(Math.abs(resident() - before)).toBeLessThan(2e6);
    // Near a run that nothing holds up, whatever the version of Node; all of the output would be 73 MB more.
    expect(resident()).toBeLessThan(peakRssBytes + 40e6);
    expect(run.child.exitCode).toBeNull();

    expect(await hashOfStream(run.child.stdout as Readable)).toBe(hashOf(file));
    expect((await run.ended).status).toBe(0);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('does not keep %s from ending the run', async (signal) => {
    const run = start([model, '--type', 'F16', '-o', '-']);
    await until(() => run.stderr().includes('to write'), 'the plan');
    await delay(500);
    run.child.kill(signal);
    const { status, stderr } = await run.ended;
    expect(stderr).toContain(`error: interrupted by ${signal}
  file:     standard output
  got:      only the`);
    expect(status).toBe(signal === 'SIGINT' ? 130 : 143);
  });

  it('neither does one that has not come yet', async () => {
    const fifo = fifoIn(temporaryDirectory());
    const run = start([model, ...slowly, '-o', fifo]);
    await until(() => run.stderr().includes('to write'), 'the plan');
    await delay(200);
    run.child.kill('SIGINT');
    const { status, stderr } = await run.ended;
    expect(stderr).toMatch(/error: interrupted by SIGINT\n {2}got: {6}nothing was written/);
    expect(status).toBe(130);
  });
});
