import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type CalibrateFlags, calibrateCommand } from '../../src/cli/calibrate.ts';
import { InputNotFoundError } from '../../src/cli/files.ts';
import { type ActivationStatistics, staticRanges } from '../../src/core/activations.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { ActivationOptions } from '../../src/model-runs.ts';
import { withInputScales } from '../../src/plan/input-scales.ts';
import { ActivationStatisticsError, readActivationStatistics } from '../../src/read/activation-statistics.ts';
import { OutputExistsError } from '../../src/write/errors.ts';
import { fakeIo } from '../support/io.ts';
import { planned } from '../support/results.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const range = (high: number) => ({
  low: -high,
  high,
  scale: Math.fround(high / 127),
  zeroPoint: 0,
  relativeError: 1e-4,
});
const ranges = (high: number) =>
  (['absmax', 'percentile', 'mse', 'entropy'] as const).map((method, i) => ({
    ...({ bits: 8, symmetric: true, method } as const),
    range: range(high / (i + 1)),
  }));
const statistics: ActivationStatistics = {
  corpus: {
    ...{ corpus: 'bundled prose', files: [], tokens: 2048, windows: 8, context: 256, sha256: 'ab', seed: 0 },
  },
  percentile: 99.99,
  groups: [
    {
      ...{
        tensors: ['blk.0.attn_q.weight', 'blk.0.attn_k.weight'],
        expert: null,
        columns: 256,
        inputs: 2048,
      },
      ...{ min: -1.5, max: 2, ranges: ranges(2) },
    },
    ...[0, 1].map((expert) => ({
      ...{ tensors: ['blk.0.ffn_down_exps.weight'], expert, columns: 512, inputs: expert === 0 ? 9 : 0 },
      ...{ min: -3, max: 3, ranges: expert === 0 ? ranges(3) : [] },
    })),
    {
      tensors: ['output.weight'],
      expert: null,
      columns: 256,
      inputs: 2048,
      min: 0,
      max: 8,
      ranges: ranges(8),
    },
  ],
};

const directory = temporaryDirectory();
let model: string;
let output: string;
let count = 0;
beforeEach(() => {
  const place = join(directory, String(count++));
  mkdirSync(place);
  model = join(place, 'm.safetensors');
  output = join(place, 'stats.json');
  writeFileSync(model, 'weights');
});

async function command(flags: Partial<CalibrateFlags> = {}) {
  const fake = fakeIo();
  const calls: ActivationOptions[] = [];
  await calibrateCommand(model, { output, ...flags }, fake.io, async (options, onEvent) => {
    calls.push(options);
    fake.advance(12);
    onEvent?.({ kind: 'calibration', layer: 2, layers: 2, step: 'attention', done: 5, total: 10 });
    return { statistics, gemm: 'wasm', warnings: ['the text is short'] };
  });
  return { fake, calls };
}

describe('quantize calibrate', () => {
  it('writes a file that is read again, and a table', async () => {
    const { fake, calls } = await command({ tokens: 2048, percentile: 99.9, text: [model] });
    expect(calls).toEqual([
      {
        ...{ input: model, percentile: 99.9, calibration: [model], calibrationTokens: 2048 },
        signal: fake.io.interruptible(),
      },
    ]);
    expect(readActivationStatistics(output)).toMatchObject(statistics);
    expect(JSON.parse(readFileSync(output, 'utf8')).run).toEqual({ input: model, seconds: 12, gemm: 'wasm' });
    const lines = fake.lines();
    expect(lines).toContain('warning: the text is short');
    expect(lines).toContainEqual(
      expect.stringMatching(/^blk\.0\.attn_q \+1 +-1\.500 +2\.000 +1\.000 +0\.6667 +0\.5000 +1\.00e-4$/),
    );
    expect(lines).toContainEqual(expect.stringMatching(/^blk\.0\.ffn_down_exps expert 1/));
    expect(lines.at(-1)).toMatch(/^wrote .*stats\.json: ranges of 4 inputs over 2\.05 k tokens/);
    expect(fake.stdout()).toBe('');
  });

  it('writes to standard output', async () => {
    const { fake } = await command({ output: '-', quiet: true });
    expect(JSON.parse(fake.stdout())).toMatchObject({ schema: 'gguf-quantize/activations', version: 1 });
    expect(fake.stderr()).toBe('');
  });

  it('replaces a file only with --force', async () => {
    await command();
    await expect(command()).rejects.toThrow(OutputExistsError);
    await command({ force: true });
    await expect(command({ text: ['no text'] })).rejects.toThrow(InputNotFoundError);
  });
});

