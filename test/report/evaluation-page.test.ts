import { describe, expect, it } from 'vitest';
import { renderEvaluationPage } from '../../src/report/html/evaluation-page.ts';
import { errorNames, largestError, meansByLayer } from '../../src/report/layers.ts';
import { parseHtml } from '../support/html.ts';
import { evaluatedModel, wholeReport } from '../support/reports.ts';

/** What the page of `quantize eval` says, and how matrices become layers. */

const facts = { command: ['eval', "it's.gguf"], host: wholeReport(1).run.host };
const schemes = ['dynamic:8', 'static:8:mse'];
const one = evaluatedModel('models/m.gguf', 2, schemes);

/** Rows of the tables of a page, cells apart. */
const rowsOf = (page: string): string[][] =>
  [...page.matchAll(/<tr[ >].*?<\/tr>/gs)].map(([row]) =>
    [...row.matchAll(/<t[hd][ >].*?<\/t[hd]>/gs)].map(([cell]) => cell.replace(/<[^>]*>/g, '')),
  );

describe('errors by layer', () => {
  it('are means over its matrices, those without inputs left out', () => {
    const layers = one.evaluation.layers!;
    expect(errorNames(layers)).toEqual(['weights only', ...schemes]);
    const means = meansByLayer(layers);
    expect(means.map(({ layer, matrices }) => [layer, matrices])).toEqual([
      ['0', 10],
      ['1', 9],
      ['output', 1],
    ]);
    for (const { errors } of means.slice(0, 2)) {
      expect(errors).toEqual([5e-5, 5e-4, 5e-3].map((mean) => expect.closeTo(mean, 12)));
    }
    const unseen = layers.filter(({ weightsOnly }) => weightsOnly === null);
    expect(meansByLayer(unseen)[0].errors).toEqual([null, null, null]);
    expect(unseen.map(largestError)).toEqual([-1]);
  });
});

