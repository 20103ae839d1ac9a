import { spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../../src/report/report.ts';
import { type Schema, violations } from '../support/json-schema.ts';

/** The built command on the bundled model. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const model = 'fixtures/sotu-3m';
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantize-end-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string) => join(directory, name);
const environment = { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined };
const quantize = (...argv: string[]) =>
  spawnSync(process.execPath, ['bin/quantize.js', ...argv], {
    cwd: root,
    encoding: 'utf8',
    env: environment,
  });

describe('quantize', () => {
  it('writes the model and a report that its schema accepts', () => {
    const { status, stdout, stderr } = quantize(model, '--type', 'Q4_K_M', '-o', at('a.gguf'), '--json');
    expect(stderr).toContain(`wrote ${at('a.gguf')}: `);
    expect(status).toBe(0);
    const report = JSON.parse(stdout) as Report;
    const schema = JSON.parse(readFileSync(join(root, 'docs/report.schema.json'), 'utf8')) as Schema;
    expect(violations(report, schema)).toEqual([]);
    expect(report.model.fileBytes).toBe(readFileSync(at('a.gguf')).length);
  });

  it('gives one report and one file at any number of threads, chunk size and kernels', () => {
    const runs = [
      ['--threads', '1'],
      ['--threads', '2', '--chunk-size', '65536'],
      ['--threads', '3', '--kernels', 'scalar'],
    ].map((options, i) => {
      const [file, report] = [at(`same-${i}.gguf`), at(`same-${i}.json`)];
      const { status, stderr } = quantize(
        model,
        '--type',
        'Q4_0',
        '-o',
        file,
        '--report',
        report,
        '--quiet',
        ...options,
      );
      expect([status, stderr]).toEqual([0, '']);
      const { run: _run, ...rest } = JSON.parse(readFileSync(report, 'utf8')) as Report;
      return { file: readFileSync(file), report: JSON.stringify(rest) };
    });
    for (const { file, report } of runs.slice(1)) {
      expect(file.equals(runs[0].file)).toBe(true);
      expect(report).toBe(runs[0].report);
    }
  });

  it('streams to standard output what it would write', () => {
    expect(quantize(model, '--type', 'Q8_0', '-o', at('file.gguf')).status).toBe(0);
    const out = openSync(at('stream.gguf'), 'w');
    const { status } = spawnSync(process.execPath, ['bin/quantize.js', model, '--type', 'Q8_0', '-o', '-'], {
      cwd: root,
      stdio: ['ignore', out, 'ignore'],
    });
    expect(status).toBe(0);
    expect(readFileSync(at('stream.gguf')).equals(readFileSync(at('file.gguf')))).toBe(true);
  });

  it('ends by status 3 below a bar, the file and report kept', () => {
    const file = at('bar.gguf');
    const { status, stderr } = quantize(
      model,
      '--type',
      'Q4_K_M',
      '--min-sqnr',
      '22.85',
      '--quiet',
      '-o',
      file,
    );
    expect(status).toBe(3);
    expect(stderr).toMatch(
      /^error: 2 of 29 quantized tensors miss the quality bar, the worst first:\n {2}blk\.1\.attn_v/,
    );
    expect(readFileSync(file).length).toBeGreaterThan(1e6);
    expect(quantize(model, '--type', 'Q4_K_M', '--min-sqnr', '22', '-o', file, '--force').status).toBe(0);
  });

  it('plans without writing', () => {
    const before = readdirSync(directory);
    const { status, stdout } = quantize(
      model,
      '--type',
      'Q4_K_M',
      '-o',
      at('no.gguf'),
      '--dry-run',
      '--json',
    );
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ schema: 'gguf-quantize/plan', fileType: 'Q4_K_M' });
    expect(readdirSync(directory)).toEqual(before);
  });

  it('says what to type instead', () => {
    expect(quantize(model, '--type', 'Q4_KM')).toMatchObject({ status: 2, stdout: '' });
    expect(quantize(model, '--type', 'Q4_KM').stderr).toContain('did you mean Q4_K_M');
  });
});

describe('inspect and compare', () => {
  it('agree with the report of the run, to the bit', () => {
    const report = JSON.parse(
      quantize(model, '--type', 'Q5_K_S', '-o', at('c.gguf'), '--json').stdout,
    ) as Report;
    const compared = JSON.parse(quantize('compare', model, at('c.gguf'), '--json').stdout);
    expect(compared).toMatchObject({ onlyA: [], onlyB: [], notCompared: [] });
    const metrics = new Map(report.tensors.map((tensor) => [tensor.name, tensor.metrics]));
    expect(compared.tensors).toHaveLength(report.tensors.length);
    for (const tensor of compared.tensors) expect(tensor.metrics).toEqual(metrics.get(tensor.name));

    const inspected = JSON.parse(quantize('inspect', at('c.gguf'), '--json').stdout);
    expect(
      inspected.tensors.map(({ name, type, shape }: Report['tensors'][0]) => ({ name, type, shape })),
    ).toEqual(report.tensors.map(({ name, type, shape }) => ({ name, type, shape })));
    expect(inspected.total).toMatchObject({
      weights: report.model.weights,
      bytes: report.model.bytesAfter,
      fileBytes: report.model.fileBytes,
    });
  });

  it('refuse what is no model by its named error', () => {
    for (const command of [['inspect'], ['estimate'], ['compare', model]]) {
      const { status, stdout, stderr } = quantize(...command, 'package.json');
      expect([status, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/^error: (?!.*bug)/);
    }
  });
});
