import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { repository } from '../support/checkpoints.ts';
import { journals, outputsOf, reportOf, run, start } from '../support/runs.ts';

/** The built command, killed and resumed. */

let directory: string;
let model: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantize-resume-'));
  model = join(directory, 'model');
  const size = ['--gib', '0.06', '--hidden', '512', '--vocab', '4096', '--shard-gib', '0.04'];
  execFileSync(process.execPath, [join(repository, 'scripts/make-checkpoint.js'), model, ...size]);
});
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string) => join(directory, name);
/** A slow job of many chunks. */
const job = () => [model, '--type', 'Q3_K_M', '--threads', '2', '--chunk-size', '131072'];

/** Starts a run and kills it as soon as its journal for an output file says that a chunk is done. */
async function kill(journaled: string, ...argv: string[]) {
  const started = start(...argv);
  await journals(journaled, started);
  started.process.kill('SIGKILL');
  return started.ended;
}

describe.each([
  ['one', []],
  ['three', ['--split-max-size', '6M']],
])('a run with %s output file(s)', (stem, split) => {
  it('that was killed twice ends in the same files and report', async () => {
    const whole = [at(`${stem}-whole.gguf`), at(`whole-${stem}.json`)];
    expect(run(...job(), ...split, '-o', whole[0], '--report', whole[1], '--force').status).toBe(0);
    const files = outputsOf(whole[0]);
    expect(Object.keys(files)).toHaveLength(stem === 'one' ? 1 : 3);

    const [output, report] = [at(`${stem}-killed.gguf`), at(`killed-${stem}.json`)];
    const argv = [...job(), ...split, '-o', output, '--report', report];
    const journaled = at(`${stem}-killed${Object.keys(files)[0]}`);
    const killed = await kill(journaled, ...argv);
    expect(killed.signal).toBe('SIGKILL');
    expect(Object.keys(outputsOf(output)).every((file) => /\.partial(\.json|\.lock)?$/.test(file))).toBe(
      true,
    );

    const other = run(...job(), ...split, '-o', output, '--type', 'Q3_K_S', '--resume');
    expect(other.status).toBe(1);
    expect(other.stderr).toContain('type: "Q3_K_M" then, "Q3_K_S" now');

    const resumed = start(...argv, '--resume');
    await resumed.says('resuming');
    resumed.process.kill('SIGTERM');
    const terminated = await resumed.ended;
    expect(terminated.status).toBe(143);
    expect(terminated.stderr).toMatch(/^resuming: [1-9].* of 3\d.* M weights are there and were checked$/m);
    expect(terminated.stderr).toContain('run again with --resume');

    const last = run(...argv, '--resume', '--threads', '1', '--kernels', 'simd');
    expect(last.stderr).toMatch(/^resuming: [1-9].* of 3\d.* M weights are there and were checked$/m);
    expect(last.status).toBe(0);
    expect(outputsOf(output)).toEqual(files);
    expect(reportOf(report)).toEqual(reportOf(whole[1]));
  });
});

describe('resuming', () => {
  it('finds out what the disk lost, and does it again', async () => {
    const output = at('lost.gguf');
    await kill(output, ...job(), '-o', output);
    const before = run(...job(), '-o', at('lost-not.gguf'));
    expect(before.status).toBe(0);
    const descriptor = openSync(`${output}.partial`, 'r+');
    writeSync(descriptor, new Uint8Array(4096), 0, 4096, 1_000_000);
    closeSync(descriptor);
    const { status, stderr } = run(...job(), '-o', output, '--resume');
    expect([status, stderr]).toEqual([0, expect.stringMatching(/resuming: \d+|starting over/)]);
    expect(readFileSync(output).equals(readFileSync(at('lost-not.gguf')))).toBe(true);
  });

  it('refuses when the input was touched, and starts over without --resume', async () => {
    const output = at('touched.gguf');
    await kill(output, ...job(), '-o', output);
    const shard = join(model, 'model-00002-of-00002.safetensors');
    const { atime, mtime } = statSync(shard);
    utimesSync(shard, atime, new Date(0));
    const { status, stderr } = run(...job(), '-o', output, '--resume');
    utimesSync(shard, atime, mtime);
    expect(status).toBe(1);
    expect(stderr).toContain('modification time of model-00002-of-00002.safetensors');
    expect(run(...job(), '-o', output).stderr).not.toContain('resuming');
    expect(statSync(output).size).toBeGreaterThan(0);
  });

  it('starts over with nothing to resume', () => {
    const { status, stderr } = run('fixtures/sotu-3m', '--type', 'Q8_0', '-o', at('new.gguf'), '--resume');
    expect(stderr).toContain('nothing to resume: starting over');
    expect(status).toBe(0);
  });

  it.each(['-', '/dev/null'])('is no use for a stream: -o %s', (output) => {
    const { status, stderr } = run('fixtures/sotu-3m', '--type', 'Q8_0', '-o', output, '--resume');
    expect(status).toBe(2);
    expect(stderr).toContain('a resumed run cannot go to');
  });
});
