import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ActivationGroup, parseActivations } from '../../src/core/activations.ts';
import { planQuantization, quantize } from '../../src/pipeline.ts';
import { renderRunPage } from '../../src/report/html/run-page.ts';
import { parseReport } from '../../src/report/read-report.ts';
import { buildReport } from '../../src/report/report.ts';
import { statisticsFile } from '../../src/write/activation-statistics.ts';
import { type Schema, violations } from '../support/json-schema.ts';
import { activationsFrom, statisticsOf } from '../support/reports.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

/** The evaluation behind a run, under quantized activations. */

const directory = temporaryDirectory();
const input = tinyLlama(temporaryDirectory());
const evalText = join(directory, 'eval.txt');
writeFileSync(evalText, 'word and sentence, '.repeat(300));
const run = (output: string, options: object) =>
  quantize({
    ...{ input, output: join(directory, output), evalText, context: 32, threads: 1, gemm: 'wasm' },
    ...options,
  });

it('has the schemes in the report, its schema and its page', async () => {
  const activations = ['dynamic', 'bitlinear'].map(parseActivations);
  const report = buildReport(await run('ternary.gguf', { method: 'ternary', activations }));
  const { evaluation } = report.model;
  expect(evaluation!.activations!.map(({ scheme, bits }) => [scheme, bits])).toEqual([
    ['dynamic:8', 8],
    ['bitlinear', 8],
  ]);
  expect(evaluation!.activations![1].base!.divergence.mean).toBeGreaterThan(0);
  expect(evaluation!.weightBits).toBeGreaterThan(2);
  const text = JSON.stringify(report);
  const schema = JSON.parse(
    readFileSync(new URL('../../docs/report.schema.json', import.meta.url), 'utf8'),
  ) as Schema;
  expect(violations(JSON.parse(text), schema)).toEqual([]);
  const page = renderRunPage(parseReport(text, 'r.json'));
  expect(page).toContain('<h2>Quantized activations</h2>');
  expect(page).toMatch(/<th scope="row">bitlinear<\/th><td class="num">[\d.]+\/8<\/td>/);
  expect(page).toContain('bitlinear: 14 ternary matrices');
});

describe('statistics', () => {
  const groups = statisticsOf(planQuantization({ input }).plan);
  const stats = (name: string, of: readonly ActivationGroup[]) => {
    const path = join(directory, name);
    writeFileSync(path, statisticsFile({ ...activationsFrom, groups: of }));
    return path;
  };
  const whole = stats('whole.json', groups);
  const [query] = groups.filter(({ tensors: [name] }) => name === 'blk.0.attn_q.weight');
  const others = groups.filter((group) => group !== query);

  it('give the ranges of static activations', async () => {
    const activations = [parseActivations('static')];
    const { evaluation } = await run('static.gguf', { type: 'Q8_0', activations, stats: whole });
    expect(evaluation!.activations!.map(({ scheme }) => scheme)).toEqual(['static:8:mse']);
    expect(evaluation!.activationsFrom).toEqual(activationsFrom);
  });

  describe('and whatever else it could not be evaluated under are refused before the file is made', () => {
    it.each([
      [{}, 'bitlinear', /BitLinear needs ternary weights\n +file: +\S*refused\.gguf/],
      [{}, 'static', /expected: --stats FILE with --activations static:8:mse/],
      [{ stats: 'no.json' }, 'static', /no\.json/],
      [{ stats: whole }, 'dynamic', /--stats holds ranges of static activations, and none were asked for/],
      [{ stats: whole, pruneLayers: [0] }, 'static', /--stats and --prune-layers contradict each other/],
      [
        { stats: stats('width.json', [{ ...query, columns: 7 }, ...others]) },
        'static',
        /width\.json\n.*blk\.0\.attn_q\.weight\n.*\n +got: +inputs of 7 values/,
      ],
      [
        { stats: stats('name.json', [...groups, { ...query, tensors: ['blk.2.attn_q.weight'] }]) },
        'static',
        /name\.json\n +tensor: +blk\.2\.attn_q\.weight\n +expected: a matrix of the model\n +got: +none of this name/,
      ],
      [
        { stats: stats('fewer.json', others) },
        'static',
        /no range for the inputs of a matrix\n.*fewer\.json\n +tensor: +blk\.0\.attn_q\.weight\n +expected: a range for static:8:mse/,
      ],
      [{ stats: whole }, 'static:4', /whole\.json\n.*\n +expected: a range for static:4:mse/],
    ])('%o: %s', async (options, scheme, message) => {
      const refused = { type: 'Q8_0', ...options, activations: [parseActivations(scheme)] };
      await expect(run('refused.gguf', refused)).rejects.toThrow(message);
      expect(readdirSync(directory).filter((name) => name.startsWith('refused'))).toEqual([]);
      // And by --dry-run.
      const output = join(directory, 'refused.gguf');
      expect(() => planQuantization({ input, output, evalText, ...refused })).toThrow(message);
    });
  });
});
