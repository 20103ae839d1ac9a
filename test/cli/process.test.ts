import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** The built program as a process: what only a process shows. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const quantize = (...argv: string[]) =>
  spawnSync(process.execPath, ['bin/quantize.js', ...argv], { cwd: root, encoding: 'utf8' });

describe('bin/quantize.js', () => {
  it('exits by the status and keeps the streams apart', () => {
    expect(quantize('--version')).toMatchObject({ status: 0, stderr: '' });
    expect(quantize('package.jsn')).toMatchObject({ status: 1, stdout: '' });
    expect(quantize('--tpye')).toMatchObject({ status: 2, stdout: '' });
  });

  it.each(['--version', '--help'])('loads little for %s, so that it starts fast', (option) => {
    // The coverage that V8 writes names every module that was loaded.
    const directory = mkdtempSync(join(tmpdir(), 'quantize-loaded-'));
    execFileSync(process.execPath, ['bin/quantize.js', option], {
      cwd: root,
      env: { ...process.env, NODE_V8_COVERAGE: directory },
    });
    const [file] = readdirSync(directory);
    const { result } = JSON.parse(readFileSync(join(directory, file), 'utf8')) as {
      result: { url: string }[];
    };
    rmSync(directory, { recursive: true });
    const loaded = result.map(({ url }) => url).filter((url) => url.startsWith('file:'));
    expect(loaded.some((url) => url.endsWith('/dist/cli/program.js'))).toBe(true);
    expect(
      loaded.filter((url) => /\/(ora|cli-table3)\/|\/dist\/(pipeline|plan|quantize|read|write)/.test(url)),
    ).toEqual([]);
    expect(loaded.length).toBeLessThan(40);
  });

  it('is quiet when the reader of its output leaves', async () => {
    const child = spawn(process.execPath, ['bin/quantize.js', '--help'], { cwd: root });
    child.stdout.destroy();
    const errors: Buffer[] = [];
    child.stderr.on('data', (chunk) => errors.push(chunk));
    const [status] = await once(child, 'close');
    expect([status, Buffer.concat(errors).toString()]).toEqual([0, '']);
  });
});

it('collects garbage where there is much of it', () => {
  const script = `
    import { processIo } from './dist/cli/process-io.js';
    const { io } = processIo();
    const used = () => process.memoryUsage().heapUsed / 1e6;
    let texts = Array.from({ length: 400_000 }, (_, i) => 'a token of some length ' + i);
    const before = used();
    texts = null;
    io.collectGarbage();
    console.log(JSON.stringify([before, used()]));`;
  const [before, after] = JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root, encoding: 'utf8' }),
  ) as [number, number];
  expect(before).toBeGreaterThan(25);
  expect(after).toBeLessThan(before / 2);
});

describe('signals', () => {
  const script = `
    import { processIo } from './dist/cli/process-io.js';
    import { reportFailure } from './dist/cli/run.js';
    const { io, interrupted } = processIo();
    const signal = io.interruptible();
    const busy = setInterval(() => {}, 1000);
    signal.addEventListener('abort', () => {
      io.stderr.write('stopping\\n');
      if (process.argv[1] === 'hang') return;
      clearInterval(busy);
      process.exitCode = reportFailure(signal.reason, io, interrupted);
    });
    io.stdout.write('ready\\n');`;

  async function interrupt(signal: NodeJS.Signals, behaviour: 'stop' | 'hang') {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, behaviour], { cwd: root });
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
      if (behaviour === 'hang') child.kill(signal);
    });
    await once(child.stdout, 'data');
    child.kill(signal);
    const [status] = await once(child, 'close');
    return { status, stderr };
  }

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s stops a run with status %i', async (signal, status) => {
    expect(await interrupt(signal, 'stop')).toEqual({
      status,
      stderr: `stopping\nerror: interrupted by ${signal}\n`,
    });
  });

  it('a second one ends a run that does not stop', async () => {
    expect(await interrupt('SIGINT', 'hang')).toEqual({ status: 130, stderr: 'stopping\n' });
  });
});
