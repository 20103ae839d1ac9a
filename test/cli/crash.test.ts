import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundledModel, quantize, root, start } from '../support/cli.ts';
import { shortText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

/** Threads that break in the middle of a run, as only a bug or a lack of memory makes them. */

const SMALL_HEAP = ['--max-old-space-size=64'];

interface Crash {
  readonly at: 'write' | 'command';
  readonly way: string;
  /** Options of node. */
  readonly node?: readonly string[];
}

/** Runs a command whose threads break; says what it printed, and the names it left in the folder of its output. */
async function crash(argv: readonly string[], output: string, { at, way, node = [] }: Crash) {
  const run = start([...argv, '--quiet', '-o', output], {
    node: ['--import', `${root}/test/support/crash.js`, ...node],
    env: { ...process.env, NO_COLOR: '1', CRASH: way, CRASH_AT: at },
  });
  const { status, stderr } = await run.ended;
  expect(status).toBe(1);
  return { stderr, left: readdirSync(join(output, '..')) };
}

/** The same of a run that quantizes: what it keeps is named. */
async function crashQuantizing(argv: readonly string[], output: string, how: Crash): Promise<string> {
  const { stderr, left } = await crash(argv, output, how);
  expect(stderr).toContain(`kept ${output}.partial and ${output}.partial.json`);
  expect(left).toEqual(['m.gguf.partial', 'm.gguf.partial.json']);
  return stderr;
}

describe('a worker thread', () => {
  const argv = [bundledModel, '--type', 'Q8_0', '--threads', '3', '--chunk-size', '32768'];
  /** What the run keeps is in nobody's way. */
  const crashWriting = async (way: string, node: readonly string[] = []) => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const stderr = await crashQuantizing(argv, output, { at: 'write', way, node });
    expect(await quantize([...argv, '--quiet', '-o', output])).toMatchObject({ status: 0, stderr: '' });
    return stderr;
  };

  it('that throws ends the run with its stack: it is a bug', async () => {
    const stderr = await crashWriting('throw');
    expect(stderr).toMatch(/Error: planted error\n {4}at [\s\S]*worker\.js[\s\S]*bug in quantize/);
  });

  it.each([
    ['exit', 7],
    ['leave', 0],
  ])('that ends of itself ends the run: %s', async (way, status) => {
    expect(await crashWriting(way)).toMatch(
      new RegExp(`error: a worker thread ended with status ${status} before its work was done\n {2}to do: `),
    );
  });

  it('that runs out of memory ends the run by a named error', async () => {
    const stderr = await crashWriting('memory', SMALL_HEAP);
    expect(stderr).toMatch(
      /error: a worker thread ran out of memory\n.*\n {2}to do: {4}pass a smaller --chunk-size/,
    );
  });

  it('that cannot write ends the run by a named error', async () => {
    const stderr = await crashWriting('io');
    expect(stderr).toMatch(/error: writing failed\n {2}file: {5}.*\.partial\n {2}got: {6}EIO/);
  });
});

describe('a thread of a team', () => {
  const directory = temporaryDirectory();
  const model = tinyLlama(join(directory, 'model'));
  const text = shortText(directory, 512);
  const small = ['--threads', '3', '--gemm', 'wasm', '--context', '128'];
  const gptq = ['--method', 'gptq', '--type', 'Q4_0', '--leave-output-tensor', '--calibration', text];
  const crashCalculating = (way: string, node: readonly string[] = []) =>
    crashQuantizing([model, ...small, ...gptq], join(temporaryDirectory(), 'm.gguf'), {
      at: 'command',
      way,
      node,
    });

  it('that throws outside of its work ends the run with its stack: it is a bug', async () => {
    const stderr = await crashCalculating('throw');
    expect(stderr).toMatch(/Error: planted error\n {4}at [\s\S]*team-worker\.js[\s\S]*bug in quantize/);
  });

  it.each([
    ['exit', 7],
    ['leave', 0],
  ])('that ends of itself ends the run: %s', async (way, status) => {
    expect(await crashCalculating(way)).toMatch(
      new RegExp(`error: thread [23] of 3 ended with status ${status} before its work was done\n {2}to do: `),
    );
  });

  it('that runs out of memory ends the run by a named error', async () => {
    const stderr = await crashCalculating('memory', SMALL_HEAP);
    expect(stderr).toMatch(
      /error: thread [23] of 3 ran out of memory\n.*\n {2}to do: {4}give every thread a larger heap/,
    );
  });

  it('ends a run that only looks at a model, too', async () => {
    const output = join(temporaryDirectory(), 'importance.gguf');
    const argv = ['imatrix', model, ...small, '--text', text];
    const { stderr, left } = await crash(argv, output, { at: 'command', way: 'exit' });
    expect(stderr).toMatch(/error: thread [23] of 3 ended with status 7/);
    expect(left).toEqual([]);
  });
});
