import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, elementsOf } from '../../src/core/types.ts';
import { planQuantization } from '../../src/pipeline.ts';
import type { Journal } from '../../src/write/journal.ts';
import { hashOf, hasTerminals, quantize, type Run, root, shell, start, until } from '../support/cli.ts';
import { generatedCheckpoint, slowly } from '../support/generated.ts';
import { writeSafetensors } from '../support/safetensors-writer.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Runs that are stopped in the middle: what they say, what they leave, and what the next run makes of it. */

const { directory, model } = generatedCheckpoint();
const expected = join(directory, 'expected.gguf');
const quickly = ['--type', 'Q4_K_M', '--quiet'];
beforeAll(() => {
  execFileSync(process.execPath, ['bin/quantize.js', model, ...quickly, '-o', expected], { cwd: root });
});

const journalOf = (output: string): Journal | null => {
  try {
    return JSON.parse(readFileSync(`${output}.partial.json`, 'utf8')) as Journal;
  } catch {
    return null;
  }
};

/** A slow run, once the first chunks are written. */
async function running(output: string, options: readonly string[] = slowly): Promise<Run> {
  const run = start([model, ...options, '-o', output]);
  await until(() => {
    const journal = journalOf(output);
    return journal?.holder?.pid === run.pid && journal.tensors.length > 0;
  }, 'the first chunk');
  return run;
}

/** Byte ranges of an output file that a journal says are finished. */
function finishedBytes({ key, tensors }: Journal): { offset: number; length: number }[] {
  const { plan, layout } = planQuantization({ input: model, type: 'Q4_K_M' });
  return tensors.flatMap(([chunks, , , , waiting], i) => {
    const { type, shape } = plan.tensors[i];
    const range = (n: number) => ({
      offset: layout.files[0].offsets[i] + bytesOf(type, n * key.chunk),
      length: bytesOf(type, Math.min(key.chunk, elementsOf(shape) - n * key.chunk)),
    });
    return [...Array(chunks).keys(), ...waiting.map(([chunk]) => chunk)].map(range);
  });
}

function bytesAt(path: string, { offset, length }: { offset: number; length: number }): Buffer {
  const bytes = Buffer.alloc(length);
  const file = openSync(path, 'r');
  expect(readSync(file, bytes, 0, length, offset)).toBe(length);
  closeSync(file);
  return bytes;
}

/** The finished chunks of an unfinished file are those of the finished one; some are not finished. */
function expectConsistent(output: string): void {
  const journal = journalOf(output)!;
  const ranges = finishedBytes(journal);
  expect(ranges.length).toBeGreaterThan(0);
  for (const range of ranges) {
    expect(bytesAt(`${output}.partial`, range).equals(bytesAt(expected, range))).toBe(true);
  }
  expect(statSync(`${output}.partial`).size).toBe(statSync(expected).size);
  expect(hashOf(`${output}.partial`)).not.toBe(hashOf(expected));
  expect(journal.fileBytes).toBe(statSync(expected).size);
}

const beside = (output: string): string[] => readdirSync(dirname(output)).sort();
const leftovers = (output: string): string[] =>
  ['.partial', '.partial.json'].map((end) => basename(output) + end);

