import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InputNotFoundError, ReportPathError } from '../../src/cli/files.ts';
import { Interrupted } from '../../src/cli/io.ts';
import type { QuantizeFlags } from '../../src/cli/options.ts';
import { QualityError } from '../../src/cli/quality.ts';
import { type Pipeline, quantizeCommand } from '../../src/cli/quantize.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { Plan } from '../../src/core/plan.ts';
import type { QuantizeOptions } from '../../src/pipeline.ts';
import { fakeIo } from '../support/io.ts';
import { calibrated, calibrationFacts, evaluation, planned, result, sums } from '../support/results.ts';

const fallback = planned({
  name: 'blk.0.attn_v.weight',
  type: 'Q5_0',
  encoder: 'Q5_0',
  fallbackFrom: 'Q4_K',
});
const finished = result([
  [planned(), sums(1024, 0.125)],
  [fallback, sums(1024, 0.0625)],
]);

const layout = {
  fileBytes: 5000,
  files: [{ fileBytes: 5000, header: new Uint8Array(64), first: 0, end: 2, offsets: [64, 640] }],
  split: null,
};

/** Stages that do nothing but tell of a run with this plan. */
function fakePipeline(over: Partial<Plan> = {}) {
  const calls: QuantizeOptions[] = [];
  const made = { ...finished.plan, ...over };
  const output = 'out.gguf';
  const pipeline: Pipeline = {
    planQuantization: (options) => {
      calls.push(options);
      return { plan: made, layout, output, inputs: [] };
    },
    quantize: async (options, onEvent = () => {}) => {
      calls.push(options);
      onEvent({ kind: 'stage', stage: 'plan' });
      onEvent({ kind: 'plan', plan: made, layout, output });
      return { ...finished, plan: made, output: options.output === '-' ? null : output };
    },
  };
  return { pipeline, calls };
}

let directory: string;
let model: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantize-cli-'));
  model = join(directory, 'model.safetensors');
  writeFileSync(model, 'weights');
});
afterEach(() => rmSync(directory, { recursive: true }));

async function runWith(flags: QuantizeFlags, over: Partial<Plan> = {}, fake = fakeIo()) {
  const { pipeline, calls } = fakePipeline(over);
  await quantizeCommand(model, flags, fake.io, pipeline);
  return { fake, calls };
}

describe('a run', () => {
  it('tells people on stderr, and stdout nothing', async () => {
    const { fake } = await runWith({ type: 'Q4_K_M' });
    expect(fake.stdout()).toBe('');
    expect(fake.lines().at(-1)).toBe(
      'wrote out.gguf: 4.88 KiB, 5.00 bits per weight, SQNR 20.1 dB, in 1.3 s',
    );
    expect(fake.stderr()).toContain('fallback Q4_K -> Q5_0 in 1 tensor: +1.00 bits per weight, +128 B');
    expect(fake.stderr()).not.toContain('\u001b');
    for (const line of fake.lines()) expect(line.length).toBeLessThanOrEqual(100);
  });

  it('prints warnings, and says twice that llama.cpp cannot run the file', async () => {
    const { fake } = await runWith({}, { runnable: { yes: false, reason: 'no config' }, warnings: ['odd'] });
    expect(fake.lines().filter((line) => line.startsWith('warning:'))).toEqual([
      'warning: llama.cpp cannot run this file: no config',
      'warning: odd',
      'warning: llama.cpp cannot run this file: no config',
    ]);
  });

  it('tells what it chose as a note, no warning', async () => {
    const { fake } = await runWith({}, { notes: ['no --type was given'], warnings: ['odd'] });
    expect(fake.stderr()).toContain('note: no --type was given\nwarning: odd\n');
  });

  it('counts warnings beyond ten', async () => {
    const { fake } = await runWith({}, { warnings: Array.from({ length: 14 }, (_, i) => `w${i}`) });
    expect(fake.stderr()).toContain('warning: w9\nwarning: and 4 more');
  });

  it('is silent when quiet', async () => {
    const { fake } = await runWith(
      { quiet: true },
      { runnable: { yes: false, reason: 'x' }, warnings: ['odd'] },
    );
    expect([fake.stdout(), fake.stderr()]).toEqual(['', '']);
  });

  it('shows times when verbose', async () => {
    const { fake } = await runWith({ verbose: true });
    expect(fake.stderr()).toContain('quantize 1.2 s');
    expect(fake.stderr()).toContain('2 threads, simd kernels, peak memory 100 MiB');
  });

  it('colours for FORCE_COLOR, and not for NO_COLOR on a terminal', async () => {
    const forced = await runWith({}, {}, fakeIo({ env: { FORCE_COLOR: '1' } }));
    expect(forced.fake.stderr()).toContain('\u001b[1m');
    const plain = await runWith({}, {}, fakeIo({ stderrIsTTY: true, env: { NO_COLOR: '1', CI: '1' } }));
    expect(plain.fake.stderr()).not.toContain('\u001b');
  });

  it('passes a signal that aborts when the user interrupts', async () => {
    const { calls, fake } = await runWith({});
    expect(calls[0].signal?.aborted).toBe(false);
    fake.abort(new Interrupted('SIGINT'));
    expect(calls[0].signal?.reason).toBeInstanceOf(Interrupted);
  });
});

