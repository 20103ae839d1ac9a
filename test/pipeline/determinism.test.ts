import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { QuantizeOptions } from '../../src/pipeline.ts';
import { buildReport } from '../../src/report/report.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { sha256 } from '../support/golden.ts';

/** The same input and options give the same file and the same report, whatever machine and settings they meet. */

/** One of each family of codings, and the mixture that has most of them. */
const schemes: Partial<QuantizeOptions>[] = [
  { type: 'F32' },
  { type: 'BF16' },
  { type: 'Q8_0' },
  { type: 'Q4_0' },
  { type: 'Q5_1' },
  { type: 'Q1_0' },
  { type: 'Q2_0' },
  { type: 'Q2_K' },
  { type: 'Q3_K_M' },
  { type: 'Q4_K_M' },
  { type: 'IQ4_XS' },
  { type: 'TQ1_0' },
  { method: 'ternary' },
  { method: 'zero-point', bits: 8 },
];

/** The bundled model's largest tensor has 16 chunks of 32768 weights, and one of the default size. */
const settings: Partial<QuantizeOptions>[] = [
  { threads: 2 },
  { threads: 3 },
  { threads: 1, chunkSize: 32_768 },
  { threads: 3, chunkSize: 32_768 },
  { threads: 2, chunkSize: 65_536 },
  { threads: 2, kernels: 'scalar' },
];

describe.each(schemes.map((scheme) => [JSON.stringify(scheme), scheme] as const))('%s', (_name, scheme) => {
  const convert = conversions(sotu);
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