describe('a run ended by a signal', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s: says what stays, and leaves nothing at the output', async (signal, wanted) => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const run = await running(output);
    run.child.kill(signal);
    const { status, stderr } = await run.ended;
    expect(status).toBe(wanted);
    expect(stderr).toContain(
      `kept ${output}.partial and ${output}.partial.json for --resume; any other run replaces them\n` +
        `error: interrupted by ${signal}\n  file:     ${output}\n`,
    );
    expect(beside(output)).toEqual(leftovers(output));
    expect(journalOf(output)!.holder).toBeNull();
    expectConsistent(output);

    expect(await quantize([model, ...quickly, '-o', output])).toMatchObject({ status: 0, stderr: '' });
    expect(beside(output)).toEqual(['m.gguf']);
    expect(hashOf(output)).toBe(hashOf(expected));
  });

  it('does not touch the output that was to be replaced', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    writeFileSync(output, 'an older model');
    const run = await running(output, [...slowly, '--force', '--quiet']);
    run.child.kill('SIGINT');
    const { status, stderr } = await run.ended;
    expect([status, stderr.split('\n').length]).toEqual([130, 6]); // what is kept, and the error
    expect(readFileSync(output, 'utf8')).toBe('an older model');
    expect(beside(output)).toEqual(['m.gguf', ...leftovers(output)]);
  });

  it('ends at once when it is asked twice', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    // One chunk that takes many seconds, which the first signal waits for.
    const weights = join(dirname(output), 'weights.safetensors');
    const values = Buffer.alloc(4 << 23).fill(Buffer.from(Float32Array.of(0.1, -0.2, 0.3, 0.5, -0.7).buffer));
    writeSafetensors(weights, [{ name: 'w', dtype: 'F32', shape: [1 << 11, 1 << 12], data: values }]);
    const oneChunk = ['--kernels', 'scalar', '--threads', '1', '--chunk-size', '8388608'];
    const run = start([weights, '--type', 'Q4_K_M', ...oneChunk, '-o', output]);
    await until(() => journalOf(output), 'the journal');
    await delay(1000);
    const asked = performance.now();
    run.child.kill('SIGINT');
    setTimeout(() => run.child.kill('SIGINT'), 200);
    const { status, stderr } = await run.ended;
    expect(performance.now() - asked).toBeLessThan(2000);
    expect(status).toBe(130);
    expect(stderr).not.toContain('error');
    expect(beside(output)).toEqual([...leftovers(output), 'weights.safetensors']);
    expect((await quantize([weights, ...quickly, '-o', output])).status).toBe(0);
    expect(beside(output)).toEqual(['m.gguf', 'weights.safetensors']);
  });

  it.runIf(hasTerminals())('whose terminal goes away cleans up all the same', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const command = `exec "$QUANTIZE" ${[model, ...slowly, '-o', output].join(' ')}`;
    const terminal = shell(`exec script -qec '${command}' /dev/null`, { stdio: 'pipe' });
    const pid = await until(() => {
      const journal = journalOf(output);
      return journal !== null && journal.tensors.length > 0 && journal.holder?.pid;
    }, 'a chunk');
    terminal.child.kill('SIGKILL');
    const gone = () => journalOf(output)!.holder === null && !existsSync(`/proc/${pid}/exe`);
    await until(gone, 'the end of the run');
    expect(beside(output)).toEqual(leftovers(output));
    expectConsistent(output);
  });

  it('SIGKILL: the next run takes over', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const run = await running(output);
    run.child.kill('SIGKILL');
    expect((await run.ended).signal).toBe('SIGKILL');
    expect(journalOf(output)!.holder?.pid).toBe(run.pid);
    expectConsistent(output);
    expect(await quantize([model, ...quickly, '-o', output])).toMatchObject({ status: 0, stderr: '' });
    expect(beside(output)).toEqual(['m.gguf']);
    expect(hashOf(output)).toBe(hashOf(expected));
  });
});

describe('two runs to one output', () => {
  it('the second is refused, naming the first', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    const first = await running(output);
    const { status, stderr } = await quantize([model, ...quickly, '-o', output, '--force']);
    expect(stderr).toBe(
      'error: another run is writing this output\n' +
        `  file:     ${output}\n` +
        `  got:      process ${first.pid} holds ${output}.partial.json\n` +
        '  to do:    wait for it, stop it, or choose another -o\n',
    );
    expect(status).toBe(1);
    first.child.kill('SIGINT');
    expect((await first.ended).status).toBe(130);
    expectConsistent(output);
  });

  it('one wins when several find a dead run at the same time', async () => {
    const output = join(temporaryDirectory(), 'm.gguf');
    writeFileSync(`${output}.partial`, 'rest');
    writeFileSync(`${output}.partial.json`, JSON.stringify({ pid: 2 ** 22 + 1, processStart: '1' }));
    const runs = await Promise.all(
      Array.from({ length: 4 }, () => quantize([model, ...quickly, '--threads', '1', '-o', output])),
    );
    const won = runs.filter(({ status }) => status === 0);
    const late = runs.filter(({ stderr }) => /another run is writing|output already exists/.test(stderr));
    expect(runs.filter((run) => !won.includes(run) && !late.includes(run))).toEqual([]);
    expect(won).toHaveLength(1);
    expect(beside(output)).toEqual(['m.gguf']);
    expect(hashOf(output)).toBe(hashOf(expected));
  });
});
