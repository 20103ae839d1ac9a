import { describe, expect, it } from 'vitest';
import { renderSideBySidePage } from '../../src/report/html/side-by-side-page.ts';
import { parseReport, ReportFileError } from '../../src/report/read-report.ts';
import { buildReport, type Report } from '../../src/report/report.ts';
import { compareRuns, rangesOfRun } from '../../src/report/side-by-side.ts';
import { parseHtml } from '../support/html.ts';
import { rangedReport, wholeReport } from '../support/reports.ts';
import { evaluation, planned, result, sums } from '../support/results.ts';

/** A run whose file has `bytes`, whose weights have this error, and whose KL divergence, if any, is `divergence`. */
function run(bytes: number, error: number, divergence?: number, sha256 = 'ef'): Report {
  const base = evaluation().base!;
  const measured =
    divergence === undefined
      ? null
      : evaluation({ sha256, base: { ...base, divergence: { ...base.divergence, mean: divergence } } });
  return buildReport(result([[planned(), sums(1024, error)]], { fileBytes: bytes, evaluation: measured }));
}

const compare = (...reports: Report[]) =>
  compareRuns(reports.map((report, i) => ({ name: `r${i}`, report })));
const best = (...reports: Report[]) =>
  compare(...reports)
    .runs.filter((each) => each.best)
    .map(({ name }) => name);

describe('runs side by side', () => {
  it('mark those that no other beats in size and error', () => {
    expect(best(run(30, 0.1), run(20, 0.2), run(25, 0.3), run(30, 0.4), run(10, 0.5))).toEqual([
      'r4',
      'r1',
      'r0',
    ]);
  });

  it('mark equal runs all', () => {
    expect(best(run(20, 0.2), run(20, 0.2), run(20, 0.3))).toEqual(['r0', 'r1']);
  });

  it('are judged by KL divergence where all have one, even if errors say otherwise', () => {
    const comparison = compare(run(20, 0.1, 0.5), run(10, 0.2, 0.25));
    expect(comparison).toMatchObject({ measure: 'KL divergence', warnings: [] });
    expect(comparison.runs.map(({ name, error, best }) => [name, error, best])).toEqual([
      ['r1', 0.25, true],
      ['r0', 0.5, false],
    ]);
  });

  it.each([
    ['not all are evaluated', [run(20, 0.1, 0.5), run(10, 0.2)], 'Not all runs were evaluated'],
    ['texts differ', [run(20, 0.1, 0.5), run(10, 0.2, 0.5, 'ab')], 'on different texts'],
  ])('are judged by the error of the weights where %s, and say so', (_name, reports, warning) => {
    const { measure, runs, warnings } = compare(...reports);
    expect(measure).toBe('relative error');
    expect(runs.map(({ error }) => error)).toEqual([expect.closeTo(0.04), expect.closeTo(0.01)]);
    expect(warnings).toEqual([expect.stringContaining(warning)]);
  });

  it('warn where the models differ', () => {
    const other = buildReport(result([[planned({ shape: [256, 8] }), sums(2048, 0.1)]]));
    expect(compare(run(1, 0.1), other).warnings).toEqual([
      expect.stringContaining('different numbers of weights'),
    ]);
  });

  it('put an endless error last', () => {
    const endless = buildReport(result([[planned(), { ...sums(1024, 0.5), sumX2: 0 }]], { fileBytes: 5 }));
    expect(best(endless, run(5, 0.9))).toEqual(['r1']);
  });

  it('make a page with a plot and a table', () => {
    const named = [run(30, 0.1), run(20, 0.2), run(30, 0.3), run(10, 0.4)].map((report, i) => ({
      name: `<run ${i}>`,
      report,
    }));
    const page = renderSideBySidePage(compareRuns(named), '1.2.3');
    const { elements, text } = parseHtml(page);
    expect(text).toContain('Of 4 runs 3 are on the Pareto front');
    expect(text).toContain('<run 2>');
    const dots = elements.filter(({ attributes }) => attributes.get('class')?.startsWith('dot'));
    expect(dots.map(({ attributes }) => [attributes.get('class'), attributes.get('style')])).toEqual([
      ['dot best', 'left:10%;bottom:90%'],
      ['dot best', expect.stringMatching(/^left:50%;bottom:[\d.]+%$/)],
      ['dot best', 'left:90%;bottom:10%'],
      ['dot', expect.stringMatching(/^left:90%;bottom:[\d.]+%$/)],
    ]);
    expect(dots.map(({ attributes }) => attributes.get('href'))).toEqual([
      '#run1',
      '#run2',
      '#run3',
      '#run4',
    ]);
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('show rule and granularity where ranges were chosen in any of them', () => {
    const heads = (...reports: Report[]) => {
      const page = renderSideBySidePage(compare(...reports), '1.2.3');
      const { text } = parseHtml(page);
      return text.slice(text.indexOf('no.')).replace(/\s+/g, ' ');
    };
    const some = heads(rangedReport(1), run(10, 0.1));
    expect(some).toMatch(/^no\. ?run ?type ?method ?range ?one a ?bits/);
    expect(some).toContain('percentile=99.9, full');
    expect(heads(run(20, 0.1), run(10, 0.1))).not.toContain('one a');
    expect(compare(run(10, 0.1), rangedReport(1)).runs.map((each) => rangesOfRun(each, ''))).toEqual([
      ['', ''],
      ['percentile=99.9, full', 'channel'],
    ]);
  });

  it('make a page of runs that are all exact', () => {
    const page = renderSideBySidePage(compare(run(10, 0), run(10, 0)), '1.2.3');
    expect(() => parseHtml(page)).not.toThrow();
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });
});

describe('a report read from a file', () => {
  const text = JSON.stringify(wholeReport(1));

  it('is what was written', () => {
    expect(parseReport(text, 'r.json')).toEqual(JSON.parse(text));
    expect(parseReport(JSON.stringify(run(10, 0)), 'r.json')).toMatchObject({ version: 1 });
  });

  it.each<[string, string, string]>([
    ['that is no JSON', '{"schema": ', 'no JSON'],
    ['that is something else', '[1]', 'not a report'],
    ['that is null', 'null', 'not a report'],
    ['of another version', text.replace('"version":1', '"version":2'), 'version 2'],
    [
      'that lacks a figure',
      text.replace('"fileBytes":5000', '"x":1'),
      'model.fileBytes: number\n  got:      nothing',
    ],
    [
      'of a negative size',
      text.replace('"fileBytes":5000', '"fileBytes":-5'),
      'model.fileBytes: 0 or more\n  got:      -5',
    ],
    [
      'with a histogram of no bins',
      text.replace(/"counts":\[[^\]]*\]/, '"counts":[]'),
      'tensors[0].histogram.before.counts: at least one element',
    ],
    ['with a text for a number', text.replace('"fileBytes":5000', '"fileBytes":"x"'), 'got:      string'],
    [
      'with an odd tensor',
      text.replace('"name":"blk.0.attn_q.weight"', '"name":null'),
      'tensors[1].name: string\n  got:      null',
    ],
    [
      'with an odd histogram',
      text.replace('"binWidth":0.01', '"binWidth":{}'),
      'tensors[0].histogram.binWidth: number\n  got:      object',
    ],
  ])('%s is refused by name', (_name, spoilt, message) => {
    expect(spoilt).not.toBe(text);
    expect(() => parseReport(spoilt, 'r.json')).toThrow(ReportFileError);
    expect(() => parseReport(spoilt, 'r.json')).toThrow(message);
    expect(() => parseReport(spoilt, 'r.json')).toThrow('r.json');
  });
});
