import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { hashOf, hashOfStream, quantize, type Run, root, start, until } from '../support/cli.ts';
import { canMount } from '../support/mount.ts';
import { journalOf, reportOf } from '../support/runs.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

/** The built command under --method gptq: killed, resumed, interrupted, to a stream, without room. */

const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const text = at('text.txt');
const job = [
  ...[at('model'), '--method', 'gptq', '--type', 'Q4_K_M', '--leave-output-tensor', '--gemm', 'wasm'],
  ...['--calibration', text, '--calibration-tokens', '4096', '--context', '256', '--threads', '2'],
];
const whole = at('whole.gguf');

beforeAll(() => {
  tinyLlama(at('model'));
  writeFileSync(text, readFileSync(join(root, 'fixtures/text/eval.txt'), 'utf8').slice(0, 60_000));
  const argv = ['bin/quantize.js', ...job, '--quiet', '-o', whole, '--report', at('whole.json')];
  execFileSync(process.execPath, argv, { cwd: root });
});

/** Matrices that a run's journal says are calibrated and written. */
const calibratedIn = (output: string): number =>
  (journalOf(output)?.tensors ?? []).filter(
    ([chunks, , , , calibration]) => chunks > 0 && calibration !== null,
  ).length;

/** A run that has coded some matrices of 14, and is not done. */
async function midway(output: string, ...options: readonly string[]): Promise<Run> {
  const run = start([...job, '-o', output, ...options]);
  await until(() => calibratedIn(output) >= 3, 'the first matrices');
  return run;
}

describe('a run that was killed', () => {
  const output = at('killed.gguf');
  const resumed = [...job, '-o', output, '--report', at('killed.json'), '--resume'];

  it('is another job once the text, the damping or the order has changed', async () => {
    const run = await midway(output);
    run.child.kill('SIGKILL');
    expect((await run.ended).signal).toBe('SIGKILL');
    expect(calibratedIn(output)).toBeLessThan(14);
    const before = readFileSync(`${output}.partial.json`, 'utf8');

    const damped = await quantize([...resumed, '--damp', '0.02']);
    expect([damped.status, damped.stderr]).toEqual([1, expect.stringMatching(/damp[\s\S]*0\.02/)]);
    const ordered = await quantize([...resumed, '--act-order']);
    expect([ordered.status, ordered.stderr]).toEqual([1, expect.stringMatching(/actOrder/)]);
    const prose = readFileSync(text, 'utf8');
    writeFileSync(text, `A${prose}`);
    const other = await quantize(resumed);
    writeFileSync(text, prose);
    expect([other.status, other.stderr]).toEqual([
      1,
      expect.stringMatching(/calibration text: "\d+ tokens, SHA-256 \w+" then, "/),
    ]);
    expect(readFileSync(`${output}.partial.json`, 'utf8')).toBe(before);
  });

  it('ends in the same file and report', async () => {
    const { status, stderr } = await quantize(resumed);
    expect(stderr).toMatch(/^resuming: [1-9]/m);
    expect(status).toBe(0);
    expect(hashOf(output)).toBe(hashOf(whole));
    expect(reportOf(at('killed.json'))).toEqual(reportOf(at('whole.json')));
  });
});

it('SIGINT: ends at once, keeps what is coded, leaves no scratch files', async () => {
  const output = at('interrupted.gguf');
  const scratch = at('scratch');
  mkdirSync(scratch);
  // Hidden states of 48 MB do not fit in a quarter of that.
  const env = { ...process.env, NO_COLOR: '1', TMPDIR: scratch };
  const argv = [...job, '-o', output, '--memory', '96M', '--calibration-tokens', '4096'];
  const run = start(argv, { env });
  await until(() => calibratedIn(output) >= 1, 'the first matrices');
  const asked = performance.now();
  run.child.kill('SIGINT');
  const { status, stderr } = await run.ended;
  expect(performance.now() - asked).toBeLessThan(3000);
  expect(status).toBe(130);
  expect(stderr).toContain(
    `kept ${output}.partial and ${output}.partial.json for --resume; any other run replaces them\n` +
      `error: interrupted by SIGINT\n  file:     ${output}\n`,
  );
  expect(stderr).not.toMatch(/\n {4}at /);
  expect(readdirSync(scratch)).toEqual([]);
  expect(
    readdirSync(directory)
      .filter((name) => name.startsWith('interrupted'))
      .toSorted(),
  ).toEqual(['interrupted.gguf.partial', 'interrupted.gguf.partial.json']);
});

it.each([
  ['imatrix', ['imatrix', at('model'), '-o', at('imatrix.gguf'), '--tokens', '131072']],
  ['eval', ['eval', at('model'), '--text', join(root, 'fixtures/text/eval.txt')]],
])('SIGINT in quantize %s: ends at once, leaves nothing', async (_name, argv) => {
  const before = readdirSync(directory);
  // Slow enough to be seen at work.
  const run = start([...argv, '--gemm', 'wasm', '--threads', '1']);
  await until(() => /layer \d/.test(run.stderr()), 'the first layer');
  run.child.kill('SIGINT');
  const { status, stderr } = await run.ended;
  expect(status).toBe(130);
  expect(stderr).toMatch(/error: interrupted by SIGINT\n$/);
  expect(readdirSync(directory)).toEqual(before);
});

it('writes to a stream what it writes to a file', async () => {
  const run = start([...job, '--quiet', '-o', '-']);
  const hash = await hashOfStream(run.child.stdout!);
  expect(await run.ended).toMatchObject({ status: 0, stderr: '' });
  expect(hash).toBe(hashOf(whole));
});

it.runIf(canMount)('no room for scratch files (needs the right to mount)', async () => {
  const disk = at('disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'quantize-test', disk], { stdio: 'ignore' });
  onTestFinished(() => void execFileSync('umount', [disk]));
  const output = at('full.gguf');
  const env = { ...process.env, NO_COLOR: '1', TMPDIR: disk };
  const argv = [...job, '--quiet', '-o', output, '--memory', '90M', '--calibration-tokens', '32768'];
  const { status, stderr } = await quantize(argv, { env });
  expect(stderr).toMatch(/error: cannot use the scratch file for .+\n {2}file: +.*disk\n {2}got: +ENOSPC/);
  expect(stderr).toMatch(/to do: +free space in this folder, name another by TMPDIR, or allow more memory/);
  expect(status).toBe(1);
  expect(readdirSync(disk)).toEqual([]);
  expect(readdirSync(directory)).not.toContain('full.gguf');
});