describe('a run that calibrates', () => {
  it('hands on its options, and tells its warnings at the end', async () => {
    const { pipeline, calls } = fakePipeline();
    const made = {
      ...finished,
      tensors: finished.tensors.map((each) => ({ ...each, calibration: calibrated({ tokens: 100 }) })),
      calibration: { ...calibrationFacts(), gemm: 'wasm-relaxed', withoutBlas: 'koffi is not installed' },
      evaluation: evaluation({
        weightBits: 4.5,
        activations: [{ ...evaluation(), scheme: 'dynamic:8', bits: 8 }],
      }),
    };
    const fake = fakeIo();
    const flags = {
      ...{ method: 'gptq', calibrationTokens: 100, damp: 0.02, eval: 'e.txt', verbose: true },
      activations: ['dynamic'],
    };
    await quantizeCommand(model, flags, fake.io, {
      ...pipeline,
      quantize: async (options) => {
        calls.push(options);
        return made;
      },
    });
    expect(calls[0]).toMatchObject({ method: 'gptq', calibrationTokens: 100, damp: 0.02, evalText: 'e.txt' });
    const lines = fake.lines();
    expect(lines).toContainEqual(expect.stringMatching(/^warning: 2 tensors saw fewer than 4 inputs/));
    expect(lines).toContainEqual(expect.stringMatching(/^eval +perplexity 12\.346/));
    expect(calls[0].activations).toEqual([{ kind: 'dynamic', bits: 8, symmetric: true }]);
    expect(lines).toContainEqual(expect.stringMatching(/^dynamic:8 +4\.5\/8 +12\.346/));
    expect(lines).toContainEqual(expect.stringContaining('wasm-relaxed matrix products'));
    expect(lines).toContain('       no BLAS: koffi is not installed');
  });
});

describe('the JSON report', () => {
  it('alone is on stdout with --json, or --report -', async () => {
    for (const flags of [{ json: true }, { report: ['-'] }, { json: true, report: ['-'] }]) {
      const { fake } = await runWith(flags);
      expect(JSON.parse(fake.stdout())).toMatchObject({ schema: 'gguf-quantize/report', version: 1 });
      expect(fake.stderr()).toContain('wrote out.gguf');
    }
  });

  it('goes to a file whole, leaving nothing beside it', async () => {
    const path = join(directory, 'r.json');
    await runWith({ report: [path], quiet: true });
    const text = readFileSync(path, 'utf8');
    expect(JSON.parse(text).model.tensors).toBe(2);
    expect(text.endsWith('}\n')).toBe(true);
    expect(readdirSync(directory).sort()).toEqual(['model.safetensors', 'r.json']);
    await runWith({ report: [path], quiet: true }); // a report may be replaced
  });

  it('goes through a link', async () => {
    const [path, link] = [join(directory, 'r.json'), join(directory, 'link.json')];
    writeFileSync(path, '');
    symlinkSync(path, link);
    await runWith({ report: [link] });
    expect(readFileSync(path, 'utf8')).toContain('gguf-quantize/report');
  });

  it('does not replace another file without --force', async () => {
    mkdirSync(join(directory, 'reports'));
    const path = join(directory, 'reports/notes.txt');
    writeFileSync(path, 'mine');
    await expect(runWith({ report: [path] })).rejects.toThrow(ReportPathError);
    expect(readFileSync(path, 'utf8')).toBe('mine');
    await runWith({ report: [path], force: true });
    expect(readFileSync(path, 'utf8')).toContain('gguf-quantize/report');
  });

  it('does not replace what lies beside the model even with --force', async () => {
    const path = join(directory, 'config.json');
    writeFileSync(path, '{"hidden_size": 1}');
    await expect(runWith({ report: [path], force: true })).rejects.toThrow(ReportPathError);
    expect(readFileSync(path, 'utf8')).toBe('{"hidden_size": 1}');
  });

  it.each([
    ['the input', () => ({ report: [model], force: true }), UsageError],
    [
      'the input by a link',
      () => {
        symlinkSync(model, join(directory, 'link.json'));
        return { report: [join(directory, 'link.json')], force: true };
      },
      UsageError,
    ],
    ['the output', () => ({ output: join(directory, 'o'), report: [`${directory}/./o`] }), UsageError],
    [
      'the text it is calibrated on',
      () => ({ calibration: [join(directory, 't.txt')], report: [join(directory, 't.txt')], force: true }),
      UsageError,
    ],
    [
      'the text it is evaluated on',
      () => ({ eval: join(directory, 't.txt'), report: [join(directory, 't.txt')], force: true }),
      UsageError,
    ],
    [
      'the statistics',
      () => ({ stats: join(directory, 's'), report: [join(directory, 's')], force: true }),
      'the file of statistics are the same file',
    ],
    ['a model', () => ({ report: [join(directory, 'x.gguf')] }), UsageError],
    ['a directory', () => ({ report: [directory] }), ReportPathError],
    ['a directory that is not there', () => ({ report: [join(directory, 'no/r.json')] }), ReportPathError],
  ])('never goes to %s', async (_name, flags, error) => {
    const { pipeline, calls } = fakePipeline();
    await expect(quantizeCommand(model, flags(), fakeIo().io, pipeline)).rejects.toThrow(error);
    expect(calls).toEqual([]); // before any work
    expect(readFileSync(model, 'utf8')).toBe('weights');
  });
});

