import { describe, expect, it } from 'vitest';
import type { PlannedTensor } from '../../src/core/plan.ts';
import { renderRanges } from '../../src/report/ranges.ts';
import { buildReport, isQuantized } from '../../src/report/report.ts';
import { plan, planned, rangedSums, result, sums } from '../support/results.ts';

const norm = planned({
  name: 'output_norm.weight',
  shape: [256],
  type: 'F32',
  encoder: 'F32',
  reason: 'vector',
});
const value = planned({
  name: 'blk.0.attn_v.weight',
  type: 'Q5_0',
  encoder: 'Q5_0',
  fallbackFrom: 'Q4_K',
  importance: new Float32Array(256),
});
const down = planned({ shape: [256, 4], type: 'Q4_K' });
const finished = result([
  [norm, sums(256, 0)],
  [value, sums(1024, 0.125, 300)],
  [down, sums(1024, 0.0625, 5)],
]);

describe('buildReport', () => {
  const report = buildReport(finished);

  it('describes each tensor', () => {
    expect(report.tensors[1]).toEqual({
      name: 'blk.0.attn_v.weight',
      type: 'Q5_0',
      encoder: 'Q5_0',
      quantized: true,
      importance: true,
      shape: [256, 4],
      weights: 1024,
      bitsPerWeight: 5.5,
      bytesBefore: 2048,
      bytesAfter: 704,
      reason: 'mixture Q4_K_M',
      fallbackFrom: 'Q4_K',
      ranges: null,
      calibration: null,
      metrics: {
        mse: 1 / 64,
        rmse: 0.125,
        relativeError: 1 / 64,
        sqnrDb: 10 * Math.log10(64),
        cosine: 1,
        maxError: { value: 0.125, index: 300, row: 1, column: 44 },
      },
    });
  });

  it('says which tensors were coded under importance', () => {
    expect(report.tensors.map(({ importance }) => importance)).toEqual([false, true, false]);
  });

  it('adds up the model', () => {
    const { metrics, ...model } = report.model;
    expect(model).toEqual({
      architecture: 'llama',
      fileType: 'Q4_K_M',
      method: 'kquant',
      runnable: true,
      notRunnableReason: null,
      tensors: 3,
      quantizedTensors: 2,
      importanceTensors: 1,
      weights: 2304,
      bytesBefore: 512 + 2048 + 2048,
      bytesAfter: 1024 + 704 + 576,
      fileBytes: 5000,
      split: null,
      bitsPerWeight: (8 * 2304) / 2304,
      compressionRatio: 2,
      ranges: null,
      calibration: null,
      outputErrors: null,
      evaluation: null,
    });
    expect(metrics.mse).toBe((1024 / 64 + 1024 / 256) / 2304);
    expect(metrics.maxError).toEqual({ value: 0.125, index: 300, row: 1, column: 44, tensor: value.name });
  });

  it('takes scales and zero points as bytes, not as weights', () => {
    const codes = planned({ type: 'I8', encoder: 'I8:zero-point' });
    const zeroPoints = planned({
      name: 'blk.0.ffn_down.zero_point',
      shape: [4],
      type: 'I8',
      encoder: 'I8:zero-point',
      source: { kind: 'row-range', of: codes.name, what: 'zero-point' },
    });
    const { model, tensors } = buildReport(
      result([
        [codes, sums(1024, 0.125)],
        [zeroPoints, { ...sums(4, 0), sumX2: 4e6 }],
      ]),
    );
    expect(model).toMatchObject({ weights: 1024, quantizedTensors: 1, bytesAfter: 1028 });
    expect(model.bitsPerWeight).toBe((8 * 1028) / 1024);
    expect(model.metrics.relativeError).toBe(1 / 64);
    expect(tensors.map(({ quantized }) => quantized)).toEqual([true, false]);
  });

  it('prices fallbacks', () => {
    expect(report.fallbacks).toEqual([
      { tensor: value.name, from: 'Q4_K', to: 'Q5_0', extraBitsPerWeight: 1, extraBytes: 128 },
    ]);
  });

  it('differs between runs in `run` alone', () => {
    const again = buildReport({ ...finished, run: { ...finished.run, startedAt: 'later', threads: 7 } });
    expect({ ...again, run: null }).toEqual({ ...report, run: null });
    expect(again.run).not.toEqual(report.run);
  });

  it('writes infinite figures as null, and survives JSON unchanged', () => {
    const spoilt = { ...sums(1024, 0.5), sumX2: 0, sumXQ: 0 };
    const { tensors } = buildReport(
      result([
        [norm, sums(256, 0)],
        [down, spoilt],
      ]),
    );
    expect(tensors.map(({ metrics }) => [metrics.mse, metrics.relativeError, metrics.sqnrDb])).toEqual([
      [0, 0, null],
      [0.25, null, null],
    ]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  it('says why a file cannot run', () => {
    const odd = result([[down, sums(1024, 0.1)]]);
    const { model, warnings } = buildReport({
      ...odd,
      plan: plan({ runnable: { yes: false, reason: 'no config.json' }, warnings: ['a'] }),
    });
    expect(model).toMatchObject({ runnable: false, notRunnableReason: 'no config.json' });
    expect(warnings).toEqual(['a']);
  });
});

it('takes scales and zero points of rows for a part of the coding, not for weights', () => {
  const codes = planned({ name: 'a.weight', type: 'I8', encoder: 'I8:zero-point' });
  const of = (what: 'scale' | 'zero-point') => ({ kind: 'row-range', of: 'a.weight', what }) as const;
  const scale = planned({ name: 'a.scale', shape: [4], type: 'F32', encoder: 'F32', source: of('scale') });
  const zero = planned({
    name: 'a.zero_point',
    shape: [4],
    type: 'I8',
    encoder: 'I8:zero-point',
    source: of('zero-point'),
  });
  const { model, tensors } = buildReport(
    result([
      [codes, sums(1024, 0.5)],
      [scale, sums(4, 0)],
      [zero, sums(4, 0)],
    ]),
  );
  expect(model).toMatchObject({ tensors: 3, quantizedTensors: 1, weights: 1024, bytesAfter: 1024 + 16 + 4 });
  expect(model.bitsPerWeight).toBe((8 * 1044) / 1024);
  expect(model.metrics.relativeError).toBe(tensors[0].metrics.relativeError);
});

it('counts integer codes as quantized and plain floats not', () => {
  expect(isQuantized(planned({ type: 'I8', encoder: 'I8:zero-point' }))).toBe(true);
  expect(isQuantized(planned({ type: 'TQ2_0', encoder: 'TQ2_0:range' }))).toBe(true);
  expect(isQuantized(planned({ type: 'F16', encoder: 'F16' }))).toBe(false);
});

describe('chosen ranges', () => {
  const range: PlannedTensor['range'] = {
    rule: { kind: 'percentile', percent: 99.9 },
    granularity: 'channel',
    symmetry: 'full',
    center: false,
  };
  const clipped = rangedSums();
  const { model, tensors } = buildReport(
    result([
      [planned({ type: 'Q8_0', encoder: 'Q8_0:range', range }), clipped],
      [planned({ type: 'F32', encoder: 'F32' }), sums(1024, 0)],
      [planned({ type: 'Q8_0', encoder: 'Q8_0:range', range }), { ...clipped, sumE2: 16 - 1e-12 }],
    ]),
  );

  it('have their ends, and bulk and outliers apart', () => {
    expect(tensors[0].ranges).toEqual({
      ...{ rule: 'percentile=99.9', granularity: 'channel', symmetry: 'full', center: false },
      ...{ low: { least: -1.5, most: -1 }, high: { least: 1, most: 1.5 } },
      outlierAbove: 6 * Math.sqrt(1056 / 1024),
      ...{ clipped: 4 / 1024, zeros: 0.5 },
      outliers: { weights: 4, relativeError: 16 / 36, rmse: 2 },
      bulk: { weights: 1020, relativeError: expect.closeTo(0.01, 12), rmse: expect.closeTo(0.1, 12) },
    });
    expect(tensors[1].ranges).toBeNull();
  });

  it('never have less than no error', () => {
    expect(tensors[2].ranges?.bulk).toEqual({ weights: 1020, relativeError: 0, rmse: 0 });
  });

  it('add up over the model', () => {
    expect(model.ranges).toMatchObject({
      ...{ tensors: 2, weights: 2048, clipped: 4 / 1024, zeros: 0.5 },
      outliers: { weights: 8, relativeError: 16 / 36 },
    });
    const text = renderRanges(model.ranges!, tensors).join('\n');
    expect(text).toContain(
      'ranges percentile=99.9, full, one a channel, of 2.05 k weights: 0.391 % clipped, 50.0 % became 0',
    );
    expect(text).toContain('4.44e-1 of 8 outliers');
  });
});
