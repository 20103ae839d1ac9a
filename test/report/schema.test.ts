import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { rangeFields } from '../../src/core/ranges.ts';
import { buildReport } from '../../src/report/report.ts';
import { type Schema, violations } from '../support/json-schema.ts';
import { planned, result, sums } from '../support/results.ts';

const read = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const schema = JSON.parse(read('report.schema.json')) as Schema;
const report = () =>
  JSON.parse(
    JSON.stringify(
      buildReport(
        result([
          [planned({ type: 'F32', encoder: 'F32' }), sums(1024, 0)],
          [planned({ type: 'Q5_0', encoder: 'Q5_0', fallbackFrom: 'Q4_K' }), sums(1024, 0.1)],
          [
            planned({
              type: 'Q8_0',
              encoder: 'Q8_0:range',
              range: { rule: { kind: 'mse' }, granularity: 'tensor', symmetry: 'restricted', center: false },
            }),
            {
              ...sums(1024, 0.1),
              range: Object.fromEntries(rangeFields.map((field) => [field, 1])) as never,
            },
          ],
        ]),
      ),
    ),
  );

describe('docs/report.schema.json', () => {
  it('accepts a report', () => {
    expect(violations(report(), schema)).toEqual([]);
  });

  it.each<[string, (report: ReturnType<typeof JSON.parse>) => void, string]>([
    ['another version', (r) => (r.version = 2), '$.version: not 1'],
    ['a missing figure', (r) => delete r.tensors[0].metrics.rmse, '$.tensors[0].metrics: no rmse'],
    ['a field nobody documented', (r) => (r.model.extra = 1), '$.model: undocumented extra'],
    ['a text for a number', (r) => (r.model.weights = '1'), '$.model.weights: not integer'],
    ['an impossible cosine', (r) => (r.model.metrics.cosine = 2), '$.model.metrics.cosine: above 1'],
  ])('refuses %s', (_name, spoil, problem) => {
    const spoilt = report();
    spoil(spoilt);
    expect(violations(spoilt, schema)).toContain(problem);
  });

  it('has every field in docs/report.md', () => {
    const text = read('report.md');
    const names = (node: Schema): string[] => [
      ...Object.entries(node.properties ?? {}).flatMap(([name, property]) => [name, ...names(property)]),
      ...(node.items ? names(node.items) : []),
      ...Object.values(node.$defs ?? {}).flatMap(names),
    ];
    const missing = [...new Set(names(schema))].filter((name) => !text.includes(`\`${name}\``));
    expect(missing).toEqual([]);
  });
});
