import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { QuantizeOptions } from '../../src/pipeline.ts';
import { buildReport } from '../../src/report/report.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { sha256 } from '../support/golden.ts';

/** A mixture of super-blocks, a table of levels, and one of each way to choose ranges. */
export const fewSchemes: readonly Partial<QuantizeOptions>[] = [
  { type: 'Q4_K_M' },
  { type: 'IQ4_XS' },
  { method: 'ternary' },
  { method: 'absmax', bits: 8, granularity: 'tensor', range: 'mse', symmetric: 'full' },
  { method: 'absmax', bits: 4, range: 'percentile=95' },
  { method: 'zero-point', bits: 4, granularity: 'tensor', range: 'entropy' },
  { method: 'binary', granularity: 'tensor', center: true },
  { method: 'zero-point', bits: 8 },
];

/** Those and one of each other coding. */
const allSchemes: readonly Partial<QuantizeOptions>[] = [
  ...fewSchemes,
  { type: 'F32' },
  { type: 'Q4_0' },
  { type: 'Q2_K' },
  { method: 'absmax', bits: 4, granularity: 'channel', range: 'mse' },
  { type: 'BF16' },
  { type: 'Q8_0' },
  { type: 'Q5_1' },
  { type: 'Q1_0' },
  { type: 'Q2_0' },
  { type: 'Q3_K_M' },
  { type: 'TQ1_0' },
  { method: 'absmax', bits: 4, granularity: 'tensor', range: 'percentile=99.9' },
  { method: 'zero-point', bits: 2, granularity: 'channel' },
];

type Settings = readonly Partial<QuantizeOptions>[];

/** The same input and options give the same file and the same report, whatever machine and settings they meet. */
export const describeDeterminism = (settings: Settings, schemes = allSchemes, model = sotu): void =>
  describe.each(schemes.map((scheme) => [JSON.stringify(scheme), scheme] as const))('%s', (_name, scheme) => {
    const convert = conversions(model);
    const outcome = async (options: Partial<QuantizeOptions>) => {
      const { path, result } = await convert({ ...scheme, ...options, histograms: true });
      const { run, ...report } = buildReport(result);
      return { file: sha256(readFileSync(path)), report: JSON.stringify(report), run };
    };

    it.each(settings.map((options) => [JSON.stringify(options), options] as const))(
      '%s gives what one thread gives',
      async (_label, options) => {
        const [got, expected] = [await outcome(options), await outcome({ threads: 1, kernels: 'simd' })];
        expect(got.run).toMatchObject({ threads: options.threads, kernels: options.kernels ?? 'simd' });
        expect(got.file).toBe(expected.file);
        expect(JSON.parse(got.report)).toEqual(JSON.parse(expected.report)); // names the figure
        expect(got.report).toBe(expected.report);
      },
    );
  });
