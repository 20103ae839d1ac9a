import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeModel } from '../../../src/plan/model.ts';
import { openTrusted, repository } from '../../support/checkpoints.ts';
import { headersOnly, tensorLines, tinyShapes, valuesByKey } from '../../support/synthetic.ts';
import { describeTiny, without } from '../tiny-model.ts';

describe('a Llama', () => {
  it('tensors: names, shapes in GGUF order, kept types, permuted rows, converter order', () => {
    const layer = (i: number) => [
      `blk.${i}.attn_norm.weight [8] F32 < model.layers.${i}.input_layernorm.weight`,
      `blk.${i}.ffn_down.weight [6,8] BF16 < model.layers.${i}.mlp.down_proj.weight`,
      `blk.${i}.ffn_gate.weight [8,6] BF16 < model.layers.${i}.mlp.gate_proj.weight`,
      `blk.${i}.ffn_up.weight [8,6] BF16 < model.layers.${i}.mlp.up_proj.weight`,
      `blk.${i}.ffn_norm.weight [8] F32 < model.layers.${i}.post_attention_layernorm.weight`,
      `blk.${i}.attn_k.weight [8,4] BF16 < model.layers.${i}.self_attn.k_proj.weight rotary 2`,
      `blk.${i}.attn_output.weight [8,8] BF16 < model.layers.${i}.self_attn.o_proj.weight`,
      `blk.${i}.attn_q.weight [8,8] BF16 < model.layers.${i}.self_attn.q_proj.weight rotary 4`,
      `blk.${i}.attn_v.weight [8,4] BF16 < model.layers.${i}.self_attn.v_proj.weight`,
    ];
    expect(tensorLines(describeTiny())).toEqual([
      'output.weight [8,4] BF16 < lm_head.weight',
      'token_embd.weight [8,4] BF16 < model.embed_tokens.weight',
      ...layer(0),
      ...layer(1),
      'output_norm.weight [8] F32 < model.norm.weight',
    ]);
  });

  it('biases are permuted like their weights and demanded by attention_bias and mlp_bias', () => {
    const biases = {
      'self_attn.q_proj.bias': [8],
      'self_attn.k_proj.bias': [4],
      'self_attn.v_proj.bias': [4],
      'self_attn.o_proj.bias': [8],
      'mlp.gate_proj.bias': [6],
      'mlp.up_proj.bias': [6],
      'mlp.down_proj.bias': [8],
    };
    const flags = { attention_bias: true, mlp_bias: true };
    const checkpoint = headersOnly(tinyShapes({ perLayer: biases }));
    const lines = tensorLines(describeTiny(flags, checkpoint)).filter((line) => line.includes('blk.1.'));
    expect(lines.filter((line) => line.includes('bias '))).toEqual([
      'blk.1.ffn_down.bias [8] F32 < model.layers.1.mlp.down_proj.bias',
      'blk.1.ffn_gate.bias [6] F32 < model.layers.1.mlp.gate_proj.bias',
      'blk.1.ffn_up.bias [6] F32 < model.layers.1.mlp.up_proj.bias',
      'blk.1.attn_k.bias [4] F32 < model.layers.1.self_attn.k_proj.bias rotary 2',
      'blk.1.attn_output.bias [8] F32 < model.layers.1.self_attn.o_proj.bias',
      'blk.1.attn_q.bias [8] F32 < model.layers.1.self_attn.q_proj.bias rotary 4',
      'blk.1.attn_v.bias [4] F32 < model.layers.1.self_attn.v_proj.bias',
    ]);
    const lacking = without(checkpoint, 'model.layers.1.mlp.up_proj.bias');
    expect(() => describeTiny(flags, lacking)).toThrow(/model\.layers\.1\.mlp\.up_proj\.bias/);
  });

  it('metadata, in the converter order', () => {
    const model = describeTiny({ head_dim: null, _name_or_path: 'acme/Tiny-Tales-v2' });
    expect(model.metadata.map(({ key, type }) => `${key} ${type}`)).toMatchInlineSnapshot(`
      [
        "general.architecture STRING",
        "general.type STRING",
        "general.name STRING",
        "general.version STRING",
        "general.organization STRING",
        "general.basename STRING",
        "general.size_label STRING",
        "llama.block_count UINT32",
        "llama.context_length UINT32",
        "llama.embedding_length UINT32",
        "llama.feed_forward_length UINT32",
        "llama.attention.head_count UINT32",
        "llama.attention.head_count_kv UINT32",
        "llama.rope.freq_base FLOAT32",
        "llama.attention.layer_norm_rms_epsilon FLOAT32",
        "llama.attention.key_length UINT32",
        "llama.attention.value_length UINT32",
        "general.file_type UINT32",
        "llama.vocab_size UINT32",
        "llama.rope.dimension_count UINT32",
        "general.quantization_version UINT32",
        "tokenizer.ggml.model STRING",
        "tokenizer.ggml.pre STRING",
        "tokenizer.ggml.tokens ARRAY",
        "tokenizer.ggml.token_type ARRAY",
        "tokenizer.ggml.merges ARRAY",
      ]
    `);
    expect(valuesByKey(model.metadata)).toMatchInlineSnapshot(`
      {
        "general.architecture": "llama",
        "general.basename": "Tiny-Tales",
        "general.file_type": 7,
        "general.name": "Tiny Tales v2",
        "general.organization": "Acme",
        "general.quantization_version": 2,
        "general.size_label": "0.8K",
        "general.type": "model",
        "general.version": "v2",
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 2,
        "llama.attention.layer_norm_rms_epsilon": 0.00001,
        "llama.attention.value_length": 2,
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": 8,
        "llama.feed_forward_length": 6,
        "llama.rope.dimension_count": 2,
        "llama.rope.freq_base": 10000,
        "llama.vocab_size": 4,
        "tokenizer.ggml.merges": [
          "a b",
        ],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.token_type": [
          1,
          1,
          1,
          1,
        ],
        "tokenizer.ggml.tokens": [
          "a",
          "b",
          "ab",
          "c",
        ],
      }
    `);
  });

  it('metadata of the bundled model', () => {
    const { checkpoint, files } = openTrusted(join(repository, 'fixtures/sotu-3m'));
    const model = describeModel(checkpoint, files, { fileType: 1 })!;
    const {
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.merges': merges,
      ...rest
    } = valuesByKey(model.metadata);
    const { 'tokenizer.ggml.token_type': types, ...scalars } = rest;
    expect([tokens, types, merges].map((list) => (list as unknown[]).length)).toEqual([2048, 2048, 1791]);
    expect((types as number[]).filter((type) => type !== 1)).toEqual([3]);
    expect(scalars).toMatchInlineSnapshot(`
      {
        "general.architecture": "llama",
        "general.basename": "sotu",
        "general.file_type": 1,
        "general.name": "Sotu 3m",
        "general.quantization_version": 2,
        "general.size_label": "3M",
        "general.type": "model",
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 64,
        "llama.attention.layer_norm_rms_epsilon": 0.00001,
        "llama.attention.value_length": 64,
        "llama.block_count": 4,
        "llama.context_length": 256,
        "llama.embedding_length": 256,
        "llama.feed_forward_length": 768,
        "llama.rope.dimension_count": 64,
        "llama.rope.freq_base": 10000,
        "llama.vocab_size": 2048,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.unknown_token_id": 0,
      }
    `);
    expect(model.tensors).toHaveLength(2 + 4 * 9);
    expect(model.warnings).toEqual([]);
  });
});
