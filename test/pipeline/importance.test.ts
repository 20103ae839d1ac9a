import { spawnSync } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { CollectedImportance } from '../../src/core/calibration.ts';
import { SUM_RANGE } from '../../src/core/error-sums.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { TypeName } from '../../src/core/types.ts';
import { NotFiniteWeightError } from '../../src/core/weight-errors.ts';
import { planQuantization, type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { ImportanceLengthError, NotFiniteImportanceError } from '../../src/plan/importance.ts';
import type { MixtureName } from '../../src/plan/mixtures.ts';
import { ImportanceRequiredError } from '../../src/plan/policy.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { engineDirectory, loadGgml } from '../engine/ggml.ts';
import { repository } from '../support/checkpoints.ts';
import { imatrixBytes, legacyImatrixBytes } from '../support/imatrix-writer.ts';
import {
  at,
  changed,
  collect,
  converted,
  directory,
  engine,
  expectSame,
  type ModelName,
  matrices,
  models,
  ours,
  take,
  valuesIn,
  written,
} from '../support/importance-runs.ts';
import { gaussian, uniform } from '../support/random.ts';
import { floatTensor, writeSafetensors } from '../support/safetensors-writer.ts';
import { put } from '../support/temporary.ts';

/** Importance matrices: whole files against llama_model_quantize of the same model under the same matrix. */

/** One of each kind of coding; all mixtures are in importance.long.test.ts. */
const judged: Readonly<Record<ModelName, readonly MixtureName[]>> = {
  // Codebooks, before which ggml sorts for a second, are in test/quantize/weighted.test.ts.
  'sotu-3m': ['Q4_0', 'TQ2_0', 'Q2_K_S', 'Q4_K_M', 'Q6_K'],
  // Where experts and rows that are no super-blocks make a difference.
  'tiny mixtral': ['Q4_1', 'Q5_0', 'Q2_K', 'Q4_K_M', 'IQ4_XS'],
};

describe.skipIf(engineDirectory === null)('whole files equal llama-quantize', () => {
  for (const [model, names] of Object.entries(judged) as [ModelName, readonly MixtureName[]][]) {
    for (const name of names) {
      it.skipIf(!written(model, name))(`${model}: ${name}`, () => expectSame(model, name));
    }
  }
});

const filled = (
  entry: CollectedImportance,
  value: number,
  from: number,
  to: number,
): CollectedImportance => ({
  ...entry,
  sums: entry.sums.map((sum, i) => (i >= from && i < to ? value : sum)),
});

describe.skipIf(engineDirectory === null)('what llama-quantize does with entries', () => {
  it('a .dat file', async () => {
    const entries = collect(models['sotu-3m']).map(({ name, sums }) => ({ name, calls: 12, values: sums }));
    const imatrix = put(directory, 'm.dat', legacyImatrixBytes(entries, { chunks: 12, dataset: 'wiki' }));
    const { file } = await ours('sotu-3m', { type: 'Q5_0', imatrix });
    expect(file.equals(await engine('sotu-3m', 'Q5_0', imatrix))).toBe(true);
  });

  it.each([
    ['includeWeights', ['ffn_down', 'attn_v'], (name: string) => /ffn_down|attn_v/.test(name)],
    ['excludeWeights', ['blk.0.', 'output'], (name: string) => !/blk\.0\.|output/.test(name)],
  ] as const)('%s', async (option, parts, left) => {
    const imatrix = matrices['sotu-3m'];
    const { file, report } = await ours('sotu-3m', { type: 'Q5_0', imatrix, [option]: parts });
    const entries = Object.fromEntries(Object.entries(valuesIn(imatrix)).filter(([name]) => left(name)));
    expect(file.equals(await engine('sotu-3m', 'Q5_0', imatrix, entries))).toBe(true);
    // The user's own choice is no warning; that the embeddings have no entry is.
    expect(report.warnings).toEqual([
      'token_embd.weight: the importance matrix has no entry; it is coded without importance',
    ]);
  });

  it('filters that leave nothing: no matrix at all', async () => {
    const options = { type: 'Q5_0', imatrix: matrices['sotu-3m'], includeWeights: ['no such'] };
    const { file, report } = await ours('sotu-3m', options);
    expect(file.equals((await ours('sotu-3m', { type: 'Q5_0' })).file)).toBe(true);
    expect(report.warnings).toEqual([
      '--include-weights no such matches no entry of the importance matrix',
      'the importance matrix is not used: no entry is left',
    ]);
  });

  it('a text and a path longer than 127 bytes are cut', async () => {
    const entries = collect(models['sotu-3m']);
    const long = put(directory, `${'m'.repeat(150)}.gguf`, imatrixBytes(entries, ['t'.repeat(200), 'u'], 0));
    const { file } = await ours('sotu-3m', { type: 'Q8_0', imatrix: long });
    expect(file.equals(await engine('sotu-3m', 'Q8_0', long))).toBe(true);
  });

  it('layers pruned and keys overridden: entries by their old names, keys in order', async () => {
    const imatrix = matrices['sotu-3m'];
    const input = await converted('sotu-3m');
    const { file, report } = await ours('sotu-3m', {
      input,
      imatrix,
      type: 'Q4_K_M',
      pruneLayers: [1],
      overrideKv: ['general.name=str:pruned', 'quantize.imatrix.entries_count=int:7'],
    });
    const theirs = await engine('sotu-3m', 'Q4_K_M', imatrix, valuesIn(imatrix), {
      input,
      keys: [
        { key: 'general.name', kind: 'str', value: 'pruned' },
        { key: 'quantize.imatrix.entries_count', kind: 'int', value: 7 },
      ],
      pruneLayers: [1],
    });
    expect(file.equals(theirs)).toBe(true);
    expect(report.warnings).toHaveLength(1); // token_embd.weight has no entry
  });

  it('weights that are quantized already', async () => {
    const imatrix = matrices['sotu-3m'];
    const input = await converted('sotu-3m', 'Q8_0');
    const options = { input, imatrix, type: 'Q5_0', chunkSize: SUM_RANGE, allowRequantize: true };
    const { file } = await ours('sotu-3m', options);
    const changes = { input, allowRequantize: true };
    expect(file.equals(await engine('sotu-3m', 'Q5_0', imatrix, valuesIn(imatrix), changes))).toBe(true);
  });

  it('embeddings of a wrong length are coded without, as there', async () => {
    const imatrix = changed('embeddings.gguf', 'sotu-3m', (entry) =>
      entry.name === 'token_embd.weight' ? { ...entry, sums: entry.sums.slice(0, 255) } : entry,
    );
    const { file, report } = await ours('sotu-3m', { type: 'Q5_0', imatrix });
    expect(file.equals(await engine('sotu-3m', 'Q5_0', imatrix))).toBe(true);
    expect(report.warnings).toEqual([
      'token_embd.weight: the importance matrix has 255 values for 256 columns; it is coded without importance',
    ]);
  });

  it.each<[string, MixtureName, (entry: CollectedImportance) => CollectedImportance | null, unknown, RegExp]>(
    [
      [
        'lengths that do not fit, even where the type ignores importance',
        'Q8_0',
        (entry) => (/attn_k/.test(entry.name) ? { ...entry, sums: entry.sums.slice(1) } : entry),
        ImportanceLengthError,
        /fit 4 tensors:\n {2}blk\.0\.attn_k\.weight: 255 values for 256 columns\n/,
      ],
      [
        'types that need importance for a tensor that has no entry',
        'Q2_K_S',
        (entry) => (/^blk\.[12]\.attn_q/.test(entry.name) ? null : entry),
        ImportanceRequiredError,
        /for 2 tensors:\n {2}blk\.1\.attn_q\.weight \(Q2_K\)\n {2}blk\.2\.attn_q\.weight \(Q2_K\)\n/,
      ],
    ],
  )('refuses %s', async (name, type, change, kind, text) => {
    const imatrix = changed(`${name}.gguf`, 'sotu-3m', change);
    const run = ours('sotu-3m', { type, imatrix });
    await expect(run).rejects.toBeInstanceOf(kind);
    await expect(run).rejects.toThrow(text);
    await expect(engine('sotu-3m', type, imatrix)).rejects.toThrow(/imatrix size|Missing importance matrix/);
  });

  it.each([
    ['Q4_K_M', 256],
    ['Q4_0', 32],
  ] as const)('blocks without importance get the same in every column: %s', async (type, block) => {
    const width = (name: string) => (/ffn_down/.test(name) ? 768 : 256);
    const change = (value: number) => (entry: CollectedImportance) => {
      const columns = width(entry.name);
      if (entry.name === 'token_embd.weight') return entry; // of a type with other blocks
      if (/blk\.0/.test(entry.name)) return { ...entry, sums: entry.sums.map(() => value) };
      return filled(entry, value, columns - block, columns);
    };
    const imatrix = changed('zero.gguf', 'sotu-3m', change(0));
    // A sum equal to the count is 1 once divided.
    const replaced = changed('ones.gguf', 'sotu-3m', (entry) => change(entry.counts[0])(entry));
    const { file, report } = await ours('sotu-3m', { type, imatrix });
    const theirs = await engine('sotu-3m', type, imatrix, valuesIn(replaced));
    expect(file.equals(theirs)).toBe(true);
    expect(report.warnings).toContain(
      'blk.0.attn_q.weight: its importance is 0 in every column; all columns count the same',
    );
    const blocks = 768 / block;
    expect(report.warnings).toContain(
      `blk.1.ffn_down.weight: its importance is 0 in 1 of ${blocks} blocks of ${block} columns ` +
        `(the first at column ${768 - block}); the columns of such a block count the same`,
    );
  });
});

describe('a tensor is coded the same', () => {
  const run = (model: ModelName, type: string, options: Partial<QuantizeOptions>) =>
    ours(model, { type, imatrix: matrices[model], ...options });

  it.each([
    ['tiny mixtral', 'Q5_0'],
    ['tiny mixtral', 'Q4_K_S'],
  ] as const)(
    'at any number of threads, chunk size and kernels, and so are its figures: %s %s',
    async (model, type) => {
      const usual = await run(model, type, { threads: 1 });
      for (const options of [
        { threads: 3, chunkSize: SUM_RANGE },
        { threads: 2, chunkSize: 2 * SUM_RANGE, kernels: 'scalar' as const },
      ]) {
        const { file, report } = await run(model, type, options);
        expect(file.equals(usual.file)).toBe(true);
        expect(report).toEqual(usual.report);
      }
    },
  );

  it('to a pipe, by the command', async () => {
    const { file } = await run('sotu-3m', 'Q4_0', {});
    const output = at('stream.gguf');
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        'bin/quantize.js',
        models['sotu-3m'],
        ...['--type', 'Q4_0', '--imatrix', matrices['sotu-3m'], '--chunk-size', '32768', '-o', '-'],
      ],
      { cwd: repository, stdio: ['ignore', openSync(output, 'w'), 'pipe'], encoding: 'utf8' },
    );
    expect(status).toBe(0);
    expect(stderr).toContain('29 quantized, 28 under importance');
    expect(take(output).equals(file)).toBe(true);
  });
});

