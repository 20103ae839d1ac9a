import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Report } from '../../src/report/report.ts';
import { bundledModel, memoryOf, root, start } from '../support/cli.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Peak resident memory of whole runs, by the kernel and by the report. (Gigabytes: the long tests.) */

/** Runs quantize at two threads and gives the highest VmHWM that was seen, and the report's figure, in bytes. */
async function peaks(input: string, options: readonly string[] = []) {
  const place = temporaryDirectory();
  const report = join(place, 'report.json');
  const output = options.includes('-o') ? [] : ['-o', join(place, 'm.gguf')];
  const what = options.includes('--method') ? [] : ['--type', 'Q4_K_M'];
  const argv = [input, ...what, ...output, ...options, '--threads', '2', '--report', report];
  const run = start([...argv, '--quiet']);
  run.child.stdout?.resume();
  let running = true;
  const ended = run.ended.finally(() => {
    running = false;
  });
  let seen = 0;
  while (running) {
    seen = Math.max(seen, memoryOf(run.pid, 'VmHWM') ?? 0);
    await delay(5);
  }
  expect(await ended).toMatchObject({ status: 0, stderr: '' });
  const { peakRssBytes } = (JSON.parse(readFileSync(report, 'utf8')) as Report).run;
  return { seen, reported: peakRssBytes };
}

describe.runIf(process.platform === 'linux')('peak memory', () => {
  it.each([
    ['to a file', []],
    ['to a pipe', ['-o', '-']],
    ['of 8-bit zero-point', ['--method', 'zero-point', '--bits', '8']],
  ])('of the bundled model, %s', async (_name, options) => {
    // This process, here made larger than any run, must not count; ru_maxrss is inherited from it.
    const ballast = Buffer.alloc(200e6, 1);
    const { seen, reported } = await peaks(bundledModel, options);
    expect(reported).toBeLessThan(150e6); // 90 MB under Node 20, 120 under Node 24
    expect(reported).toBeLessThan(ballast.length);
    expect(Math.abs(seen - reported)).toBeLessThan(8e6); // what the report itself takes, and the last look
  });

  it('of a tokenizer of 128k tokens and 252k merges', async () => {
    const model = join(temporaryDirectory(), 'model');
    const size = ['--gib', '0.01', '--hidden', '64', '--vocab', '128256'];
    execFileSync(process.execPath, ['scripts/make-checkpoint.js', model, ...size], { cwd: root });
    const { seen, reported } = await peaks(model);
    expect(Math.max(seen, reported)).toBeLessThan(190e6); // 140 MB under Node 20, 165 under Node 24
  });
});
