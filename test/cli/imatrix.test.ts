import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { InputNotFoundError } from '../../src/cli/files.ts';
import { imatrixCommand } from '../../src/cli/imatrix.ts';
import type { TextRunFlags } from '../../src/cli/text-run.ts';
import type { ImportanceRun } from '../../src/core/calibration.ts';
import { UsageError } from '../../src/core/errors.ts';
import type { ImportanceOptions } from '../../src/model-runs.ts';
import { readImatrix } from '../../src/read/imatrix.ts';
import { OutputExistsError, OutputIsInputError } from '../../src/write/errors.ts';
import { fakeIo } from '../support/io.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const run: ImportanceRun = {
  entries: [
    { name: 'blk.0.ffn_down.weight', sums: Float32Array.of(8, 16), counts: [8] },
    { name: 'blk.0.ffn_up_exps.weight', sums: Float32Array.of(8, 4, 0, 0), counts: [8, 0] },
  ],
  corpus: {
    corpus: 'bundled prose',
    files: [{ path: 'prose.txt', bytes: 99 }],
    tokens: 2048,
    windows: 8,
    context: 256,
    sha256: 'ab',
    seed: 3,
    gemm: 'wasm',
  },
  warnings: ['the text is short'],
};

const directory = temporaryDirectory();
let model: string;
let output: string;
let count = 0;
beforeEach(() => {
  const place = join(directory, String(count++));
  mkdirSync(place);
  model = join(place, 'm.safetensors');
  output = join(place, 'imatrix.gguf');
  writeFileSync(model, 'weights');
});

async function command(flags: Partial<TextRunFlags> = {}, fake = fakeIo()) {
  const calls: ImportanceOptions[] = [];
  await imatrixCommand(model, { output, ...flags }, fake.io, async (options, onEvent) => {
    calls.push(options);
    onEvent?.({ kind: 'calibration', layer: 1, layers: 2, step: 'attn_q', done: 0, total: 10 });
    fake.advance(12);
    onEvent?.({ kind: 'calibration', layer: 2, layers: 2, step: 'ffn_down', done: 5, total: 10 });
    return run;
  });
  return { fake, calls };
}

describe('quantize imatrix', () => {
  it('writes the matrix, and says what it is and what is wrong with it', async () => {
    const { fake, calls } = await command();
    expect(readImatrix(output)).toMatchObject({ datasets: ['bundled prose'], chunks: 8 });
    expect([...readImatrix(output).entries.get('blk.0.ffn_down.weight')!.values]).toEqual([1, 2]);
    expect(calls).toEqual([{ input: model, signal: fake.io.interruptible() }]);
    expect(fake.stdout()).toBe('');
    expect(fake.lines()).toEqual([
      'layer 2/2  50 %  12 s left  ffn_down',
      'warning: the text is short',
      'warning: no token reached 1 experts in 1 tensors (blk.0.ffn_up_exps.weight, ...): use more text (--tokens), of more kinds',
      `wrote ${output}: ${readFileSync(output).length} B, importance of 2 matrices over 2.05 k tokens ` +
        '(bundled prose, 8 windows of 256), in 12 s',
    ]);
  });

  it('hands on what was asked, and names the texts in the file', async () => {
    const text = join(directory, 'text.txt');
    writeFileSync(text, 'words');
    const asked = { tokens: 4096, context: 128, seed: 7, threads: 2, memory: 1 << 30, gemm: 'wasm' } as const;
    const { calls } = await command({ ...asked, text: [text] });
    const { tokens, ...rest } = asked;
    expect(calls[0]).toMatchObject({ calibration: [text], calibrationTokens: tokens, ...rest });
    expect(readImatrix(output).datasets).toEqual([text]);
  });

  it('prints JSON', async () => {
    const { fake } = await command({ json: true, quiet: true });
    expect(fake.stderr()).toBe('');
    const { run: facts, ...json } = JSON.parse(fake.stdout());
    expect(json).toMatchObject({
      schema: 'gguf-quantize/imatrix',
      version: 1,
      fileBytes: readFileSync(output).length,
      corpus: { corpus: 'bundled prose', tokens: 2048, sha256: 'ab' },
      entries: [
        { columns: 2, counts: [8] },
        { name: 'blk.0.ffn_up_exps.weight', counts: [8, 0] },
      ],
    });
    expect(json.corpus.gemm).toBeUndefined();
    expect(facts).toEqual({ output, seconds: 12, gemm: 'wasm' });
  });

  it('replaces a file only when told, and never the model or the text', async () => {
    writeFileSync(output, 'precious');
    await expect(command()).rejects.toThrow(OutputExistsError);
    expect(readFileSync(output, 'utf8')).toBe('precious');
    await command({ force: true });
    expect(readImatrix(output).entries.size).toBe(2);
    await expect(command({ force: true, output: model })).rejects.toThrow(OutputIsInputError);
    const text = join(directory, 'kept.txt');
    writeFileSync(text, 'words');
    await expect(command({ force: true, text: [text], output: text })).rejects.toThrow(OutputIsInputError);
    expect(readFileSync(text, 'utf8')).toBe('words');
  });

  it('leaves nothing when collecting fails', async () => {
    const failing = imatrixCommand(model, { output }, fakeIo().io, async () => {
      throw new Error('NaN');
    });
    await expect(failing).rejects.toThrow('NaN');
    expect([existsSync(output), existsSync(`${output}.partial`)]).toEqual([false, false]);
  });

  it('refuses a text that is not there, and two things on standard output', async () => {
    await expect(command({ text: ['no such text'] })).rejects.toThrow(InputNotFoundError);
    await expect(command({ output: '-', json: true })).rejects.toThrow(UsageError);
  });
});