describe('the page of an evaluation', () => {
  const page = renderEvaluationPage([one], facts);
  const { text } = parseHtml(page);
  const rows = rowsOf(page);

  it('has each scheme with perplexity and divergence', () => {
    expect(text).toContain('m.gguf on eval.txt');
    expect(rows).toContainEqual([
      ...['none', '8.5/16', '12.346 ± 0.210', '1.40e-2', '', '9.00e-2', '95.25 %'],
    ]);
    expect(rows).toContainEqual([
      ...['static:8:mse', '8.5/8', '13.500 ± 0.300', '5.60e-2', '', '9.00e-2', '95.25 %'],
    ]);
    const alone = renderEvaluationPage([evaluatedModel('m.gguf', 2, schemes, { base: null })], facts);
    expect(rowsOf(alone)[0]).toEqual(['activations', 'bits W/A', 'perplexity']);
  });

  it('has no column of bits where those of weights are not known', () => {
    const {
      weightBits: _,
      activations: __,
      ...evaluation
    } = evaluatedModel('m', 0, [], { base: null }).evaluation;
    const plain = renderEvaluationPage([{ ...one, evaluation }], facts);
    expect(rowsOf(plain).slice(0, 2)).toEqual([
      ['activations', 'perplexity'],
      ['none', '12.346 ± 0.210'],
    ]);
    expect(plain).not.toContain('Bits W/A');
  });

  it('has each layer and scheme, in a chart and in a map, and every matrix', () => {
    expect(rows).toContainEqual(['0', '5.00e-5', '5.00e-4', '5.00e-3', '10']);
    expect(rows).toContainEqual(['output', '1.00e-5', '1.00e-4', '1.00e-3', '1']);
    expect(rows).toContainEqual(['blk.0.ffn_up_exps.weight expert 3', 'Q8_0', '–', '–', '–']);
    const [plot] = /<div class="plot".*?<\/div>/s.exec(page)!;
    const lines = [...plot.matchAll(/<path class="(.*?)" d="(.*?)"/g)].map(([, name, path]) => [name, path]);
    // 1.0e-5 to 5.0e-3 lie from 10 to 90 % of the height; the second layer is in the middle.
    expect(lines.map(([name]) => name)).toEqual(['line hue0', 'line hue1 dash0', 'line hue2 dash0']);
    expect(lines[0][1]).toBe('M10 69.28L50 69.28L90 90');
    expect(lines[2][1]).toBe('M10 10L50 10L90 30.72');
    expect([...plot.matchAll(/<span>(.*?)<\/span>/g)].map(([, line]) => line)).toEqual([...['1e-4', '1e-3']]);
  });

  it('breaks a line where there is no error, and draws what stands alone as a dot', () => {
    const [first] = one.evaluation.layers!;
    const layers = [0, null, 2, 3].map((error, layer) => ({
      ...{ ...first, layer, activations: [] },
      weightsOnly: error === null ? null : 10 ** -error,
    }));
    const broken = renderEvaluationPage([evaluatedModel('m.gguf', 0, [], { layers })], facts);
    expect(broken).toContain('d="M10 10h0M63.33 63.33L90 90"');
  });

  it('says what was predicted, where static ranges are from, and how to do it again', () => {
    for (const fact of [
      '12.8 k tokens, the second halves of 100 windows of 256',
      'notes/',
      '2.05 k in 8 windows of 256',
      'holds 99.99 % of the values',
      "quantize eval 'it'\\''s.gguf'",
      'SHA-256 ab12',
      'wasm; no BLAS: none is installed',
      'docs/activations.md',
    ]) {
      expect(text).toContain(fact);
    }
  });

  it('says of each model which tokens it predicted, where they are not the same', () => {
    const a = evaluatedModel('a.gguf', 0, []);
    for (const over of [{ sha256: 'ffff' }, { context: 512 }]) {
      const other = evaluatedModel('b.gguf', 0, [], { tokens: 777, ...over });
      const said = parseHtml(renderEvaluationPage([a, other], facts)).text;
      for (const fact of [
        'the models predict a text, each in tokens of its own',
        'did not predict the same tokens: their perplexities cannot be compared',
        'Predicted, a.gguf',
        '12.8 k tokens, the second halves of 100 windows of 256',
        'Predicted, b.gguf',
        `777 tokens, the second halves of 100 windows of ${other.evaluation.context}`,
        'Tokens, b.gguf',
        `SHA-256 ${other.evaluation.sha256}`,
      ]) {
        expect(said).toContain(fact);
      }
    }
    const said = parseHtml(renderEvaluationPage([a, { ...a, run: { ...a.run, input: 'b' } }], facts)).text;
    expect(said).toContain('the models predict 12.8 k tokens');
    expect(said).not.toContain('cannot be compared');
  });

  it('has several models in one table, by path where names are the same, and what does not apply', () => {
    const notApplied = [{ scheme: 'bitlinear', reason: 'no matrix has ternary weights' }];
    const several = renderEvaluationPage(
      [
        evaluatedModel('a/m.gguf', 1, ['dynamic:8'], { notApplied }),
        evaluatedModel('b/m.gguf', 1, ['bitlinear'], { layers: [] }),
      ],
      facts,
    );
    expect(rowsOf(several)).toContainEqual([
      'a/m.gguf',
      'bitlinear',
      '–',
      'does not apply',
      '–',
      '',
      '–',
      '–',
    ]);
    expect(rowsOf(several)).toContainEqual(expect.arrayContaining(['b/m.gguf', 'bitlinear', '8.5/8']));
    const said = parseHtml(several).text;
    expect(said).toContain('a/m.gguf: bitlinear: does not apply, as no matrix has ternary weights');
    expect(said).toContain('Layer by layer: a/m.gguf');
    expect(said).not.toContain('Layer by layer: b/m.gguf');
  });
});
