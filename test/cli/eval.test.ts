import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type EvalFlags, evalCommand } from '../../src/cli/eval.ts';
import { InputNotFoundError, ReportPathError } from '../../src/cli/files.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { Evaluation } from '../../src/core/evaluation.ts';
import { schemesFor } from '../../src/evaluate/requirements.ts';
import { type EvaluationOptions, schemesForFiles } from '../../src/model-runs.ts';
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

async function command(found: Evaluation, flags: Partial<EvalFlags> = {}, models = [model]) {
  const fake = fakeIo();
  const calls: EvaluationOptions[] = [];
  await evalCommand(models, { text, command: ['eval', ...models], ...flags }, fake.io, {
    evaluate: async (options, onEvent) => {
      calls.push(options);
      fake.advance(2);
      onEvent?.({ kind: 'calibration', layer: 3, layers: 2, step: 'logits', done: 10, total: 10 });
      return { ...found, gemm: 'wasm', withoutBlas: 'none' };
    },
    // Only the base's kind of file is not ternary.
    schemesForFiles: (inputs, schemes) =>
      schemesFor(
        inputs.map((path) => ({ path, types: [path === base ? 'F16' : 'TQ2_0'] })),
        schemes,
      ),
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

  it('of several models one after another, each under its name; as JSON in a list', async () => {
    const both = [model, base];
    const shown = await command(evaluation({ base: null }), { quiet: true }, both);
    const line = 'eval   perplexity 12.346 ± 0.210 over 12.8 k tokens of eval.txt\n';
    expect(shown.fake.stdout()).toBe(`${model}\n${line}\n${base}\n${line}`);
    expect(shown.calls.map(({ input }) => input)).toEqual(both);
    const asJson = await command(evaluation({ base: null }), { quiet: true, json: true }, both);
    const list = JSON.parse(asJson.fake.stdout()) as { run: { input: string } }[];
    expect(list.map(({ run }) => run.input)).toEqual(both);
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

  it('puts quantized activations side by side, and layers', async () => {
    const base_ = evaluation().base!;
    const found = evaluation({
      weightBits: 4.83,
      activations: [
        { scheme: 'dynamic:8', bits: 8, perplexity: 12.5, standardError: 0.3, base: base_ },
        {
          ...{ scheme: 'dynamic-block:4', bits: 16, perplexity: 12.4, standardError: 0.3, base: base_ },
          floatInputs: { matrices: 29, of: 29 },
        },
        {
          ...{ scheme: 'bitlinear', bits: 8, perplexity: 13, standardError: 0.3, base: base_ },
          operations: {
            ...{ ternaryMatrices: 28, otherMatrices: 1, additions: 2e9, skippedZeros: 1e9 },
            ...{ multiplications: 2e6, multiplicationsSaved: 3e9, otherMultiplications: 5 },
          },
        },
      ],
      layers: [
        {
          ...{ tensor: 'blk.0.ffn_down.weight', layer: 0, expert: null, type: 'Q4_K', rows: 4, columns: 8 },
          ...{ inputs: 9, weightsOnly: 2e-3 },
          activations: [
            { scheme: 'dynamic:8', error: 3e-3 },
            { scheme: 'bitlinear', error: null },
          ],
        },
      ],
    });
    const { fake, calls } = await command(found, {
      ...{
        base,
        activations: ['none', 'dynamic', 'bitlinear', 'dynamic:8'],
        stats: text,
        layers: true,
        quiet: true,
      },
    });
    expect(calls[0]).toMatchObject({
      activations: [{ kind: 'dynamic', bits: 8, symmetric: true }, { kind: 'bitlinear' }],
      ...{ stats: text, layers: true },
    });
    const lines = fake.stdout().split('\n');
    for (const line of [
      /^blk\.0\.ffn_down\.weight +Q4_K +2\.00e-3 +3\.00e-3/,
      /^none +4\.8\/16 +12\.346 ± 0\.210 +1\.40e-2 +9\.00e-2 +95\.25 %$/,
      /^dynamic:8 +4\.8\/8 +12\.500 ± 0\.300/,
      /^dynamic-block:4 +4\.8\/16 +12\.400/,
      /^dynamic-block:4: inputs of 29 of 29 matrices, whose weights have 16 or 32 bits, kept as floats/,
      /^bitlinear: 28 ternary matrices \(1 others in float32\): 2\.00 B additions, 1\.00 B left out/,
    ]) {
      expect(lines).toContainEqual(expect.stringMatching(line));
    }
  });

  it('evaluates several files, and says of each which scheme does not apply to it', async () => {
    const two: Partial<EvalFlags> = { activations: ['bitlinear'], quiet: true };
    const found = evaluation({ base: null, weightBits: 2.06, activations: [] });
    const { fake, calls } = await command(found, { ...two, activations: ['dynamic', 'bitlinear'] }, [
      base,
      model,
    ]);
    expect(calls.map(({ activations }) => activations!.map(({ kind }) => kind))).toEqual([
      ['dynamic'],
      ['dynamic', 'bitlinear'],
    ]);
    const [ofBase, ofModel] = fake.stdout().split(model);
    expect(ofBase).toMatch(/^bitlinear +does not apply *$/m);
    const reason = 'no matrix has ternary weights (TQ1_0, TQ2_0 or Q1_0)';
    expect(ofBase).toContain(`\nbitlinear: does not apply, as ${reason}\n`);
    expect(ofModel).not.toContain('does not apply');
    const asJson = await command(found, { ...two, json: true }, [base, model]);
    const list = JSON.parse(asJson.fake.stdout()) as { evaluation: Evaluation }[];
    expect(list[0].evaluation.notApplied).toEqual([{ scheme: 'bitlinear', reason }]);
    expect(list[1].evaluation).not.toHaveProperty('notApplied');
  });

  it('refuses a scheme that applies to no file, before any is evaluated', async () => {
    const fake = fakeIo();
    const stages = {
      schemesForFiles,
      evaluate: () => Promise.reject(new Error('evaluated')),
    };
    const inputs = ['fixtures/sotu-3m', 'fixtures/sotu-3m/model.safetensors'];
    await expect(
      evalCommand(inputs, { text, command: [], activations: ['bitlinear'] }, fake.io, stages),
    ).rejects.toThrow(
      /BitLinear needs ternary weights\n +file: +\S*sotu-3m\S*, \S*sotu-3m\S*\n +expected: matrices of type TQ1_0/,
    );
  });

  it('refuses a scheme that there is not', async () => {
    await expect(command(evaluation(), { activations: ['int3'] })).rejects.toThrow(UsageError);
  });

  it('prints JSON', async () => {
    const { fake } = await command(evaluation(), { base, json: true });
    expect(JSON.parse(fake.stdout())).toEqual({
      schema: 'gguf-quantize/eval',
      version: 1,
      evaluation: evaluation(),
      run: { input: model, base, seconds: 2, gemm: 'wasm', withoutBlas: 'none' },
    });
  });

  it('writes a page, and nothing but a page, over nothing that is read', async () => {
    const report = join(directory, 'page.html');
    const found = evaluation({ weightBits: 4.5, activations: [], layers: [] });
    const { fake } = await command(found, { base, report, quiet: true });
    expect(readFileSync(report, 'utf8')).toContain(`<h1>m.gguf on eval.txt</h1>`);
    expect(readFileSync(report, 'utf8')).toContain(`<pre>quantize eval ${model}</pre>`);
    expect(fake.stdout()).toContain('KL divergence');
    await command(found, { base, report, quiet: true }); // a report may be replaced
    await expect(command(found, { report: join(directory, 'page.json') })).rejects.toThrow(
      /not the name of a page\n.*JSON is printed by --json/,
    );
    const mine = join(directory, 'mine.html');
    writeFileSync(mine, 'mine');
    await expect(command(found, { report: mine })).rejects.toThrow(ReportPathError);
    for (const [read, what] of [
      [{ text: mine }, 'text'],
      [{ base: mine }, 'base'],
      [{ stats: mine }, 'file of statistics'],
    ] as const) {
      await expect(command(found, { ...read, report: mine, force: true })).rejects.toThrow(
        `--report and the ${what} are the same file`,
      );
    }
    await command(found, { report: mine, force: true }); // beside the model: no file of a model is a page
    expect(readFileSync(mine, 'utf8')).toContain('<h1>m.gguf on eval.txt</h1>');
  });

  it('prints what it found before it fails to write the page', async () => {
    const fake = fakeIo();
    const place = temporaryDirectory();
    const report = join(place, 'page.html');
    const stages = {
      schemesForFiles,
      evaluate: async () => {
        rmSync(place, { recursive: true });
        return { ...evaluation({ base: null }), gemm: 'wasm' };
      },
    };
    const written = evalCommand([model], { text, command: [], report, quiet: true }, fake.io, stages);
    await expect(written).rejects.toThrow(ReportPathError);
    await expect(written).rejects.toThrow(`could not be written\n  file:     ${report}\n  got:      ENOENT`);
    expect(fake.stdout()).toContain('perplexity 12.346');
  });

  it.each([false, true])('prints what the files before one that fails gave; JSON %s', async (json) => {
    const fake = fakeIo();
    const stages = {
      schemesForFiles,
      evaluate: async ({ input }: EvaluationOptions) => {
        if (input === base) throw new UsageError('no such model');
        return { ...evaluation({ base: null }), gemm: 'wasm' };
      },
    };
    await expect(
      evalCommand([model, base], { text, command: [], json, quiet: true }, fake.io, stages),
    ).rejects.toThrow('no such model');
    if (json) expect(JSON.parse(fake.stdout())).toMatchObject([{ run: { input: model } }]);
    else expect(fake.stdout()).toMatch(new RegExp(`^${model}\neval   perplexity 12\\.346`));
  });

  it('refuses what is not there', async () => {
    await expect(command(evaluation(), { text: join(directory, 'tekst.txt') })).rejects.toThrow(
      /text\.txt\?/,
    );
    await expect(command(evaluation(), { stats: 'no/statistics' })).rejects.toThrow('quantize calibrate');
    await expect(command(evaluation(), { base: 'no base' })).rejects.toThrow(InputNotFoundError);
  });
});
