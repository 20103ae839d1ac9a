import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type EvalFlags, evalCommand } from '../../src/cli/eval.ts';
import { InputNotFoundError } from '../../src/cli/files.ts';
import type { Evaluation } from '../../src/core/evaluation.ts';
import type { EvaluationOptions } from '../../src/model-runs.ts';
import { fakeIo } from '../support/io.ts';
import { evaluation } from '../support/results.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
const file = (name: string) => {
  const path = join(directory, name);
  writeFileSync(path, name);
  return path;
};
const [model, base, text] = ['m.gguf', 'base.safetensors', 'text.txt'].map(file);

async function command(found: Evaluation, flags: Partial<EvalFlags> = {}) {
  const fake = fakeIo();
  const calls: EvaluationOptions[] = [];
  await evalCommand(model, { text, ...flags }, fake.io, async (options, onEvent) => {
    calls.push(options);
    fake.advance(2);
    onEvent?.({ kind: 'calibration', layer: 3, layers: 2, step: 'logits', done: 10, total: 10 });
    return found;
  });
  return { fake, calls };
}

describe('quantize eval', () => {
  it('prints the perplexity', async () => {
    const { fake, calls } = await command(evaluation({ base: null }), { context: 256, windows: 100 });
    expect(fake.stdout()).toBe('eval   perplexity 12.346 ± 0.210 over 12.8 k tokens of eval.txt\n');
    expect(calls).toEqual([
      { input: model, text, context: 256, windows: 100, signal: fake.io.interruptible() },
    ]);
  });

  it('and against a base every figure in a table', async () => {
    const { fake, calls } = await command(evaluation(), { base, quiet: true });
    expect(calls[0]).toMatchObject({ base });
    const lines = fake.stdout().split('\n');
    for (const line of [
      /^perplexity +12\.3457 ± 0\.2100$/,
      /^perplexity of the base +12\.1000$/,
      /^KL divergence, mean +1\.40e-2 ± 3\.00e-4 +nat$/,
      /^KL divergence, median +5\.00e-3 +nat$/,
      /^KL divergence, 90 % +2\.00e-2 +nat$/,
      /^KL divergence, 99 % +9\.00e-2 +nat$/,
      /^KL divergence, 99\.9 % +3\.00e-1 +nat$/,
      /^KL divergence, largest +1\.20e\+0 +nat$/,
      /^same top token +95\.25 %$/,
    ]) {
      expect(lines).toContainEqual(expect.stringMatching(line));
    }
    expect(fake.stderr()).toBe('');
  });

  it('prints JSON', async () => {
    const { fake } = await command(evaluation(), { base, json: true });
    expect(JSON.parse(fake.stdout())).toEqual({
      schema: 'gguf-quantize/eval',
      version: 1,
      evaluation: evaluation(),
      run: { input: model, base, seconds: 2 },
    });
  });

  it('refuses what is not there', async () => {
    await expect(command(evaluation(), { text: join(directory, 'tekst.txt') })).rejects.toThrow(
      /text\.txt\?/,
    );
    await expect(command(evaluation(), { base: 'no base' })).rejects.toThrow(InputNotFoundError);
  });
});
