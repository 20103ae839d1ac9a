import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quantize, root, start } from '../support/cli.ts';
import { uniform } from '../support/random.ts';
import { outputsOf, reportOf } from '../support/runs.ts';

/** Ten kills at seeded moments anywhere in a run, start and end included; each time the run is then resumed to its end. */

let directory: string;
let model: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantize-kills-'));
  model = join(directory, 'model');
  const size = ['--gib', '0.15', '--hidden', '512', '--vocab', '4096', '--shard-gib', '0.06'];
  execFileSync(process.execPath, ['scripts/make-checkpoint.js', model, ...size], { cwd: root });
});
afterAll(() => rmSync(directory, { recursive: true }));
const at = (name: string) => join(directory, name);

describe.each([
  ['one', []],
  ['several', ['--split-max-size', '20M']],
])('a run with %s output file(s)', (stem, split) => {
  it('ends in the same bytes and report however it was killed', { timeout: 1_800_000 }, async () => {
    const job = [model, '--type', 'Q4_K_M', '--threads', '2', ...split];
    const whole = at(`${stem}-whole.gguf`);
    const started = performance.now();
    expect((await quantize([...job, '-o', whole, '--report', at(`whole-${stem}.json`)])).status).toBe(0);
    const duration = performance.now() - started;
    const files = outputsOf(whole);
    const report = reportOf(at(`whole-${stem}.json`));

    const random = uniform(20);
    let resumed = 0;
    for (let kill = 0; kill < 10; kill++) {
      const output = at(`${stem}-${kill}.gguf`);
      const argv = [...job, '-o', output, '--report', at(`${kill}-${stem}.json`)];
      const signal = kill % 3 === 2 ? 'SIGTERM' : 'SIGKILL';
      for (let again = kill % 2; again >= 0; again--) {
        const killed = start([...argv, '--resume']);
        await delay(random() * duration);
        killed.child.kill(signal);
        await killed.ended;
      }
      const { status, stderr } = await quantize([...argv, '--resume', '--force']);
      expect([kill, status]).toEqual([kill, 0]);
      if (/^resuming/m.test(stderr)) resumed++;
      expect(outputsOf(output)).toEqual(files);
      expect(reportOf(at(`${kill}-${stem}.json`))).toEqual(report);
    }
    expect(resumed).toBeGreaterThanOrEqual(4);
  });
});
