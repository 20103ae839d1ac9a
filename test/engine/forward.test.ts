import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { collectImportance } from '../../src/calibrate/importance.ts';
import type { Team } from '../../src/compute/team.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { evaluate } from '../../src/evaluate/evaluate.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { repository } from '../support/checkpoints.ts';
import { conversions, sotu } from '../support/conversions.ts';
import { forwardModel, forwardPass, forwardTeam, logitsOf } from '../support/forward.ts';
import { type GgufTensorToWrite, ggufBytes } from '../support/gguf-writer.ts';
import { goldenModels } from '../support/golden.ts';
import { gaussian } from '../support/random.ts';
import { evalText } from '../support/short-text.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';
import { engineDirectory } from './ggml.ts';
import { collectImportance as engineImportance } from './imatrix.ts';
import { divergence, Llama } from './llama.ts';

/** The forward pass against the real engine with keys and values in float32 and plain attention. */

const CONTEXT = 96;

/** Largest difference between two sets of logits over the largest logit of the first. */
function difference(expected: readonly Float32Array[], got: readonly Float32Array[]): number {
  let [largest, worst] = [0, 0];
  for (const [row, logits] of expected.entries()) {
    for (let i = 0; i < logits.length; i++) {
      const logit = logits[i];
      largest = Math.max(largest, Math.abs(logit));
      const gap = Math.abs(logit - got[row][i]);
      if (Number.isNaN(gap)) return gap;
      worst = Math.max(worst, gap);
    }
  }
  return worst / largest;
}

/** Two windows of ids all over the vocabulary, longer than a block of queries. */
const windowsFor = (vocabulary: number): Int32Array[] =>
  Array.from({ length: 2 }, (_, w) =>
    Int32Array.from({ length: CONTEXT }, (_, i) => (7919 * (w * CONTEXT + i) + 13 * i * i) % vocabulary),
  );

describe.skipIf(engineDirectory === null)('the forward pass, against llama.cpp', () => {
  let team: Team;
  beforeAll(() => {
    team = forwardTeam(2);
  });
  afterAll(() => team.close());

  /** Of our logits for `input` from the engine's for the file at `path`. */
  function compare(path: string, input = path): number {
    const llama = Llama.load(path, { context: CONTEXT, exact: true });
    const windows = windowsFor(llama.vocabularySize);
    const expected = windows.flatMap((window) => llama.logits(window));
    llama.free();
    return difference(expected, logitsOf(team, forwardModel(input), windows));
  }

  const ts = join(repository, '../shared/models/ts-656k');
  const models = [
    { name: 'sotu-3m', there: true, checkpoint: sotu },
    { name: 'ts-656k', there: existsSync(ts), checkpoint: ts },
    ...goldenModels,
  ];
  describe('logits of the checkpoint, the engine on its F32 file', () => {
    for (const { name, there, checkpoint } of models) {
      it.skipIf(!there)(name, async () => {
        const { path } = await conversions(checkpoint)({ type: 'F32' });
        expect(compare(path, checkpoint)).toBeLessThan(1e-4); // at most 6e-6 was measured
      });
    }
  });

  const convert = conversions(sotu);
  const rewritten = conversions; // from a GGUF

  describe('logits of a quantized file', () => {
    it.each(['Q4_K_M', 'IQ4_XS', 'Q2_K', 'BF16'])('%s', async (type) => {
      const { path } = await convert({ type });
      const exact = (await rewritten(path)({ type: 'F32', decode: true })).path;
      expect(compare(exact, path)).toBeLessThan(1e-4);
      // On the file itself the engine rounds activations too, to 8 bits (or to bfloat16): 2.3 % at most was measured.
      expect(compare(path)).toBeLessThan(0.03);
    });
  });

  describe('rotary scalings', () => {
    const cases = {
      linear: ['llama.rope.scaling.type=str:linear', 'llama.rope.scaling.factor=float:2.5'],
      'a factor without a type': ['llama.rope.scaling.factor=float:2'],
      none: ['llama.rope.scaling.type=str:none', 'llama.rope.scaling.factor=float:3'],
      yarn: [
        'llama.rope.scaling.type=str:yarn',
        'llama.rope.scaling.factor=float:4',
        'llama.rope.scaling.original_context_length=int:64',
      ],
      'yarn with an attention factor': [
        'llama.rope.scaling.type=str:yarn',
        'llama.rope.scaling.factor=float:8',
        'llama.rope.scaling.attn_factor=float:0.9',
      ],
      'another base': ['llama.rope.freq_base=float:333.25'],
    };
    // One layer of random weights turns by them too.
    const small = conversions(tinyLlama(temporaryDirectory(), { layers: 1 }));
    it.each(Object.entries(cases))('%s', async (_name, overrideKv) => {
      const { path: plain } = await small({ type: 'F32' });
      const { path } = await rewritten(plain)({ type: 'F32', overrideKv });
      expect(compare(path)).toBeLessThan(1e-4);
      // A pass without the keys would differ.
      if (!overrideKv[0].endsWith('none')) expect(compare(path, plain)).toBeGreaterThan(1e-3);
    });
  });

  it.each([256, 64])(
    'biases, q, k and v in one, long and short rotary factors, trained on %i',
    async (trained) => {
      const { path: plain } = await convert({ type: 'F32' });
      const path = put(temporaryDirectory(), 'other.gguf', await otherForm(plain, trained));
      expect(compare(path)).toBeLessThan(1e-4);
    },
  );

  describe('on text', () => {
    const count = 4;
    const context = 256;
    const text = evalText(count * context);
    const windowsOf = (tokens: Int32Array) =>
      Array.from({ length: count }, (_, w) => tokens.slice(w * context, (w + 1) * context));
    const options = { stateBytes: 1 << 28, scratchDirectory: tmpdir() };

    it('perplexity and divergence', async () => {
      const { path: plain } = await convert({ type: 'F32' });
      const { path } = await convert({ type: 'Q4_K_M' });
      const decoded = (await rewritten(path)({ type: 'F32', decode: true })).path;
      const [reference, other] = [plain, decoded].map((file) => Llama.load(file, { context, exact: true }));
      const tokens = reference.tokenize(text);
      const found = evaluate({
        team,
        model: forwardModel(path),
        base: forwardModel(sotu),
        windows: windowsOf(tokens),
        ...options,
      });
      expect(reference.addsBos).toBe(false);
      const limits = { context, windows: count };
      expect(found.base!.perplexity / reference.perplexity(tokens, limits)).toBeCloseTo(1, 4);
      expect(found.perplexity / other.perplexity(tokens, limits)).toBeCloseTo(1, 4);
      const expected = divergence(reference, other, tokens, limits);
      expect(Math.abs(found.base!.divergence.mean / expected - 1)).toBeLessThan(1e-3);
      reference.free();
      other.free();
    });

    const mixtral = goldenModels.find(({ name }) => name === 'mixtral_256')!;
    for (const { name, there, checkpoint } of [{ name: 'sotu-3m', there: true, checkpoint: sotu }, mixtral]) {
      it.skipIf(!there)(`importance of ${name}`, async () => {
        const { path } = await conversions(checkpoint)({ type: 'F32' });
        const llama = Llama.load(path);
        const tokens = llama.tokenize(text).slice(0, count * context);
        const model = forwardModel(checkpoint);
        const windows = windowsOf(tokens);
        if (llama.addsBos) {
          const bos = model.metadata.find(({ key }) => key === 'tokenizer.ggml.bos_token_id')!
            .value as number;
          for (const window of windows) window[0] = bos;
        }
        llama.free();
        const pass = forwardPass(team, model, windows);
        const found = collectImportance(pass);
        pass.close();
        const { entries } = engineImportance(path, tokens, { context, exact: true });
        expect(found.map((entry) => entry.name).toSorted()).toEqual([...entries.keys()].toSorted());
        for (const { name: tensor, sums, counts } of found) {
          const expected = entries.get(tensor)!;
          expect([tensor, counts]).toEqual([tensor, expected.counts]);
          const gap = Math.max(...sums.map((sum, i) => Math.abs(sum / expected.sums[i] - 1)));
          expect([tensor, gap < 1e-4]).toEqual([tensor, true]);
        }
      });
    }
  });
});

