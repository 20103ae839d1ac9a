import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/read/checkpoint.ts';
import { readImatrix } from '../../src/read/imatrix.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { dataOf } from '../support/gguf-runs.ts';
import { imatrixBytes } from '../support/imatrix-writer.ts';
import { mixtral, tinyMixtral } from '../support/mixtral.ts';
import { evalText } from '../support/short-text.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { collectedEntries, collectImportance } from './imatrix.ts';
import { Llama } from './llama.ts';

/** The yardstick itself: what llama.cpp says of inputs that can be known without running it. */

const text = evalText(1000);
const EPSILON = 1e-5; // of the normalisation, in both models

function tokensOf(path: string): Int32Array {
  const llama = Llama.load(path);
  const tokens = llama.tokenize(text);
  llama.free();
  return tokens;
}

/** A tensor of an F32 GGUF. */
function values(path: string, name: string): Float32Array {
  const checkpoint = openCheckpoint(path);
  return new Float32Array(new Uint8Array(dataOf(checkpoint, checkpoint.tensors.get(name)!)).buffer);
}

/** Sums of squares of the inputs of the first layer's attention: embeddings, normalised. They know no position. */
function firstInputs(path: string, tokens: Int32Array): Float64Array {
  const scale = values(path, 'blk.0.attn_norm.weight');
  const embeddings = values(path, 'token_embd.weight');
  const sums = new Float64Array(scale.length);
  for (const token of tokens) {
    const row = embeddings.subarray(token * scale.length, (token + 1) * scale.length);
    const meanSquare = row.reduce((sum, x) => sum + x * x, 0) / scale.length;
    for (const [i, x] of row.entries()) sums[i] += (x * scale[i]) ** 2 / (meanSquare + EPSILON);
  }
  return sums;
}

function expectClose(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-4): void {
  expect(got.length).toBe(expected.length);
  const worst = Math.max(...Array.from(got, (x, i) => Math.abs(x / expected[i] - 1)));
  expect(worst).toBeLessThan(tolerance);
}

describe.skipIf(engineDirectory === null)('importance by the real engine', () => {
  const convert = conversions(sotu);
  const directory = temporaryDirectory();

  it('of a dense model: every matrix, every token, the inputs they are', async () => {
    const { path } = await convert({ type: 'F32' });
    const tokens = tokensOf(path);
    const { entries, windows } = collectImportance(path, tokens, { context: 64 });
    expect(windows).toBe(Math.floor(tokens.length / 64));
    expect(windows).toBeGreaterThan(32);
    expect(windows % 32).not.toBe(0); // the last batch is not full
    const matrices = [...openCheckpoint(path).tensors.values()].filter(({ shape }) => shape.length > 1);
    expect([...entries.keys()].sort()).toEqual(matrices.map(({ name }) => name).sort());
    for (const { name, shape } of matrices) {
      const { sums, counts } = entries.get(name)!;
      expect(counts).toEqual([64 * windows]);
      expect(sums.length).toBe(shape.at(-1));
      expect(sums.every((sum) => sum > 0 && Number.isFinite(sum))).toBe(true);
    }
    const { sums } = entries.get('blk.0.attn_q.weight')!;
    expectClose(sums, firstInputs(path, tokens.slice(0, 64 * windows)));
    expect(entries.get('blk.0.attn_v.weight')!.sums).toEqual(sums);
    expect(entries.get('blk.3.ffn_up.weight')).toEqual(entries.get('blk.3.ffn_gate.weight'));
    // What the last normalisation gives has the mean square of its weights, but for epsilon and their spread.
    const total = (list: Float32Array) => list.reduce((sum, x) => sum + x, 0);
    const output = entries.get('token_embd.weight')!.sums;
    const norm = values(path, 'output_norm.weight').map((x) => x * x);
    expect(total(output.map((x, i) => x / norm[i])) / (64 * windows * 256)).toBeCloseTo(1, 2);
  });

  it('begins each window with BOS where the tokenizer adds one', async () => {
    const { path } = await convert({
      type: 'F32',
      overrideKv: ['tokenizer.ggml.add_bos_token=bool:true'],
    });
    const tokens = tokensOf(path);
    const { entries, windows } = collectImportance(path, tokens, { context: 32 });
    const seen = tokens.slice(0, 32 * windows).map((token, i) => (i % 32 === 0 ? 0 : token));
    expect(seen).not.toEqual(tokens.slice(0, 32 * windows));
    expectClose(entries.get('blk.0.attn_q.weight')!.sums, firstInputs(path, seen));
  });

  it('goes through a file to llama-quantize and to us', async () => {
    const { path } = await convert({ type: 'F32' });
    const collected = collectImportance(path, tokensOf(path), { context: 128 });
    const file = put(directory, 'imatrix.gguf', imatrixBytes(collectedEntries(collected)));
    const { sums, counts } = collected.entries.get('blk.2.ffn_down.weight')!;
    const read = readImatrix(file).entries.get('blk.2.ffn_down.weight')!;
    expect(read.counts).toEqual(counts);
    expect(new Float32Array(read.values)).toEqual(sums.map((sum) => sum / counts[0]));
  });

  /** Two experts a token: what they saw together is twice what their router saw. */
  function expectExperts(path: string, experts: number): void {
    const { entries, windows } = collectImportance(path, tokensOf(path), { context: 64 });
    const router = entries.get('blk.0.ffn_gate_inp.weight')!;
    expect(router.counts).toEqual([64 * windows]);
    const gate = entries.get('blk.0.ffn_gate_exps.weight')!;
    expect(gate.counts.length).toBe(experts);
    expect(gate.counts.reduce((sum, count) => sum + count, 0)).toBe(2 * 64 * windows);
    expect(Math.min(...gate.counts)).toBeGreaterThan(0);
    const width = router.sums.length;
    expect(gate.sums.length).toBe(experts * width);
    const together = router.sums.map((_, i) => {
      let sum = 0;
      for (let expert = 0; expert < experts; expert++) sum += gate.sums[expert * width + i];
      return sum / 2;
    });
    expectClose(together, router.sums);
    expect(entries.get('blk.0.ffn_up_exps.weight')).toEqual(gate);
    const down = entries.get('blk.0.ffn_down_exps.weight')!;
    expect(down.counts).toEqual(gate.counts);
    expect(down.sums.every((sum) => sum > 0 && Number.isFinite(sum))).toBe(true);
    expect(entries.get('output.weight')!.counts).toEqual([64 * windows]);
  }

  it('of a mixture of experts: each expert what it saw', async () => {
    const { path } = await conversions(tinyMixtral(join(directory, 'mixtral')))({ type: 'F32' });
    expectExperts(path, mixtral.experts);
  });

  const golden = '../shared/golden/visible/mixtral_256/checkpoint';
  it.runIf(existsSync(golden))('of the golden mixture of experts (shared/golden)', async () => {
    expectExperts((await conversions(golden)({ type: 'F32' })).path, 8);
  });
});
