import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundledModel, root, shell } from '../support/cli.ts';
import { outputsOf } from '../support/runs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** The commands of docs/distributed.md, as three processes side by side in a shell. */

const text = readFileSync(join(root, 'docs/distributed.md'), 'utf8');

/** The command in the code block below a heading, its continuation lines joined. */
function commandOf(heading: string): string {
  const [, block] = text.split(`### ${heading}\n`)[1].split('```');
  return /^ *(quantize .*)$/m.exec(block.replaceAll(/\\\n */g, ''))![1];
}

async function runAll(command: string, variables: (part: number) => Record<string, string>) {
  const directory = temporaryDirectory();
  symlinkSync(bundledModel, join(directory, 'model'));
  mkdirSync(join(directory, 'bin'));
  symlinkSync(join(root, 'bin/quantize.js'), join(directory, 'bin/quantize'));
  const ended = await Promise.all(
    [1, 2, 3].map((part) => {
      const env = { ...process.env, ...variables(part), PATH: `${directory}/bin:${process.env.PATH}` };
      return shell(command.replace(/\$\{\{ matrix.part \}\}/, String(part)), { cwd: directory, env }).ended;
    }),
  );
  expect(ended.map(({ status, stderr }) => [status, status === 0 ? '' : stderr])).toEqual(
    [1, 2, 3].map(() => [0, '']),
  );
  return outputsOf(join(directory, 'out.gguf'));
}

describe('docs/distributed.md', () => {
  it('gives the same three files by every recipe', async () => {
    const slurm = await runAll(commandOf('Slurm'), (part) => ({
      SLURM_ARRAY_TASK_ID: String(part),
      SLURM_ARRAY_TASK_COUNT: '3',
      SLURM_CPUS_PER_TASK: '1',
    }));
    expect(Object.keys(slurm)).toEqual([1, 2, 3].map((n) => `-0000${n}-of-00003.gguf`));
    const kubernetes = commandOf('Kubernetes').replace('--threads 16', '--threads 1');
    expect(
      await runAll(kubernetes, (part) => ({ JOB_COMPLETION_INDEX: String(part - 1), PARTS: '3' })),
    ).toEqual(slurm);
    const actions = commandOf('GitHub Actions').replace(/\$\{\{ strategy.job-total \}\}/, '3');
    expect(await runAll(actions, () => ({}))).toEqual(slurm);
  });
});
