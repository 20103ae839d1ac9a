import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundledModel, quantize, root, start } from '../support/cli.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Worker threads that break in the middle of a run, as only a bug or a lack of memory makes them. */

async function crash(way: string, node: readonly string[] = []) {
  const output = join(temporaryDirectory(), 'm.gguf');
  const options = ['--type', 'Q8_0', '--threads', '2', '--chunk-size', '32768', '--quiet'];
  const run = start([bundledModel, ...options, '-o', output], {
    node: ['--import', `${root}/test/support/crash.js`, ...node],
    env: { ...process.env, NO_COLOR: '1', CRASH: way },
  });
  const { status, stderr } = await run.ended;
  expect(status).toBe(1);
  expect(stderr).toContain(`kept ${output}.partial and ${output}.partial.json`);
  expect(readdirSync(join(output, '..'))).toEqual(['m.gguf.partial', 'm.gguf.partial.json']);
  expect(await quantize([bundledModel, ...options, '-o', output])).toMatchObject({ status: 0, stderr: '' });
  return stderr;
}

describe('a worker thread', () => {
  it('that throws ends the run with its stack: it is a bug', async () => {
    const stderr = await crash('throw');
    expect(stderr).toMatch(/Error: planted error\n {4}at [\s\S]*worker\.js[\s\S]*bug in quantize/);
  });

  it('that ends of itself ends the run', async () => {
    expect(await crash('exit')).toContain('a worker thread ended with status 7');
  });

  it('that runs out of memory ends the run by a named error', async () => {
    const stderr = await crash('memory', ['--max-old-space-size=64']);
    expect(stderr).toMatch(
      /error: a thread ran out of memory\n.*\n {2}to do: {4}pass a smaller --chunk-size/,
    );
  });

  it('that cannot write ends the run by a named error', async () => {
    const stderr = await crash('io');
    expect(stderr).toMatch(/error: writing failed\n {2}file: {5}.*\.partial\n {2}got: {6}EIO/);
  });
});
