import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { root } from './cli.ts';

/**
 * A directory that lasts as long as the tests of this file, and in it `model`: a generated checkpoint, for runs that must last
 * while something happens to them. Of one layer it has 15 million weights (31 MB), of three 38 million (76 MB).
 */
export function generatedCheckpoint(layers: 1 | 3 = 1): {
  readonly directory: string;
  readonly model: string;
} {
  const directory = mkdtempSync(join(tmpdir(), 'quantize-generated-'));
  const model = join(directory, 'model');
  beforeAll(() => {
    const size = ['--gib', layers === 1 ? '0.02' : '0.06', '--hidden', '1024', '--vocab', '2048'];
    execFileSync(process.execPath, ['scripts/make-checkpoint.js', model, ...size], { cwd: root });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return { directory, model };
}

/** Options that make a run of the generated checkpoint last for many seconds, its chunks small and many. */
export const slowly = ['--type', 'Q4_K_M', '--kernels', 'scalar', '--threads', '2', '--chunk-size', '65536'];
