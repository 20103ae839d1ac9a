import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineDirectory } from './ggml.ts';
import { readGgufTensors, writeZeroGguf } from './gguf.ts';
import { defaultContextParams, defaultModelParams, divergence, Llama } from './llama.ts';
import { quantizeModel } from './quantize.ts';

/** The bindings themselves, on a model of zeros, whose every prediction is uniform. */

const VOCABULARY = 48;

const metadata = {
  'general.architecture': 'llama',
  'llama.block_count': 1,
  'llama.context_length': 64,
  'llama.embedding_length': 64,
  'llama.feed_forward_length': 96,
  'llama.attention.head_count': 2,
  'llama.attention.head_count_kv': 1,
  'llama.attention.layer_norm_rms_epsilon': 1e-5,
  'llama.vocab_size': VOCABULARY,
  'tokenizer.ggml.model': 'no_vocab',
};

const shapes: Record<string, number[]> = {
  'token_embd.weight': [64, VOCABULARY],
  'output_norm.weight': [64],
  'blk.0.attn_norm.weight': [64],
  'blk.0.attn_q.weight': [64, 64],
  'blk.0.attn_k.weight': [64, 32],
  'blk.0.attn_v.weight': [64, 32],
  'blk.0.attn_output.weight': [64, 64],
  'blk.0.ffn_norm.weight': [64],
  'blk.0.ffn_gate.weight': [64, 96],
  'blk.0.ffn_up.weight': [64, 96],
  'blk.0.ffn_down.weight': [96, 64],
};

describe.skipIf(engineDirectory === null)('the real engine', () => {
  let directory = '';
  let path = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'engine-'));
    path = join(directory, 'zero.gguf');
    const tensors = Object.entries(shapes).map(([name, shape]) => ({ name, shape, type: 'F32' as const }));
    writeZeroGguf(path, metadata, tensors);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('parameters are laid out as the engine lays them out', () => {
    expect(defaultModelParams()).toMatchObject({
      n_gpu_layers: -1,
      split_mode: 1,
      load_mode: -1,
      lazy_mode: 1,
      main_gpu: 0,
      tensor_split: null,
      vocab_only: false,
      use_extra_bufts: true,
      no_host: false,
      load_mtp: false,
    });
    expect(defaultContextParams()).toMatchObject({
      n_ctx: 512,
      n_batch: 2048,
      n_ubatch: 512,
      n_seq_max: 1,
      n_outputs_max_per_seq: 1,
      n_threads: 4,
      n_threads_batch: 4,
      rope_scaling_type: -1,
      flash_attn_type: -1,
      rope_freq_scale: 0,
      yarn_ext_factor: -1,
      yarn_beta_slow: -1,
      defrag_thold: -1,
      type_k: 1,
      type_v: 1,
      abort_callback: null,
      embeddings: false,
      offload_kqv: true,
      op_offload: true,
      kv_unified: false,
      n_samplers: 0,
      ctx_other: null,
    });
  });

  it('a uniform model', () => {
    const llama = Llama.load(path, { context: 16 });
    expect(llama.description).toContain('llama');
    expect(llama.vocabularySize).toBe(VOCABULARY);
    const tokens = Array.from({ length: 100 }, (_, i) => i % VOCABULARY);
    const rows = llama.logits(tokens.slice(0, 16), 13);
    expect(rows.map((row) => row.length)).toEqual([VOCABULARY, VOCABULARY, VOCABULARY]);
    expect(rows.every((row) => row.every((logit) => logit === 0))).toBe(true);
    expect(llama.perplexity(tokens, { context: 16 })).toBeCloseTo(VOCABULARY, 9);
    expect(llama.perplexity(tokens, { context: 16, windows: 2 })).toBeCloseTo(VOCABULARY, 9);
    expect(divergence(llama, llama, tokens, { context: 16 })).toBe(0);
    expect(llama.greedy([5, 6], 3)).toEqual({ ids: [0, 0, 0], minGap: 0 });
    const numbers = [0, 0.51, 0.999];
    expect(llama.sample([5, 6], 3, () => numbers.shift()!)).toEqual([0, 24, 47]);
    expect(() => llama.logits(tokens)).toThrow(/100 tokens at once/);
    expect(() => llama.perplexity(tokens.slice(0, 15), { context: 16 })).toThrow(/15 tokens/);
    llama.free();
  });

  it('a quantized copy loads and predicts the same', () => {
    const output = join(directory, 'q8.gguf');
    quantizeModel(path, output, { ftype: 7 });
    expect(new Set(readGgufTensors(output).map(({ type }) => type))).toEqual(new Set(['F32', 'Q8_0']));
    const llama = Llama.load(output);
    expect([...llama.logits([1, 2]).map((row) => row[3])]).toEqual([0, 0]);
    llama.free();
  });

  it('a refusal carries what the engine said', () => {
    const bad = join(directory, 'bad.gguf');
    writeFileSync(bad, 'not a model');
    expect(() => Llama.load(bad)).toThrow(/bad\.gguf[\s\S]*magic/);
    expect(() => Llama.load(join(directory, 'none.gguf'))).toThrow(/No such file/);
    expect(() => quantizeModel(path, join(directory, 'x.gguf'), { ftype: 99 })).toThrow(
      /invalid output file type 99/,
    );
    const missing = join(directory, 'missing.gguf');
    writeZeroGguf(
      missing,
      metadata,
      Object.entries(shapes)
        .filter(([name]) => name !== 'blk.0.attn_q.weight')
        .map(([name, shape]) => ({ name, shape, type: 'F32' as const })),
    );
    expect(() => Llama.load(missing)).toThrow(/tensor 'blk\.0\.attn_q\.weight' not found/);
  });
});