describe('standard output', () => {
  it.each([{ json: true }, { report: ['-'] }])('cannot hold GGUF and %j', async (flags) => {
    await expect(runWith({ output: '-', ...flags })).rejects.toThrow(UsageError);
  });

  it('carries a GGUF unless it is a terminal', async () => {
    const { fake, calls } = await runWith({ output: '-' });
    expect(calls[0].output).toBe('-');
    expect(fake.stderr()).toContain('wrote to standard output: ');
    await expect(runWith({ output: '-' }, {}, fakeIo({ stdoutIsTTY: true }))).rejects.toThrow(UsageError);
  });
});

describe('quality bars', () => {
  it('end the run after the report is written', async () => {
    const path = join(directory, 'r.json');
    const fake = fakeIo();
    await expect(runWith({ report: [path], minSqnr: 20 }, {}, fake)).rejects.toThrow(QualityError);
    expect(readFileSync(path, 'utf8')).toContain('gguf-quantize/report');
    expect(fake.stderr()).toContain('wrote out.gguf');
  });
});

describe('--dry-run', () => {
  it('prints the plan as a table', async () => {
    const { fake, calls } = await runWith({ dryRun: true, type: 'Q4_K_M' }, { warnings: ['odd'] });
    expect(calls).toEqual([{ input: model, type: 'Q4_K_M' }]);
    expect(fake.stdout()).toMatchInlineSnapshot(`
      "tensor                 type  shape      size  reason
      ──────────────────────────────────────────────────────────────────────
      blk.0.ffn_down.weight  Q4_K  [256, 4]  576 B  mixture Q4_K_M
      blk.0.attn_v.weight    Q5_0  [256, 4]  704 B  not Q4_K: mixture Q4_K_M

      Q4_K_M by kquant: 2.05 k weights in 2 tensors, 5.00 bits per weight, file 4.88 KiB
      fallback Q4_K -> Q5_0 in 1 tensor: +1.00 bits per weight, +128 B
             rows do not divide into blocks of Q4_K, as in blk.0.attn_v.weight
      nothing was written (--dry-run)
      "
    `);
    expect(fake.stderr()).toBe('warning: odd\n');
  });

  it('prints the plan as JSON, long arrays abbreviated', async () => {
    const { fake } = await runWith({ dryRun: true, json: true });
    const json = JSON.parse(fake.stdout());
    expect(json).toMatchObject({
      schema: 'gguf-quantize/plan',
      version: 1,
      fileBytes: 5000,
      fileType: 'Q4_K_M',
    });
    expect(json.tensors[1]).toMatchObject({ type: 'Q5_0', fallbackFrom: 'Q4_K', bytes: 704, sources: ['w'] });
    expect(json.metadata[1].value).toBe('1152921504606846976');
    expect(json.metadata[2]).toMatchObject({
      length: 300,
      first: ['t0', 't1', 't2', 't3', 't4', 't5', 't6', 't7'],
    });
  });
});

describe('a missing model', () => {
  it('is named with its likely spelling', async () => {
    const { pipeline } = fakePipeline();
    const attempt = (path: string) => quantizeCommand(join(directory, path), {}, fakeIo().io, pipeline);
    await expect(attempt('model.safetensor')).rejects.toThrow(InputNotFoundError);
    await expect(attempt('model.safetensor')).rejects.toThrow(`did you mean ${model}?`);
    await expect(attempt('nothing-like-it')).rejects.toThrow('check the path');
  });
});
