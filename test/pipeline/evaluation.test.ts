import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseActivations } from '../../src/core/activations.ts';
import { quantize } from '../../src/pipeline.ts';
import { renderRunPage } from '../../src/report/html/run-page.ts';
import { parseReport } from '../../src/report/read-report.ts';
import { buildReport } from '../../src/report/report.ts';
import { statisticsFile } from '../../src/write/activation-statistics.ts';
import { type Schema, violations } from '../support/json-schema.ts';
import { activationsFrom } from '../support/reports.ts';
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

describe('what it could not be evaluated under is refused before the file is made', () => {
  const stats = join(directory, 'stats.json');
  const group = { tensors: ['blk.0.attn_q.weight'], expert: null, columns: 7, inputs: 9, min: 0, max: 1 };
  writeFileSync(stats, statisticsFile({ ...activationsFrom, groups: [{ ...group, ranges: [] }] }));

  it.each([
    [{ type: 'Q8_0' }, 'bitlinear', /BitLinear needs ternary weights\n +file: +\S*refused\.gguf/],
    [{ type: 'Q8_0' }, 'static', /expected: --stats FILE with --activations static:8:mse/],
    [
      { type: 'Q8_0', stats },
      'static',
      /stats\.json\n.*blk\.0\.attn_q\.weight\n.*\n +got: +inputs of 7 values/,
    ],
    [{ type: 'Q8_0', stats: 'no.json' }, 'static', /no\.json/],
  ])('%o: %s', async (options, scheme, message) => {
    const activations = [parseActivations(scheme)];
    await expect(run('refused.gguf', { ...options, activations })).rejects.toThrow(message);
    expect(readdirSync(directory).filter((name) => name.startsWith('refused'))).toEqual([]);
  });
});