describe.skipIf(engineDirectory === null)('rows and chunks', () => {
  let ggml: ReturnType<typeof loadGgml> | undefined;

  /** One matrix of a bare safetensors file under importance, coded in the smallest chunks. */
  async function codeMatrix(
    type: TypeName,
    rows: number,
    columns: number,
    spoil?: (x: Float32Array) => void,
  ) {
    const random = gaussian(columns);
    const x = Float32Array.from({ length: rows * columns }, random);
    spoil?.(x);
    const input = at('matrix.safetensors');
    writeSafetensors(input, [floatTensor('w.weight', 'F32', [rows, columns], x)]);
    const sums = Float32Array.from({ length: columns }, uniform(rows));
    const imatrix = put(directory, 'matrix.gguf', imatrixBytes([{ name: 'w.weight', sums, counts: [1] }]));
    const output = at('matrix-out.gguf');
    await quantize({ input, output, type, imatrix, chunkSize: SUM_RANGE, threads: 1, force: true });
    const { tensors } = readGguf(output);
    const { offset, byteLength } = tensors[0];
    return { blocks: readFileSync(output).subarray(offset, offset + byteLength), x, sums };
  }

  it.each<[TypeName, number, number]>([
    ['Q4_0', 3, SUM_RANGE + 32],
    ['Q5_1', 2, 3 * SUM_RANGE],
    ['Q4_1', 7, 20_000],
    ['Q5_0', 300, 416],
    ['Q6_K', 3, SUM_RANGE + 256],
    ['IQ4_NL', 5, 15_008],
  ])('%s, %i rows of %i', async (type, rows, columns) => {
    const { blocks, x, sums } = await codeMatrix(type, rows, columns);
    ggml ??= loadGgml();
    expect(blocks.equals(ggml.quantize(type, x, columns, sums))).toBe(true);
  });

  it('a weight that is NaN is named where it is, though the chunk before it meets it first', async () => {
    const run = codeMatrix('Q4_0', 100, 768, (x) => x.fill(Number.NaN, 42 * 768 + 700, 42 * 768 + 701));
    await expect(run).rejects.toBeInstanceOf(NotFiniteWeightError);
    await expect(run).rejects.toThrow(/NaN at row 42, column 700/);
  });
});

