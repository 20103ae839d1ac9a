import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../src/cli/run.ts';
import { planQuantization, type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import type { Estimate } from '../../src/plan/estimate.ts';
import { buildReport, type ReportedTensor } from '../../src/report/report.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { goldenModels } from '../support/golden.ts';
import { fakeIo } from '../support/io.ts';

/** The other commands on real files: what they say is what a run says. */

async function command<T>(...argv: string[]): Promise<T> {
  const { io, stdout, stderr } = fakeIo();
  expect([await run([...argv, '--json'], io), stderr()]).toEqual([0, '']);
  return JSON.parse(stdout()) as T;
}

const inputs = [
  { name: 'sotu-3m', there: true, checkpoint: sotu },
  // Stacked experts, and two shards of float16.
  ...goldenModels.filter(({ name }) => name === 'mixtral_256' || name === 'llama_spm_f16'),
];
const schemes: Partial<QuantizeOptions>[] = [
  { type: 'F16' },
  { type: 'Q8_0' },
  { type: 'Q3_K_M' },
  { type: 'IQ4_XS' },
  { method: 'ternary' },
  { method: 'zero-point', bits: 8 },
];

describe.each(inputs)('compare, $name', ({ there, checkpoint }) => {
  const convert = conversions(checkpoint);

  it.skipIf(!there).each(schemes)('the checkpoint and %j: the errors of the report', async (scheme) => {
    const { path, result } = await convert(scheme);
    const reported = buildReport(result);
    const compared = await command<{
      tensors: ReportedTensor[];
      total: { weights: number; metrics: unknown };
    }>('compare', checkpoint, path);
    expect(compared).toMatchObject({ onlyA: [], onlyB: [], notCompared: [] });
    const byName = (tensors: readonly ReportedTensor[]) =>
      new Map(tensors.map(({ name, metrics }) => [name, metrics]));
    // Scales and zero points of rows are no tensors of the model.
    const ofModel = reported.tensors.filter(({ name }) => !/\.(scale|zero_point)$/.test(name));
    expect(byName(compared.tensors)).toEqual(byName(ofModel));
    expect(compared.total.weights).toBe(reported.model.weights);
  });

  it.skipIf(!there)('the checkpoint and safetensors made of a GGUF, whose names they keep', async () => {
    const { path: input, result } = await convert({ type: 'Q8_0' });
    const output = input.replace(/gguf$/, 'safetensors');
    await quantize({ input, output, type: 'F32', decode: true, threads: 2 });
    const compared = await command<{ tensors: ReportedTensor[] }>('compare', checkpoint, output);
    expect(compared).toMatchObject({ onlyA: [], onlyB: [], notCompared: [] });
    const errors = new Map(buildReport(result).tensors.map(({ name, metrics }) => [name, metrics.mse]));
    expect(new Map(compared.tensors.map(({ name, metrics }) => [name, metrics.mse]))).toEqual(errors);
  });

  it.skipIf(!there)('two GGUF files: the F32 one stands for the checkpoint', async () => {
    const [original, quantized] = await Promise.all([convert({ type: 'F32' }), convert({ type: 'Q4_K_M' })]);
    const ofFiles = await command<{ tensors: ReportedTensor[] }>('compare', original.path, quantized.path);
    const ofModel = await command<{ tensors: ReportedTensor[] }>('compare', checkpoint, quantized.path);
    expect(ofFiles.tensors.length).toBe(quantized.result.tensors.length);
    const metrics = new Map(ofModel.tensors.map((tensor) => [tensor.name, tensor.metrics]));
    for (const tensor of ofFiles.tensors) expect(tensor.metrics).toEqual(metrics.get(tensor.name));
  });
});

describe('estimate', () => {
  let estimates: Map<string, Estimate>;
  beforeAll(async () => {
    const facts = await command<{ estimates: Estimate[] }>('estimate', sotu);
    estimates = new Map(facts.estimates.map((estimate) => [estimate.name, estimate]));
  });

  const manifest = JSON.parse(readFileSync(join(repository, 'fixtures/golden/sotu-3m.json'), 'utf8')) as {
    files: Record<string, { bytes: number; options: { type?: string; method?: string } }>;
  };
  const written = Object.values(manifest.files).flatMap(({ bytes, options: { type, method } }) =>
    type !== undefined && method === undefined ? [[type, bytes] as const] : [],
  );
  const nameOf = (type: string) => ({ F32: 'FP32', F16: 'FP16' })[type] ?? type;

  it.each(written)('%s: the size of the file', (type, bytes) => {
    const estimate = estimates.get(nameOf(type))!;
    expect(estimate).toMatchObject({ writable: true, size: { fileBytes: bytes } });
    if (estimate.pure === null) return; // plain number formats have none
    const { layout } = planQuantization({ input: sotu, type, pure: true });
    expect(estimate.pure.fileBytes).toBe(layout.fileBytes);
  });

  it('promises no type that cannot be written', () => {
    const promised = [...estimates.values()].filter(({ writable, kind }) => writable && kind !== 'number');
    const types = new Set<string>(written.map(([type]) => type));
    expect(promised.map(({ name }) => name).filter((name) => !types.has(name))).toEqual([]);
  });
});
