import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesOf, elementsOf } from '../../src/core/types.ts';
import type { Report } from '../../src/report/report.ts';
import { quantize, root } from '../support/cli.ts';
import { distributions } from '../support/distributions.ts';
import { readOutput } from '../support/output.ts';
import { floatTensor, safetensorsBytes } from '../support/safetensors-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

/** Rows that no super-block divides: what the terminal and the report say of it, against the file itself. */

async function run(input: string, type: string) {
  const output = join(temporaryDirectory(), 'm.gguf');
  const { status, stderr } = await quantize([
    input,
    '--type',
    type,
    '-o',
    output,
    '--report',
    `${output}.json`,
  ]);
  expect(status).toBe(0);
  const report = JSON.parse(readFileSync(`${output}.json`, 'utf8')) as Report;
  return { report, stderr, output };
}

/** Every size in a report, from the tensors of the file. */
function expectSizes({ model, tensors, fallbacks }: Report, output: string): void {
  const written = readOutput(output).tensors;
  const weights = [...written.values()].reduce((sum, { shape }) => sum + elementsOf(shape), 0);
  const bytes = [...written.values()].reduce((sum, each) => sum + each.bytes.length, 0);
  expect(model).toMatchObject({ weights, bytesAfter: bytes, fileBytes: statSync(output).size });
  expect(model.bitsPerWeight).toBe((8 * bytes) / weights);
  expect(model.compressionRatio).toBe(model.bytesBefore / bytes);
  expect(model.bytesBefore).toBe(tensors.reduce((sum, { bytesBefore }) => sum + bytesBefore, 0));
  for (const { tensor, from, to, extraBytes } of fallbacks) {
    const { type, shape, bytes } = written.get(tensor)!;
    expect(type).toBe(to);
    expect(extraBytes).toBe(bytes.length - bytesOf(from, elementsOf(shape)));
  }
}

describe('fallbacks', () => {
  it('are loud on the terminal, with their cost', async () => {
    const tensor = (name: string, shape: number[]) =>
      floatTensor(name, 'BF16', shape, distributions.gaussian(elementsOf(shape), 1));
    const tensors = [
      tensor('a', [64, 256]),
      tensor('b', [64, 160]),
      tensor('c', [96, 160]),
      tensor('d', [64, 100]),
    ];
    const input = put(temporaryDirectory(), 'odd.safetensors', safetensorsBytes(tensors));
    const { report, stderr, output } = await run(input, 'Q4_K_S');
    expectSizes(report, output);
    expect(report.model.bytesBefore).toBe(2 * (64 * 256 + 160 * 160 + 64 * 100));
    expect(report.fallbacks).toEqual([
      { tensor: 'b', from: 'Q4_K', to: 'Q5_0', extraBitsPerWeight: 1, extraBytes: (64 * 160) / 8 },
      { tensor: 'c', from: 'Q4_K', to: 'Q5_0', extraBitsPerWeight: 1, extraBytes: (96 * 160) / 8 },
      { tensor: 'd', from: 'Q4_K', to: 'F16', extraBitsPerWeight: 11.5, extraBytes: (6400 * 11.5) / 8 },
    ]);
    expect(report.tensors.map(({ fallbackFrom }) => fallbackFrom)).toEqual([null, 'Q4_K', 'Q4_K', 'Q4_K']);
    // Once before the work, and again under the table.
    expect(stderr).toContain(
      'warning: rows of 160 do not divide into Q4_K blocks of 256: 2 tensors (b, ...) get Q5_0, +1.00 bits per weight',
    );
    expect(stderr).toContain(
      'warning: rows of 100 do not divide into Q4_K blocks of 256: d gets F16, +11.50 bits',
    );
    expect(stderr).toMatch(/\nfallback Q4_K -> Q5_0 in 2 tensors: \+1\.00 bits per weight, \+3\.13 KiB\n/);
    expect(stderr).toMatch(/\nfallback Q4_K -> F16 in 1 tensor: \+11\.50 bits per weight, \+8\.98 KiB\n/);
  });

  const ts656k = join(root, '..', 'shared', 'models', 'ts-656k');
  it.runIf(existsSync(ts656k))('of a model of width 128 (shared/models/ts-656k)', async () => {
    const { report, stderr, output } = await run(ts656k, 'Q4_K_M');
    expectSizes(report, output);
    expect(report.model.runnable).toBe(true);
    expect(report.fallbacks).toHaveLength(report.model.quantizedTensors);
    expect(stderr).toMatch(/\nfallback Q4_K -> Q5_0 in \d+ tensors: \+1\.00 bits per weight, \+\d/);
  });
});