describe('options and files', () => {
  const plan = (options: Partial<QuantizeOptions>) => () =>
    planQuantization({ input: models['sotu-3m'], type: 'Q4_K_M', ...options });

  it('filters need a matrix and exclude each other', () => {
    expect(plan({ includeWeights: ['a'] })).toThrow(UsageError);
    expect(plan({ excludeWeights: ['a'] })).toThrow(UsageError);
    const both = { includeWeights: ['a'], excludeWeights: ['b'], imatrix: matrices['sotu-3m'] };
    expect(plan(both)).toThrow(UsageError);
  });

  it('the matrix is an input, which no output may replace', async () => {
    const imatrix = put(directory, 'precious.gguf', readFileSync(matrices['sotu-3m']));
    const run = quantize({ input: models['sotu-3m'], output: imatrix, type: 'Q8_0', imatrix, force: true });
    await expect(run).rejects.toThrow(UsageError);
    expect(readFileSync(imatrix).equals(readFileSync(matrices['sotu-3m']))).toBe(true);
  });

  it('values that are not finite are refused before the run', () => {
    const imatrix = changed('nan.gguf', 'sotu-3m', (entry) => filled(entry, Number.NaN, 17, 18));
    expect(plan({ imatrix })).toThrow(NotFiniteImportanceError);
    expect(plan({ imatrix })).toThrow(/blk\.0\.attn_k\.weight: NaN at column 17\n/);
    expect(plan({ imatrix, type: 'Q8_0' })).not.toThrow(); // which ignores them
  });
});
