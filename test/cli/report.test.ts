import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { reportCommand } from '../../src/cli/report.ts';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import type { Report } from '../../src/report/report.ts';
import { statisticsFile } from '../../src/write/activation-statistics.ts';
import { bundledModel, hashOf, quantize, root } from '../support/cli.ts';
import { parseHtml } from '../support/html.ts';
import { imatrixBytes } from '../support/imatrix-writer.ts';
import { fakeIo } from '../support/io.ts';
import { type Schema, violations } from '../support/json-schema.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
const at = (name: string) => join(directory, name);
const text = (name: string) => readFileSync(at(name), 'utf8');
const report = (name: string) => JSON.parse(text(name)) as Report;
const made = ['--output', at('Q4_K_M.gguf'), '--report', at('Q4_K_M.html'), '--report', at('Q4_K_M.json')];

beforeAll(() => {
  const run = (...argv: string[]) =>
    execFileSync(process.execPath, ['bin/quantize.js', bundledModel, '--quiet', ...argv], { cwd: root });
  run('--type', 'Q4_K_M', ...made);
  run('--type', 'Q8_0', '-o', at('Q8_0.gguf'), '--report', at('Q8_0.json'));
  run('--type', 'Q4_0', '-o', at('Q4_0.gguf'), '--report', at('Q4_0.json'));
});

describe('a run with a page and JSON', () => {
  it('writes both; the JSON follows the schema and has the histograms and hashes that the page shows', () => {
    expect(() => parseHtml(text('Q4_K_M.html'))).not.toThrow();
    const schema = JSON.parse(readFileSync(join(root, 'docs/report.schema.json'), 'utf8')) as Schema;
    const { tensors, hashes, run } = report('Q4_K_M.json');
    expect(violations(report('Q4_K_M.json'), schema)).toEqual([]);
    expect(tensors.filter(({ histogram }) => histogram).map(({ name }) => name)).toEqual(
      tensors.filter(({ quantized }) => quantized).map(({ name }) => name),
    );
    expect(hashes.outputs).toEqual([
      {
        bytes: statSync(at('Q4_K_M.gguf')).size,
        headerSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        sha256: hashOf(at('Q4_K_M.gguf')),
      },
    ]);
    expect(text('Q4_K_M.html')).toContain(hashOf(at('Q4_K_M.gguf')));
    expect(run.command).toEqual([bundledModel, '--quiet', '--type', 'Q4_K_M', ...made]);
  });

  it('counts every weight once, and takes code points of one scale', () => {
    for (const { name, type, weights, histogram } of report('Q4_K_M.json').tensors) {
      if (histogram === undefined) continue;
      const { before, after, counted, group } = histogram;
      expect(counted, name).toBe(weights);
      for (const side of [before, after]) {
        expect(side.counts.reduce((sum, count) => sum + count, side.below + side.above)).toBe(weights);
        expect(side.counts.length).toBeGreaterThan(64);
      }
      expect(group.values.length).toBeGreaterThan(4);
      expect(group.values.length).toBeLessThanOrEqual(16);
      expect(group.start % dataTypes[type as TypeName].blockSize).toBe(0);
      expect(after.min).toBeLessThanOrEqual(group.values[0]);
    }
  });

  it('leaves histograms out of JSON that nobody asked for more than JSON', () => {
    expect(text('Q8_0.json')).not.toContain('histogram');
    expect(report('Q8_0.json').hashes.outputs[0].sha256).toBeNull();
  });

  it('replaces its own page, and no other', async () => {
    const again = ['--quiet', bundledModel, '--type', 'Q8_0', '-o', at('again.gguf'), '--force', '--report'];
    expect(
      (await quantize([...again.filter((flag) => flag !== '--force'), at('Q4_K_M.copy.html')])).status,
    ).toBe(0);
    expect((await quantize([...again, at('Q4_K_M.copy.html')])).status).toBe(0);
    put(directory, 'mine.html', '<!doctype html>\n<p>mine</p>');
    const refused = await quantize([...again.filter((flag) => flag !== '--force'), at('mine.html')]);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain('would replace a file that is not a report');
  });

  it('has the whole hash of a file of importance, and of one of statistics', async () => {
    const names = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'];
    const matrices = [0, 1, 2, 3].flatMap((layer) => names.map((name) => `blk.${layer}.${name}.weight`));
    const columnsOf = (name: string) => (name.includes('ffn_down') ? 768 : 256);
    const entries = [...matrices, 'token_embd.weight'].map((name) => ({
      ...{ name, sums: new Float32Array(columnsOf(name)).fill(2), counts: [1] },
    }));
    writeFileSync(at('im.gguf'), imatrixBytes(entries));
    const corpus = {
      ...{ corpus: 'notes.txt', files: [{ path: 'notes.txt', bytes: 9 }], tokens: 2048, windows: 8 },
      ...{ context: 256, sha256: 'ab12', seed: 3 },
    };
    const groups = matrices.map((name) => ({
      ...{ tensors: [name], expert: null, columns: columnsOf(name), inputs: 0, min: 0, max: 0, ranges: [] },
    }));
    writeFileSync(at('stats.json'), statisticsFile({ corpus, percentile: 99.9, groups }));
    const { status, stderr } = await quantize([
      ...[bundledModel, '--quiet', '--type', 'Q4_0', '-o', at('im-Q4_0.gguf'), '--imatrix', at('im.gguf')],
      ...['--input-scales', at('stats.json'), '--report', at('im.json'), '--report', at('im.html')],
    ]);
    expect([status, stderr]).toEqual([0, '']);
    const made = report('im.json');
    const schema = JSON.parse(readFileSync(join(root, 'docs/report.schema.json'), 'utf8')) as Schema;
    expect(violations(made, schema)).toEqual([]);
    expect(made.activationsFrom).toEqual({ corpus, percentile: 99.9 });
    const [model, ...beside] = made.hashes.inputs;
    expect(model).toMatchObject({ name: 'model.safetensors', sha256: null });
    expect(beside).toEqual(
      ['im.gguf', 'stats.json'].map((name) => ({
        ...{ name, bytes: statSync(at(name)).size, headerSha256: null, sha256: hashOf(at(name)) },
      })),
    );
    for (const { name, sha256 } of beside) {
      expect(text('im.html')).toContain(`in: ${name}`);
      expect(text('im.html')).toContain(sha256);
    }
  });

  it('is not written twice to one file', async () => {
    const { status, stderr } = await quantize([
      bundledModel,
      '--report',
      at('x.json'),
      '--report',
      `${directory}/./x.json`,
    ]);
    expect(status).toBe(2);
    expect(stderr).toContain('are the same file');
  });
});

