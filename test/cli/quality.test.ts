import { describe, expect, it } from 'vitest';
import { QualityError, requireQuality } from '../../src/cli/quality.ts';
import { buildReport } from '../../src/report/report.ts';
import { planned, result, sums } from '../support/results.ts';

/** Relative errors 1/4 (6.02 dB), 1/16 (12.04 dB), 0, and a float tensor with 1. */
const { tensors } = buildReport(
  result([
    [planned({ name: 'float', type: 'F16', encoder: 'F16' }), sums(1024, 1)],
    [planned({ name: 'fine' }), sums(1024, 0.25)],
    [planned({ name: 'bad' }), sums(1024, 0.5)],
    [planned({ name: 'exact' }), sums(1024, 0)],
  ]),
);

function failure(bars: Parameters<typeof requireQuality>[1]): QualityError {
  try {
    requireQuality(tensors, bars);
  } catch (error) {
    if (error instanceof QualityError) return error;
  }
  throw new Error('no bar was missed');
}

describe('requireQuality', () => {
  it.each([[{}], [{ maxError: 0.25 }], [{ minSqnr: 6 }], [{ maxError: 0.3, minSqnr: 6 }]])(
    'passes %j',
    (bars) => {
      expect(() => requireQuality(tensors, bars)).not.toThrow();
    },
  );

  it('names the worst first, quantized ones only, with exit status 3', () => {
    const error = failure({ maxError: 0 });
    expect(error.exitCode).toBe(3);
    expect(error.message.match(/^ {2}(\w+) \(/gm)).toEqual(['  bad (', '  fine (']);
    expect(error.message).toContain('2 of 3 quantized tensors');
    expect(error.message).toContain('bad (Q4_K): relative error 2.50e-1, SQNR 6.0 dB');
    expect(error.message).toContain('relative error at most 0');
  });

  it('takes either bar', () => {
    expect(failure({ maxError: 1, minSqnr: 10 }).message).toContain('1 of 3 quantized tensors misses');
    expect(failure({ maxError: 0.1, minSqnr: 0 }).message).toContain('1 of 3 quantized tensors misses');
  });

  it('counts a zero tensor that is zero no longer as worse than any bar', () => {
    const spoilt = buildReport(result([[planned(), { ...sums(1024, 0.1), sumX2: 0, sumXQ: 0 }]]));
    expect(() => requireQuality(spoilt.tensors, { maxError: 1e300 })).toThrow(QualityError);
    expect(() => requireQuality(spoilt.tensors, { minSqnr: -1e300 })).toThrow(QualityError);
  });

  it('names ten and counts the rest', () => {
    const many = buildReport(
      result(Array.from({ length: 13 }, (_, i) => [planned({ name: `t${i}` }), sums(1024, 0.5)])),
    );
    expect(() => requireQuality(many.tensors, { minSqnr: 50 })).toThrow(/ {2}t9 .*\n {2}and 3 more/);
  });
});
