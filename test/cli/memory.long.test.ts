import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { root } from '../support/cli.ts';

it.runIf(process.platform === 'linux')(
  'runs of gigabytes, of large vocabularies and of huge rows stay within their memory',
  () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/measure-memory.js'], {
      cwd: root,
      encoding: 'utf8',
    });
    process.stdout.write(stdout);
    expect([status, stderr]).toEqual([0, '']);
  },
  900_000,
);
