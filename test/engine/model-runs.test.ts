import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Evaluation } from '../../src/core/evaluation.ts';
import { quantize } from '../../src/pipeline.ts';
import { readImatrix } from '../../src/read/imatrix.ts';
import { root } from '../support/cli.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { evalText } from '../support/short-text.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { collectImportance } from './imatrix.ts';
import { divergence, Llama } from './llama.ts';
import { quantizeModel } from './quantize.ts';

/** `quantize imatrix` and `quantize eval` as commands, against the real engine on the same text. */

const CONTEXT = 128;

describe.skipIf(engineDirectory === null)('commands that run a model', () => {
  const directory = temporaryDirectory();
  const at = (name: string) => join(directory, name);
  const convert = conversions(sotu);
  const command = (...argv: string[]): string =>
    execFileSync(process.execPath, ['bin/quantize.js', ...argv, '--threads', '2', '--quiet'], {
      cwd: root,
      encoding: 'utf8',
    });
  const words = evalText(750);
  const text = at('text.txt');
  let whole: string;
  let tokens: Int32Array;
  beforeAll(async () => {
    writeFileSync(text, words);
    whole = (await convert({ type: 'F32' })).path;
    const llama = Llama.load(whole);
    tokens = llama.tokenize(words);
    llama.free();
  });

  it('imatrix: within 1 % of what llama-imatrix collects, and both tools take the file', async () => {
    const matrix = at('imatrix.gguf');
    const sizes = ['--tokens', '100000', '--context', `${CONTEXT}`];
    command('imatrix', sotu, '--text', text, ...sizes, '-o', matrix);
    const { entries, chunks } = readImatrix(matrix);
    const expected = collectImportance(whole, tokens, { context: CONTEXT, threads: 2 });
    expect(chunks).toBe(expected.windows);
    expect([...entries.keys()].toSorted()).toEqual([...expected.entries.keys()].toSorted());
    for (const [name, { sums, counts }] of expected.entries) {
      const { values, counts: own } = entries.get(name)!;
      expect([name, own]).toEqual([name, counts]);
      const [all, off] = [...values].reduce(
        ([all, off], value, i) => [all + sums[i] / counts[0], off + Math.abs(value - sums[i] / counts[0])],
        [0, 0],
      );
      expect([name, off / all < 0.01]).toEqual([name, true]);
    }

    const ours = at('ours.gguf');
    await quantize({ input: whole, type: 'Q3_K_S', imatrix: matrix, output: ours });
    const theirs = at('theirs.gguf');
    const importance = Object.fromEntries([...entries].map(([name, { values }]) => [name, values]));
    quantizeModel(whole, theirs, { ftype: 11, importance });
    const data = (path: string) => readFileSync(path).subarray(-1_000_000);
    expect(data(ours).equals(data(theirs))).toBe(true);
  });

  it('eval: the perplexity and the divergence that the engine finds without roundings of its own', async () => {
    const { path } = await convert({ type: 'Q4_0' });
    const argv = ['--text', text, '--base', whole, '--context', `${CONTEXT}`, '--windows', '10', '--json'];
    const { evaluation } = JSON.parse(command('eval', path, ...argv)) as { evaluation: Evaluation };
    const decoded = at('decoded.gguf');
    await quantize({ input: path, type: 'F32', decode: true, output: decoded });
    const [reference, other] = [whole, decoded].map((file) =>
      Llama.load(file, { context: CONTEXT, exact: true }),
    );
    const limits = { context: CONTEXT, windows: 10 };
    expect(evaluation.perplexity / other.perplexity(tokens, limits)).toBeCloseTo(1, 4);
    expect(evaluation.base!.perplexity / reference.perplexity(tokens, limits)).toBeCloseTo(1, 4);
    const expected = divergence(reference, other, tokens, limits);
    expect(Math.abs(evaluation.base!.divergence.mean / expected - 1)).toBeLessThan(1e-3);
    for (const model of [reference, other]) model.free();
  });
});
