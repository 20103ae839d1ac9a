import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { estimateCommand, sizedModel } from '../../src/cli/estimate.ts';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import { planQuantization, quantize } from '../../src/pipeline.ts';
import { type Estimate, estimateSizes } from '../../src/plan/estimate.ts';
import { type Mixture, mixtures, uniformTypes } from '../../src/plan/mixtures.ts';
import { canWrite } from '../../src/quantize/supported.ts';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { fakeIo } from '../support/io.ts';
import { checkpoint, stored } from '../support/results.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const model = fileURLToPath(new URL('../../fixtures/sotu-3m', import.meta.url));
const named = (estimates: readonly Estimate[]) =>
  new Map(estimates.map((estimate) => [estimate.name, estimate]));

describe('the bundled model', () => {
  let estimates: Map<string, Estimate>;
  beforeAll(() => {
    estimates = named(estimateSizes(sizedModel(openCheckpoint(model)), canWrite));
  });

  it('has a row for each number format, mixture and block type', () => {
    for (const name of ['FP32', 'FP16', 'BF16', 'INT8', 'NVFP4']) expect(estimates.has(name)).toBe(true);
    const quantized = [...Object.values<Mixture>(mixtures), ...Object.values(uniformTypes)].filter(
      ({ base }) => dataTypes[base].kind === 'quantized',
    );
    for (const { name } of quantized) expect(estimates.has(name)).toBe(true);
    expect(estimates.size).toBe(4 + quantized.length);
  });

  it('takes what the plan of a run takes, to the byte', () => {
    const bytes = (type: string, pure: boolean) =>
      planQuantization({ input: model, type, pure }).layout.fileBytes;
    for (const [name, type] of [
      ['FP32', 'F32'],
      ['FP16', 'F16'],
      ['BF16', 'BF16'],
    ]) {
      expect(estimates.get(name)?.size?.fileBytes).toBe(bytes(type, false));
    }
    const writable = [...estimates.values()].filter((row) => row.writable && row.kind === 'mixture');
    expect(writable.length).toBeGreaterThan(10);
    for (const { name, size, pure } of writable) {
      expect([name, size?.fileBytes]).toEqual([name, bytes(name, false)]);
      expect([name, pure?.fileBytes]).toEqual([name, bytes(name, true)]);
    }
  });

  it('says what cannot be written, and why', () => {
    expect(estimates.get('Q2_K_S')).toMatchObject({ writable: false, notes: ['needs imatrix'] });
    expect(estimates.get('NVFP4')).toMatchObject({ writable: true, notes: [] });
    expect(estimates.get('Q4_K_M')).toMatchObject({ writable: true, fallbacks: 0, notes: [] });
  });
});

/** Tensors of no known model: a matrix, one whose rows no super-block divides, a vector, integers. */
const shapes: [string, readonly number[], TypeName][] = [
  ['matrix', [3, 256], 'BF16'],
  ['odd', [5, 96], 'BF16'],
  ['norm', [8], 'F32'],
  ['table', [4, 4], 'I32'],
];
const gguf = checkpoint({
  format: 'gguf',
  tensors: new Map(
    shapes.map(([name, shape, type], i) => [name, stored({ name, shape, type, offset: 640 + 4096 * i })]),
  ),
  metadata: [{ key: 'general.alignment', type: 'UINT32', value: 64 }],
});

describe('a GGUF', () => {
  const sized = sizedModel(gguf);
  const estimates = named(estimateSizes(sized, canWrite));

  it.each([
    ['FP16', 1536 + 960 + 64 + 64],
    ['INT8', 768 + 512 + 64 + 64],
    ['Q8_0', 832 + 512 + 64 + 64],
    ['Q4_K', 448 + 384 + 64 + 64], // 96 falls back to Q5_0
  ])('in %s', (name, tensorBytes) => {
    expect(estimates.get(name)?.size?.fileBytes).toBe(sized.headerBytes + tensorBytes);
  });

  it('counts fallbacks, and refuses what has none', () => {
    expect(estimates.get('Q4_K')).toMatchObject({ fallbacks: 1, notes: ['1 fallbacks'] });
    expect(estimates.get('Q1_0')).toMatchObject({ size: null, pure: null, notes: ['impossible for odd'] });
  });
});

describe('the bundled model as GGUF', () => {
  const directory = temporaryDirectory();
  const input = join(directory, 'm.gguf');
  beforeAll(() => quantize({ input: model, output: input, type: 'BF16' }));

  it('takes what the plan of a run takes, to the byte', () => {
    for (const { name, size, pure, writable, kind } of estimateSizes(
      sizedModel(openCheckpoint(input)),
      canWrite,
    )) {
      if (!writable || kind !== 'mixture' || name === 'MXFP4_MOE') continue;
      const bytes = (asked: boolean) => planQuantization({ input, type: name, pure: asked }).layout.fileBytes;
      expect([name, size?.fileBytes, pure?.fileBytes]).toEqual([name, bytes(false), bytes(true)]);
    }
  });
});

it('prints a table, or JSON', () => {
  const table = fakeIo();
  estimateCommand(model, {}, table.io);
  expect(table.stdout()).toMatch(/^Q4_K_M +5\.07 +2\.28 MiB +2391040 +4\.52 +2\.04 MiB$/m);
  const terminal = fakeIo({ stdoutIsTTY: true, env: { NO_COLOR: '1' } });
  estimateCommand(model, {}, terminal.io);
  for (const line of terminal.stdout().split('\n')) expect(line.length).toBeLessThanOrEqual(100);
  const json = fakeIo();
  estimateCommand(model, { json: true }, json.io);
  const parsed = JSON.parse(json.stdout());
  expect(parsed).toMatchObject({ schema: 'gguf-quantize/estimate', version: 1, weights: 3672320 });
  expect(parsed.estimates[0]).toMatchObject({ name: 'FP32', kind: 'number', pure: null, fallbacks: 0 });
  expect([table.stderr(), json.stderr()]).toEqual(['', '']);
});
