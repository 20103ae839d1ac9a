import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { TensorCalibration } from '../../src/core/calibration.ts';
import { outputErrorsOf } from '../../src/report/calibration.ts';
import { buildReport } from '../../src/report/report.ts';
import { renderSummary } from '../../src/report/summary.ts';
import { renderTensors } from '../../src/report/table.ts';
import { type Schema, violations } from '../support/json-schema.ts';
import { calibrated, calibrationFacts, evaluation, plan, planned, result, sums } from '../support/results.ts';

/** The report of a run that calibrates. */

const names = ['blk.0.attn_q.weight', 'blk.0.ffn_down.weight', 'output.weight', 'a', 'b'];

function report(facts: readonly (Partial<TensorCalibration> | null)[] = [{}, {}, {}]) {
  const tensors = facts.map((_, i) => planned({ name: names[i] }));
  const made = result(tensors.map((tensor, i) => [tensor, sums(1024, 0.1 + i / 10)]));
  return buildReport({
    ...made,
    plan: plan({ tensors, warnings: ['of the plan'] }),
    tensors: made.tensors.map((each, i) => {
      const fact = facts[i];
      return fact === null ? each : { ...each, calibration: calibrated(fact) };
    }),
    calibration: calibrationFacts(),
    evaluation: evaluation(),
  });
}

describe('JSON', () => {
  const schema = JSON.parse(
    readFileSync(new URL('../../docs/report.schema.json', import.meta.url), 'utf8'),
  ) as Schema;

  it('follows the schema, calibrated or not', () => {
    const nothing = { nearest: null, importance: null, result: 0 };
    const odd = { condition: null, outputError: nothing, rounding: 'importance' } as const;
    for (const made of [report(), report([null, odd, {}])]) {
      expect(violations(JSON.parse(JSON.stringify(made)), schema)).toEqual([]);
    }
    const spoilt = JSON.parse(JSON.stringify(report()));
    delete spoilt.tensors[0].calibration.condition;
    spoilt.model.evaluation.base.topAgreement = 2;
    expect(violations(spoilt, schema)).toEqual([
      '$.model.evaluation.base.topAgreement: above 1',
      '$.tensors[0].calibration: no condition',
    ]);
  });

  it('keeps what multiplied matrices among the facts of the run', () => {
    const { model, run } = report();
    expect(run.gemm).toBe('blas: libopenblas.so.0');
    const { gemm: _gemm, ...facts } = calibrationFacts();
    expect(model.calibration).toEqual(facts);
    expect(buildReport(result([[planned(), sums(1024, 0.1)]])).run.gemm).toBeNull();
    const without = buildReport({
      ...result([[planned(), sums(1024, 0.1)]]),
      calibration: { ...calibrationFacts(), gemm: 'wasm', withoutBlas: 'koffi is not installed' },
    });
    expect(without.run).toMatchObject({ gemm: 'wasm', withoutBlas: 'koffi is not installed' });
    expect(without.model.calibration).toEqual(facts);
    expect(violations(JSON.parse(JSON.stringify(without)), schema)).toEqual([]);
  });
});

describe('output errors together', () => {
  it('are geometric means', () => {
    const errors = [
      calibrated({ outputError: { nearest: 0.04, importance: 0.02, result: 0.01 } }),
      calibrated({ outputError: { nearest: 0.01, importance: 0.005, result: 0.0025 } }),
      null,
    ];
    const { tensors, nearest, importance, result } = outputErrorsOf(errors)!;
    expect(tensors).toBe(2);
    expect(nearest).toBeCloseTo(0.02, 12);
    expect(importance).toBeCloseTo(0.01, 12);
    expect(result).toBeCloseTo(0.005, 12);
  });

  it('leave out what cannot be compared, and take nearest where a type has no coding under importance', () => {
    const of = (outputError: TensorCalibration['outputError']) => calibrated({ outputError });
    expect(
      outputErrorsOf([
        of({ nearest: null, importance: null, result: 0.5 }),
        of({ nearest: 0, importance: null, result: 0 }),
        of({ nearest: 0.5, importance: null, result: 0.25 }),
      ]),
    ).toEqual({ tensors: 1, nearest: 0.5, importance: 0.5, result: 0.25 });
    expect(outputErrorsOf([null])).toBeNull();
  });
});

describe('warnings', () => {
  it('none where all is well', () => {
    expect(report().warnings).toEqual(['of the plan']);
  });

  it('too few inputs, dead channels, raised damping: each with its numbers', () => {
    const { warnings } = report([
      { tokens: 1000, escalations: 2, damping: 0.1 },
      { deadChannels: 5, tokens: 4 * 256 },
      { tokens: 1023, escalations: 1, damping: 0.03 },
    ]);
    expect(warnings).toEqual([
      'of the plan',
      '2 tensors saw fewer than 4 inputs for each column, too few to tell columns apart; calibrate on more text ' +
        '(--calibration-tokens): blk.0.attn_q.weight (1000 inputs for 256 columns), ' +
        'output.weight (1023 inputs for 256 columns)',
      '1 tensor had input channels that were 0 in the whole text; their weights count for nothing: ' +
        'blk.0.ffn_down.weight (5 of 256)',
      'the Hessian of 2 tensors could be factored only with more damping: blk.0.attn_q.weight ' +
        '(0.1 of the mean diagonal, raised 2 times), output.weight (0.03 of the mean diagonal, raised 1 time)',
    ]);
  });

  it('three tensors by name, and how many more', () => {
    const [, warning] = report(Array.from({ length: 5 }, () => ({ deadChannels: 1 }))).warnings;
    expect(warning).toMatch(/output\.weight \(1 of 256\) and 2 more$/);
  });
});

describe('on a terminal', () => {
  it('the summary names text, method, gain and evaluation', () => {
    const lines = renderSummary(report()).split('\n');
    expect(lines).toContain('text   bundled prose: 131 k tokens in 512 windows of 256; gptq, damping 0.01');
    expect(lines).toContain(
      'output error 4.00e-2 nearest -> 2.00e-2 importance -> 1.00e-2 as written (geometric means over 3 tensors)',
    );
    expect(lines).toContain('eval   perplexity 12.346 ± 0.210 over 12.8 k tokens of eval.txt; 12.100 before');
    expect(lines).toContain(
      '       KL divergence 1.40e-2 ± 3.00e-4, median 5.00e-3, 99 % 9.00e-2; same top token 95.25 %',
    );
  });

  it('the table has the output error, and its share of that of plain coding', () => {
    const { tensors } = report([{}, null, { outputError: { nearest: null, importance: null, result: 0.5 } }]);
    const lines = renderTensors(tensors, 10).split('\n');
    expect(lines[0]).toMatch(/cosine +out\. error +of nearest$/);
    expect(lines.find((line) => line.startsWith(names[0]))).toMatch(/1\.00e-2 +25 %$/);
    expect(lines.find((line) => line.startsWith(names[1]))).toMatch(/1\.00000$/);
    expect(lines.find((line) => line.startsWith(names[2]))).toMatch(/5\.00e-1$/);
    const plain = buildReport(result([[planned(), sums(1024, 0.1)]]));
    expect(renderTensors(plain.tensors, 10)).not.toContain('out. error');
    expect(renderSummary(plain)).not.toMatch(/windows|output error|perplexity/);
  });
});
