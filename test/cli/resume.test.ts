import { execFileSync } from 'node:child_process';
import { closeSync, openSync, statSync, utimesSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { planQuantization } from '../../src/pipeline.ts';
import { bundledModel, hashOf, quantize, root, start, until } from '../support/cli.ts';
import { generatedCheckpoint } from '../support/generated.ts';
import { chunksIn, journalOf, outputsOf, reportOf } from '../support/runs.ts';

/** The built command, killed and resumed. */

const { directory, model } = generatedCheckpoint();
const at = (name: string) => join(directory, name);
/** A job of many chunks. */
const job = [model, '--type', 'Q3_K_M', '--threads', '2', '--chunk-size', '65536', '--histograms'];

/** The job undisturbed. */
const whole = at('undisturbed.gguf');
beforeAll(() => {
  const places = ['--quiet', '-o', whole, '--report', at('whole-one.json')];
  execFileSync(process.execPath, ['bin/quantize.js', ...job, ...places], { cwd: root });
});

/** By kernels that are slower to the same bytes, so that a run still goes on when the signal comes. */
const slow = ['--kernels', 'scalar'];

/** Starts a run and kills it as soon as its journal for an output file says that a chunk is done. */
async function kill(
  journaled: string,
  argv: readonly string[],
  done: () => boolean = () => chunksIn(journaled) > 0,
) {
  const run = start([...argv, ...slow]);
  await until(done, 'the first chunk');
  run.child.kill('SIGKILL');
  expect((await run.ended).signal).toBe('SIGKILL');
}

describe.each([
  ['one', 1, []],
  ['several', 3, ['--split-max-size', '3M']],
] as const)('a run with %s output file(s)', (stem, count, split) => {
  it('that was killed twice ends in the same files and report', async () => {
    const undisturbed = stem === 'one' ? whole : at(`${stem}-whole.gguf`);
    if (stem === 'several') {
      const places = ['-o', undisturbed, '--report', at(`whole-${stem}.json`)];
      expect((await quantize([...job, ...split, ...places])).status).toBe(0);
    }
    const files = outputsOf(undisturbed);
    expect(Object.keys(files)).toHaveLength(count);

    const [output, report] = [at(`${stem}-killed.gguf`), at(`killed-${stem}.json`)];
    const argv = [...job, ...split, '-o', output, '--report', report];
    await kill(at(`${stem}-killed${Object.keys(files)[0]}`), argv);
    const left = Object.keys(outputsOf(output));
    expect(left.filter((name) => !/\.partial(\.json|\.json\.next|\.lock)?$/.test(name))).toEqual([]);

    const other = await quantize([...job, ...split, '-o', output, '--type', 'Q3_K_S', '--resume']);
    expect(other.status).toBe(1);
    expect(other.stderr).toContain('type: "Q3_K_M" then, "Q3_K_S" now');

    const there = /^resuming: [1-9].* of 1\d.* M weights are there and were checked$/m;
    const second = start([...argv, '--resume', ...slow]);
    await until(() => second.stderr().includes('resuming'), 'the run to resume');
    second.child.kill('SIGTERM');
    const terminated = await second.ended;
    expect(terminated.stderr).toMatch(there);
    expect(terminated.stderr).toContain('run again with --resume');
    expect(terminated.status).toBe(143);

    const last = await quantize([...argv, '--resume', '--threads', '1']);
    expect(last.stderr).toMatch(there);
    expect(last.status).toBe(0);
    expect(outputsOf(output)).toEqual(files);
    expect(reportOf(report)).toEqual(reportOf(at(`whole-${stem}.json`)));
  });
});

describe('resuming', () => {
  it('finds out what the disk lost, and does it again', async () => {
    const output = at('lost.gguf');
    await kill(output, [...job, '-o', output], () => (journalOf(output)?.tensors[0]?.[0] ?? 0) > 0);
    const [{ offsets }] = planQuantization({ input: model, type: 'Q3_K_M' }).layout.files;
    const descriptor = openSync(`${output}.partial`, 'r+');
    writeSync(descriptor, new Uint8Array(4096), 0, 4096, offsets[0]);
    closeSync(descriptor);
    const { status, stderr } = await quantize([...job, '-o', output, '--resume']);
    expect(stderr).toMatch(/^resuming: |^nothing to resume/m);
    expect(status).toBe(0);
    expect(hashOf(output)).toBe(hashOf(whole));
  });

  it('refuses when the input was touched; without --resume the run starts over', async () => {
    const output = at('touched.gguf');
    await kill(output, [...job, '-o', output]);
    const weights = join(model, 'model.safetensors');
    const { atime, mtime } = statSync(weights);
    utimesSync(weights, atime, new Date(0));
    const { status, stderr } = await quantize([...job, '-o', output, '--resume']);
    utimesSync(weights, atime, mtime);
    expect(status).toBe(1);
    expect(stderr).toMatch(/modification time of model.safetensors: .* then, 1970-01-01T00:00:00.000Z now/);
    expect((await quantize([...job, '-o', output])).stderr).not.toMatch(/resum/);
    expect(hashOf(output)).toBe(hashOf(whole));
  });

  it('starts over with nothing to resume', async () => {
    const { status, stderr } = await quantize([
      bundledModel,
      '--type',
      'Q8_0',
      '-o',
      at('new.gguf'),
      '--resume',
    ]);
    expect(stderr).toContain('nothing to resume: starting over');
    expect(status).toBe(0);
  });

  it('works for safetensors too', async () => {
    const output = at('decoded.safetensors');
    const decode = ['dequantize', whole, '-o', output, '--threads', '1', '--chunk-size', '32768', '--quiet'];
    await kill(output, decode);
    expect(await quantize([...decode, '--resume'])).toMatchObject({ status: 0, stderr: '' });
    const resumed = hashOf(output);
    expect((await quantize([...decode, '--force'])).status).toBe(0);
    expect(hashOf(output)).toBe(resumed);
  });

  it.each(['-', '/dev/null'])('is no use for a stream: -o %s', async (output) => {
    const { status, stderr } = await quantize([bundledModel, '--type', 'Q8_0', '-o', output, '--resume']);
    expect(stderr).toContain('a resumed run cannot go to');
    expect(status).toBe(2);
  });
});