describe('quantize report', () => {
  const compare = async (names: string[], output?: string) => {
    const fake = fakeIo();
    await reportCommand(names.map(at), output === undefined ? {} : { output: at(output) }, fake.io);
    return fake;
  };

  it('prints a table, smallest first, the Pareto front marked', async () => {
    const fake = await compare(['Q8_0.json', 'Q4_0.json', 'Q4_K_M.json']);
    const lines = fake
      .stdout()
      .split('\n')
      .map((line) => line.trim().split(/\s{2,}/));
    expect(lines[0]).toEqual(['run', 'type', 'method', 'bits', 'file', 'rel. error', 'SQNR', 'front']);
    expect(lines.slice(2, 5).map(([name, ...rest]) => [name, rest.at(-1)])).toEqual([
      ['Q4_0', '*'],
      ['Q4_K_M', '*'],
      ['Q8_0', '*'],
    ]);
    expect(fake.stdout()).toContain('* on the Pareto front of file size and relative error');
    expect(fake.stderr()).toBe('');
  });

  it('shows rule and granularity where ranges were chosen', async () => {
    const argv = [
      '--method',
      'absmax',
      '--bits',
      '4',
      '--range',
      'percentile=99.9',
      '--granularity',
      'tensor',
    ];
    const { status } = await quantize([
      bundledModel,
      '--quiet',
      ...argv,
      '-o',
      at('ranged.gguf'),
      '--report',
      at('ranged.json'),
    ]);
    expect(status).toBe(0);
    const fake = await compare(['Q8_0.json', 'ranged.json']);
    expect(fake.stdout()).toMatch(/^run +type +method +range +one a +bits/);
    expect(fake.stdout()).toMatch(/^ranged +\S+ +absmax +percentile=99\.9, full +tensor +\d/m);
  });

  it('leaves unmarked what is larger and worse', async () => {
    const worse = report('Q4_0.json');
    writeFileSync(
      at('worse.json'),
      JSON.stringify({ ...worse, model: { ...worse.model, fileBytes: worse.model.fileBytes + 1 } }),
    );
    const fake = await compare(['worse.json', 'Q4_0.json']);
    expect(fake.stdout()).toMatch(/^Q4_0 .* \*$/m);
    expect(fake.stdout()).toMatch(/^worse .* dB$/m);
  });

  it('makes a page of several runs, and of one run the page that the run would make', async () => {
    await compare(['Q8_0.json', 'Q4_0.json', 'Q4_K_M.json'], 'runs.html');
    expect(parseHtml(text('runs.html')).text).toContain('3 runs side by side');
    await compare(['Q4_K_M.json'], 'one.html');
    expect(text('one.html')).toBe(text('Q4_K_M.html'));
    await compare(['Q8_0.json'], 'one.html'); // a page may be replaced
    expect(text('one.html')).not.toContain('<figure');
  });

  it.each<[string, string[], string | undefined, string]>([
    ['a page of another name', ['Q8_0.json'], 'page.json', 'name it .html'],
    ['no report', ['Q8_0.gguf'], undefined, 'no JSON'],
    ['a file that is not there', ['Q8_1.json'], undefined, 'no such file'],
    ['one like none there', ['none/nothing.json'], undefined, 'quantize MODEL --report FILE.json'],
  ])('refuses %s', async (_name, names, output, message) => {
    await expect(compare(names, output)).rejects.toThrow(message);
  });

  it('does not replace what it reads, nor a file that is no report', async () => {
    put(directory, 'in.html', text('Q8_0.json'));
    await expect(compare(['in.html'], 'in.html')).rejects.toThrow('are the same file');
    put(directory, 'notes.html', 'mine');
    await expect(compare(['Q8_0.json'], 'notes.html')).rejects.toThrow('not a report');
    expect(text('notes.html')).toBe('mine');
  });
});
