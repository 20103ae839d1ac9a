import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { planQuantization } from '../../src/pipeline.ts';
import { mixtures } from '../../src/plan/mixtures.ts';
import { engineDirectory } from '../engine/ggml.ts';
import type { KeyOverride } from '../engine/quantize.ts';
import { repository } from '../support/checkpoints.ts';
import { GgufRuns } from '../support/gguf-runs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** --override-kv, --prune-layers and COPY, against llama_model_quantize with the same options. */

const runs = new GgufRuns(temporaryDirectory());
const bundled = 'fixtures/sotu-3m';
const mixtral = '../shared/golden/visible/mixtral_256/checkpoint';
const ftype = mixtures.Q4_K_M.fileType!;

const textOf = ({ key, kind, value }: KeyOverride) => `${key}=${kind}:${value}`;

describe.skipIf(engineDirectory === null)('--override-kv', () => {
  it.each<[string, KeyOverride[]]>([
    [
      'new keys of each kind',
      [
        { key: 'test.int', kind: 'int', value: 4_294_967_295 },
        { key: 'test.float', kind: 'float', value: 0.1 },
        { key: 'test.bool', kind: 'bool', value: true },
        { key: 'test.str', kind: 'str', value: 'a = b: é' },
      ],
    ],
    [
      'old keys, which move to the end',
      [
        { key: 'general.name', kind: 'str', value: 'Another' },
        { key: 'tokenizer.ggml.add_bos_token', kind: 'bool', value: false },
        { key: 'general.file_type', kind: 'int', value: 7 },
      ],
    ],
    ['the number of layers', [{ key: 'llama.block_count', kind: 'int', value: 32 }]],
    ['heads that share keys', [{ key: 'llama.attention.head_count_kv', kind: 'int', value: 1 }]],
    ['a hyperparameter of another type', [{ key: 'llama.block_count', kind: 'str', value: '4' }]],
  ])('%s', async (_, overrides) => {
    for (const type of ['Q4_K_M', 'Q2_K'] as const) {
      const input = await runs.converted(bundled, 'BF16');
      await runs.expectSame(
        input,
        { type, overrideKv: overrides.map(textOf) },
        { ftype: mixtures[type].fileType!, overrides },
      );
    }
  });

  it('from safetensors: as converting first and quantizing the GGUF', async () => {
    const overrides: KeyOverride[] = [
      { key: 'llama.block_count', kind: 'int', value: 16 },
      { key: 'general.name', kind: 'str', value: 'Another' },
    ];
    await runs.expectSame(
      join(repository, bundled),
      { type: 'Q4_K_M', overrideKv: overrides.map(textOf) },
      { ftype, overrides },
      await runs.converted(bundled, 'BF16'),
    );
  });
});

describe('--override-kv', () => {
  it('says what it may break', async () => {
    const input = await runs.converted(bundled, 'BF16');
    const { warnings } = planQuantization({
      input,
      overrideKv: ['llama.block_count=str:4'],
      type: 'Q4_0',
    }).plan;
    expect(warnings).toEqual([
      expect.stringContaining('llama.block_count: the UINT32 it was becomes STRING'),
    ]);
  });
});

describe.skipIf(engineDirectory === null)('--prune-layers', () => {
  it.each([[[0]], [[1, 2]], [[3]]])('%j', async (pruneLayers) => {
    const input = await runs.converted(bundled, 'BF16');
    await runs.expectSame(input, { type: 'Q4_K_M', pruneLayers }, { ftype, pruneLayers });
  });

  it('beside overrides, the number of layers among them', async () => {
    const input = await runs.converted(bundled, 'F16');
    const overrides: KeyOverride[] = [
      { key: 'llama.block_count', kind: 'int', value: 4 },
      { key: 'general.author', kind: 'str', value: 'nobody' },
    ];
    await runs.expectSame(
      input,
      { type: 'Q3_K_M', pruneLayers: [2], overrideKv: overrides.map(textOf) },
      { ftype: mixtures.Q3_K_M.fileType!, pruneLayers: [2], overrides },
    );
  });

  it('from safetensors: as converting first and quantizing the GGUF', async () => {
    const pruneLayers = [1];
    const input = join(repository, bundled);
    const engineInput = await runs.converted(bundled, 'BF16');
    await runs.expectSame(input, { type: 'Q4_K_M', pruneLayers }, { ftype, pruneLayers }, engineInput);
  });

  it.skipIf(!existsSync(join(repository, mixtral)))('of experts', async () => {
    const input = await runs.converted(mixtral, 'BF16');
    await runs.expectSame(input, { type: 'Q2_K', pruneLayers: [0] }, { ftype: 10, pruneLayers: [0] });
  });
});

describe('--prune-layers', () => {
  it.each([
    [[4], /no layer 4[\s\S]*layers 0-3/],
    [[0, 1, 2, 3], /would leave no layer/],
  ])('refuses %j', async (pruneLayers, message) => {
    const input = await runs.converted(bundled, 'BF16');
    const plan = () => planQuantization({ input, type: 'Q4_0', pruneLayers });
    expect(plan).toThrow(UsageError);
    expect(plan).toThrow(message);
  });
});

describe.skipIf(engineDirectory === null)('--type COPY', () => {
  it.each(['Q4_K_M', 'BF16', 'TQ2_0'])('of %s', async (type) => {
    const input = await runs.converted(bundled, type);
    await runs.expectSame(input, { type: 'copy' }, { ftype: 0, onlyCopy: true });
  });

  it.each(['Q3_K_M', 'Q8_0', 'F32', 'Q2_0'])('of %s whose file type nobody states', async (type) => {
    const input = runs.rewritten(await runs.converted(bundled, type), 'mute.gguf', ({ metadata }) => ({
      metadata: metadata.filter(({ key }) => key !== 'general.file_type'),
    }));
    await runs.expectSame(input, { type: 'COPY' }, { ftype: 0, onlyCopy: true });
  });

  it('with keys and layers edited', async () => {
    const input = await runs.converted(bundled, 'Q4_K_M');
    const edits = { pruneLayers: [0, 2] };
    const overrides: KeyOverride[] = [{ key: 'general.file_type', kind: 'int', value: 1 }];
    await runs.expectSame(
      input,
      { type: 'COPY', ...edits, overrideKv: overrides.map(textOf) },
      { ftype: 0, onlyCopy: true, ...edits, overrides },
    );
  });
});

describe('--type COPY', () => {
  it('refuses what would choose types, and safetensors', async () => {
    const input = await runs.converted(bundled, 'Q4_K_M');
    const plan =
      (options: object, from = input) =>
      () =>
        planQuantization({ input: from, type: 'COPY', ...options });
    expect(plan({ tensorTypes: [{ pattern: 'x', type: 'Q4_0' }] })).toThrow(/--tensor-type chooses types/);
    expect(plan({ pure: true })).toThrow(/--pure chooses types/);
    expect(plan({}, join(repository, bundled))).toThrow(/copies the tensors of a GGUF file/);
    expect(plan({ pure: false })().output).toMatch(/-COPY\.gguf$/);
  });
});