describe('a file of statistics', () => {
  const whole = { schema: 'gguf-quantize/activations', version: 1, ...statistics };
  it.each([
    ['no JSON', 'weights'],
    ['another schema', JSON.stringify({ ...whole, schema: 'gguf-quantize/report' })],
    ['another version', JSON.stringify({ ...whole, version: 2 })],
    ['null', 'null'],
    ['no text', JSON.stringify({ ...whole, corpus: { ...statistics.corpus, tokens: null } })],
    ['no percentile', JSON.stringify({ ...whole, percentile: 0 })],
    ['no groups', JSON.stringify({ ...whole, groups: 3 })],
    ['a group of nothing', JSON.stringify({ ...whole, groups: [null] })],
    ['no names', JSON.stringify({ ...whole, groups: [{ ...statistics.groups[0], tensors: [] }] })],
    [
      'a scale that is none',
      JSON.stringify({
        ...whole,
        groups: [
          { ...statistics.groups[0], ranges: [{ ...ranges(1)[0], range: { ...range(1), scale: null } }] },
        ],
      }),
    ],
  ])('is refused: %s', (_what, text) => {
    writeFileSync(output, text);
    expect(() => readActivationStatistics(output)).toThrow(ActivationStatisticsError);
  });

  it('has ranges by matrix and expert', () => {
    const found = staticRanges(statistics, { bits: 8, symmetric: true }, 'absmax');
    expect([...found.keys()]).toEqual([
      ...[
        'blk.0.attn_q.weight',
        'blk.0.attn_k.weight',
        'blk.0.ffn_down_exps.weight, expert 0',
        'output.weight',
      ],
    ]);
    expect(staticRanges(statistics, { bits: 4, symmetric: true }, 'absmax').size).toBe(0);
  });
});

describe('input scales of a plan', () => {
  const matrix = (name: string, shape: number[]) => planned({ name, shape });
  const tensors = [
    matrix('output.weight', [256, 32]),
    matrix('blk.0.attn_norm.weight', [256]),
    matrix('blk.0.attn_q.weight', [256, 8]),
    matrix('blk.0.ffn_down_exps.weight', [512, 8, 2]),
  ];

  it('stand behind the matrices that llama.cpp has them for', () => {
    const stale = matrix('blk.0.attn_q.input_scale', [1]);
    const found = withInputScales([...tensors, stale], statistics, 'absmax');
    expect(found.map(({ name }) => name)).toEqual([
      ...['output.weight', 'blk.0.attn_norm.weight', 'blk.0.attn_q.weight', 'blk.0.attn_q.input_scale'],
      ...['blk.0.ffn_down_exps.weight', 'blk.0.ffn_down_exps.input_scale'],
    ]);
    expect(found[2].inputScale).toEqual({
      ...{ bits: 8, symmetric: true, method: 'absmax', scales: [Math.fround(2 / 127)] },
    });
    // An expert that no token reached has 1.
    expect(found[5]).toMatchObject({
      ...{ shape: [2], type: 'F32', source: { kind: 'values', values: [Math.fround(3 / 127), 1] } },
    });
  });

  it('are those of this model', () => {
    expect(() => withInputScales([matrix('blk.1.attn_q.weight', [256, 8])], statistics, 'mse')).toThrow(
      UsageError,
    );
    expect(() => withInputScales([matrix('blk.0.attn_q.weight', [128, 8])], statistics, 'mse')).toThrow(
      /inputs of 256 values/,
    );
  });
});
