import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, elementsOf } from '../../src/core/types.ts';
import { quantize as quantizeHere } from '../../src/pipeline.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { splitHeader } from '../engine/gguf.ts';
import { Llama } from '../engine/llama.ts';
import { quantize, root } from '../support/cli.ts';
import { outputsOf, reportOf } from '../support/runs.ts';

/** The built command, its output cut into files. */

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantize-split-'));
  const argv = [...job, '-o', at('whole.gguf'), '--report', at('whole.json')];
  execFileSync(process.execPath, ['bin/quantize.js', ...argv], { cwd: root });
});
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string) => join(directory, name);
const job = ['fixtures/sotu-3m', '--type', 'Q4_K_M', '--quiet', '--threads', '1'];
const parts = (stem: string, count: number) =>
  Array.from({ length: count }, (_, i) => at(`${stem}-0000${i + 1}-of-0000${count}.gguf`));

/** Name, shape, type and bytes of every tensor of the files, in order. */
function tensorsIn(paths: readonly string[]) {
  return paths.flatMap((path) => {
    const file = readFileSync(path);
    return readGguf(path).tensors.map(({ name, shape, type, offset }) => ({
      name,
      shape,
      type,
      bytes: file.toString('base64', offset, offset + bytesOf(type, elementsOf(shape))),
    }));
  });
}

describe('a split model', () => {
  it.each([
    ['--split-max-size', '1M', 3],
    ['--split-max-tensors', '10', 4],
    ['--split-max-size', '1G', 1],
  ])('by %s %s holds the same tensors, and llama.cpp loads it', async (option, value, count) => {
    const stem = `by-${option}-${value}`;
    const report = at(`report-${stem}.json`);
    const { status, stderr } = await quantize([
      ...job,
      option,
      value,
      '-o',
      at(`${stem}.gguf`),
      '--report',
      report,
    ]);
    expect([status, stderr]).toEqual([0, '']);
    const paths = parts(stem, count);
    expect(Object.keys(outputsOf(at(stem))).map((suffix) => at(`${stem}${suffix}`))).toEqual(paths);
    expect(tensorsIn(paths)).toEqual(tensorsIn([at('whole.gguf')]));

    const { split, fileBytes, ...model } = reportOf(report).model;
    const { split: none, fileBytes: _, ...whole } = reportOf(at('whole.json')).model;
    expect([model, none]).toEqual([whole, null]);
    const sizes = paths.map((path) => readFileSync(path).length);
    expect(split).toMatchObject({
      count,
      parts: sizes.map((size, i) => ({ number: i + 1, fileBytes: size })),
    });
    expect(fileBytes).toBe(sizes.reduce((a, b) => a + b));

    if (engineDirectory === null) return;
    const all = readGguf(at('whole.gguf')).tensors.length;
    paths.forEach((path, number) => {
      const tensors = readGguf(path).tensors.map(({ name, type, shape }) => ({
        name,
        type,
        shape: [...shape].reverse(),
      }));
      const header = splitHeader(at('whole.gguf'), { number, count, total: all, tensors });
      expect(readFileSync(path).subarray(0, header.length).equals(header)).toBe(true);
    });
    expectSameModel(paths[0]);
  });

  it('is no stream', async () => {
    for (const output of ['-', '/dev/null']) {
      const { status, stderr } = await quantize([...job, '--split', '1/2', '-o', output]);
      expect(status).toBe(2);
      expect(stderr).toContain('a split model cannot go to');
    }
  });

  it('is planned without being written', async () => {
    const argv = [...job, '--split', '2/3', '-o', at('no.gguf'), '--dry-run'];
    const stdout = execFileSync(process.execPath, ['bin/quantize.js', ...argv], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stdout).toMatch(/weights in \d+ tensors, [\d.]+ bits per weight, file 2 of 3, /);
    expect(outputsOf(at('no'))).toEqual({});
  });

  it('refuses an existing part before any work', async () => {
    expect((await quantize([...job, '--split', '2/3', '-o', at('there.gguf')])).status).toBe(0);
    const { status, stderr } = await quantize([...job, '--split-max-size', '1M', '-o', at('there.gguf')]);
    expect(status).toBe(2);
    expect(stderr).toContain('there-00002-of-00003.gguf');
    expect(Object.keys(outputsOf(at('there')))).toEqual(['-00002-of-00003.gguf']);
  });
});

describe('--split K/N', () => {
  it.each(['Q4_K_M', 'Q8_0'])(
    'by three processes side by side makes one model of %s, as a single process would',
    async (type) => {
      const stem = `array-${type}`;
      const argv = [...job, '--type', type];
      const ended = await Promise.all(
        [1, 2, 3].map((part) => {
          const places = ['-o', at(`${stem}.gguf`), '--report', at(`report-${stem}-${part}.json`)];
          return quantize([...argv, '--split', `${part}/3`, ...places]);
        }),
      );
      expect(ended.map(({ status, stderr }) => [status, stderr])).toEqual([1, 2, 3].map(() => [0, '']));
      const paths = parts(stem, 3);
      expect(tensorsIn(paths).map(({ name }) => name)).toEqual(
        tensorsIn([at('whole.gguf')]).map(({ name }) => name),
      );

      // The cut is that of the size limit that the largest part just keeps.
      const sizes = paths.map((path) =>
        readGguf(path).tensors.reduce((sum, { byteLength }) => sum + 32 * Math.ceil(byteLength / 32), 0),
      );
      const single = at(`single-${type}.gguf`);
      await quantizeHere({
        input: job[0],
        type,
        splitMaxSize: Math.max(...sizes),
        threads: 1,
        output: single,
      });
      expect(outputsOf(single)).toEqual(outputsOf(at(`${stem}.gguf`)));

      const reports = [1, 2, 3].map((part) => reportOf(at(`report-${stem}-${part}.json`)));
      expect(reports.map(({ model }) => model.split?.parts.map(({ number }) => number))).toEqual([
        [1],
        [2],
        [3],
      ]);
      expect(reports.flatMap(({ tensors }) => tensors.map(({ name }) => name))).toEqual(
        tensorsIn(paths).map(({ name }) => name),
      );
      if (engineDirectory !== null && type === 'Q4_K_M') expectSameModel(paths[0]);
    },
  );

  it('makes parts of every kind of tensor', async () => {
    const method = { method: 'zero-point', bits: 8 } as const;
    await quantizeHere({ input: job[0], ...method, threads: 1, output: at('zp.gguf') });
    const argv = [job[0], '--method', 'zero-point', '--bits', '8', '--threads', '1', '--quiet'];
    for (const part of [1, 2]) {
      expect((await quantize([...argv, '--split', `${part}/2`, '-o', at('zp-parts.gguf')])).status).toBe(0);
    }
    expect(tensorsIn(parts('zp-parts', 2))).toEqual(tensorsIn([at('zp.gguf')]));
  });

  it('needs a tensor for each file', async () => {
    const { status, stderr } = await quantize([...job, '--split', '1/500', '-o', at('many.gguf')]);
    expect(status).toBe(2);
    expect(stderr).toContain('more files to make than tensors');
  });
});

/** The engine computes with a split model what it computes with the whole one. */
function expectSameModel(path: string) {
  const prompt = [1, 2, 3, 4, 5, 6, 7, 8];
  const [whole, split] = [at('whole.gguf'), path].map((file) => {
    const model = Llama.load(file, { context: 32 });
    const logits = model.logits(prompt);
    model.free();
    return logits;
  });
  expect(split).toEqual(whole);
}