/** A Llama file in another form: q, k and v fused, biases everywhere, rotary factors by length of the context. */
async function otherForm(path: string, trained: number): Promise<Uint8Array> {
  const { metadata, tensors } = readGguf(path);
  const bytes = readFileSync(path);
  const next = gaussian(7);
  const vector = (name: string, n: number, value: () => number): GgufTensorToWrite => ({
    name,
    type: 'F32',
    shape: [n],
    data: new Uint8Array(Float32Array.from({ length: n }, value).buffer),
  });
  const bias = (name: string, n: number) => vector(name, n, () => next() / 4);
  const data = new Map(
    tensors.map((tensor) => [tensor.name, bytes.subarray(tensor.offset, tensor.offset + tensor.byteLength)]),
  );
  const written = tensors.flatMap(({ name, type, shape }): GgufTensorToWrite[] => {
    const layer = /^blk\.(\d+)\./.exec(name)?.[0] ?? '';
    if (/attn_[kv]\.weight/.test(name)) return [];
    if (name.endsWith('attn_q.weight')) {
      const parts = ['q', 'k', 'v'].map((part) => data.get(`${layer}attn_${part}.weight`)!);
      const fused = { name: `${layer}attn_qkv.weight`, type, shape: [512, 256], data: Buffer.concat(parts) };
      return [fused, bias(`${layer}attn_qkv.bias`, 512)];
    }
    const same = { name, type, shape, data: data.get(name)! };
    if (!/(attn_output|ffn_\w+)\.weight/.test(name) || shape.length < 2) return [same];
    return [same, bias(name.replace('weight', 'bias'), shape[0])];
  });
  const factors = ['long', 'short'].map((which, i) =>
    vector(`rope_factors_${which}.weight`, 32, () => 1 + Math.abs(next()) * (i === 0 ? 8 : 1)),
  );
  const keys: MetadataEntry[] = [
    { key: 'llama.rope.scaling.type', type: 'STRING', value: 'longrope' },
    { key: 'llama.rope.scaling.original_context_length', type: 'UINT32', value: trained },
  ];
  return ggufBytes([...metadata, ...keys], [...written, ...factors]);
}
