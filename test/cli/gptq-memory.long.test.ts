import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { root } from '../support/cli.ts';

it.runIf(process.platform === 'linux')(
  'GPTQ takes what --memory says, and little more',
  () => {
    const argv = [
      'scripts/measure-gptq-memory.js',
      '--layers',
      '1',
      '--tokens',
      '16384',
      '--memory',
      '384M,512M',
    ];
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: root, encoding: 'utf8' });
    process.stdout.write(stdout);
    expect([status, stderr]).toEqual([0, '']);
  },
  900_000,
);
