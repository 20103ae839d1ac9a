import { createHash } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '../../src/core/checkpoint.ts';
import type { JsonObject } from '../../src/core/model-files.ts';
import { UnknownArchitectureError } from '../../src/plan/arch/index.ts';
import { ConfigFieldError, QuantizedCheckpointError } from '../../src/plan/config.ts';
import { describeModel } from '../../src/plan/model.ts';
import {
  guessFloatType,
  MissingTensorsError,
  TensorShapeError,
  UnmappedTensorsError,
} from '../../src/plan/tensors.ts';
import { openTrusted, repository } from '../support/checkpoints.ts';
import {
  headersOnly,
  modelFiles,
  tensorLines,
  tinyConfig,
  tinyShapes,
  tinyTokenizer,
  valuesByKey,
} from '../support/synthetic.ts';

const describeTiny = (config: JsonObject = {}, checkpoint: Checkpoint = headersOnly(tinyShapes())) =>
  describeModel(checkpoint, modelFiles({ config: { ...tinyConfig, ...config }, tokenizer: tinyTokenizer }), {
    fileType: 7,
  })!;

const without = (checkpoint: Checkpoint, ...names: string[]): Checkpoint => ({
  ...checkpoint,
  tensors: new Map([...checkpoint.tensors].filter(([name]) => !names.includes(name))),
});

describe('tensors', () => {
  it('of a Llama: names, shapes in GGUF order, kept types, permuted rows, converter order', () => {
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

  it('come in the order of the checkpoint: file by file, then by name', () => {
    const names = (checkpoint: Checkpoint) =>
      describeTiny({ num_hidden_layers: 12 }, checkpoint).tensors.map(({ name }) => name);
    const shapes = tinyShapes({ layers: 12 });
    const norms = names(headersOnly(shapes)).filter((name) => name.endsWith('attn_norm.weight'));
    expect(norms.map((name) => name.split('.')[1])).toEqual('0 1 10 11 2 3 4 5 6 7 8 9'.split(' '));
    const sharded = headersOnly(shapes, {
      files: ['/m/model-00001-of-00002.safetensors', '/m/model-00002-of-00002.safetensors'],
      fileOf: (name) => (name === 'model.norm.weight' ? 0 : 1),
    });
    expect(names(sharded)[0]).toBe('output_norm.weight');
  });

  it('of a tied model: the head alone stands for the embedding, both are both written', () => {
    const both = headersOnly(tinyShapes());
    const headOnly = describeTiny({ tie_word_embeddings: true }, without(both, 'model.embed_tokens.weight'));
    expect(tensorLines(headOnly)[0]).toBe('token_embd.weight [8,4] BF16 < lm_head.weight');
    expect(headOnly.tensors.some(({ name }) => name === 'output.weight')).toBe(false);
    const names = describeTiny({ tie_word_embeddings: true }, both).tensors.map(({ name }) => name);
    expect(names.slice(0, 2)).toEqual(['output.weight', 'token_embd.weight']);
    const embeddingOnly = describeTiny({ tie_word_embeddings: true }, without(both, 'lm_head.weight'));
    expect(embeddingOnly.warnings).toEqual([]);
    expect(describeTiny({}, without(both, 'lm_head.weight')).warnings.join()).toMatch(/lm_head/);
  });

  it('biases of a Llama are permuted like their weights and demanded by attention_bias and mlp_bias', () => {
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

  it('of Qwen 2 and 3 keep their row order; norms of q and k stay float32', () => {
    const biases = {
      'self_attn.q_proj.bias': [8],
      'self_attn.k_proj.bias': [4],
      'self_attn.v_proj.bias': [4],
    };
    const qwen2 = { architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2' };
    const two = tensorLines(describeTiny(qwen2, headersOnly(tinyShapes({ perLayer: biases }))));
    expect(two).toContain('blk.0.attn_q.weight [8,8] BF16 < model.layers.0.self_attn.q_proj.weight');
    expect(two).toContain('blk.0.attn_q.bias [8] F32 < model.layers.0.self_attn.q_proj.bias');
    expect(() => describeTiny(qwen2)).toThrow(MissingTensorsError);

    const norms = { 'self_attn.q_norm.weight': [2], 'self_attn.k_norm.weight': [2] };
    const qwen3 = { architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', head_dim: 2 };
    const three = tensorLines(describeTiny(qwen3, headersOnly(tinyShapes({ perLayer: norms }))));
    expect(three).toContain('blk.1.attn_k_norm.weight [2] F32 < model.layers.1.self_attn.k_norm.weight');
    expect(three).toContain('blk.1.attn_k.weight [8,4] BF16 < model.layers.1.self_attn.k_proj.weight');
  });

  it('of Mixtral: experts stacked in order of number, written where the last of a layer lies', () => {
    const config = {
      architectures: ['MixtralForCausalLM'],
      model_type: 'mixtral',
      num_local_experts: 11,
    };
    const checkpoint = headersOnly(tinyShapes({ experts: 11 }));
    const model = describeTiny(config, checkpoint);
    const stack = (w: string) =>
      Array.from({ length: 11 }, (_, i) => `model.layers.0.block_sparse_moe.experts.${i}.${w}.weight`).join(
        ' + ',
      );
    expect(tensorLines(model).slice(2, 6)).toEqual([
      `blk.0.ffn_gate_exps.weight [8,6,11] BF16 < ${stack('w1')}`,
      `blk.0.ffn_down_exps.weight [6,8,11] BF16 < ${stack('w2')}`,
      `blk.0.ffn_up_exps.weight [8,6,11] BF16 < ${stack('w3')}`,
      'blk.0.ffn_gate_inp.weight [8,11] F32 < model.layers.0.block_sparse_moe.gate.weight',
    ]);
    expect(model.hyperparameters).toEqual({
      architecture: 'llama',
      layers: 2,
      heads: 4,
      kvHeads: 2,
      experts: 11,
    });
    const missing = 'model.layers.1.block_sparse_moe.experts.7.w2.weight';
    expect(() => describeTiny(config, without(checkpoint, missing))).toThrow(missing);
  });

  it('that are computed buffers are left out with a warning', () => {
    const inv = { 'self_attn.rotary_emb.inv_freq': [1] };
    const model = describeTiny({}, headersOnly(tinyShapes({ perLayer: inv })));
    expect(tensorLines(model)).toEqual(tensorLines(describeTiny()));
    expect(model.warnings.join()).toMatch(/^2 stored buffers/);
  });

  it('keep the 16-bit type of the first matrix that has one', () => {
    expect(guessFloatType(headersOnly(tinyShapes(), { type: 'BF16' }))).toBe('BF16');
    expect(guessFloatType(headersOnly(tinyShapes(), { type: 'F16' }))).toBe('F16');
    expect(guessFloatType(headersOnly(tinyShapes(), { type: 'F32' }))).toBe('F16');
    const mixed = headersOnly({ 'a.weight': [4], 'b.weight': [4, 8] }, { type: 'BF16' });
    const half = { ...mixed.tensors.get('a.weight')!, type: 'F16' as const }; // a vector does not count
    expect(guessFloatType({ ...mixed, tensors: new Map([...mixed.tensors, ['a.weight', half]]) })).toBe(
      'BF16',
    );
  });

  it('are each used exactly once', () => {
    const any = fc.record({
      layers: fc.integer({ min: 1, max: 13 }),
      experts: fc.integer({ min: 0, max: 12 }),
      tied: fc.boolean(),
      buffers: fc.boolean(),
      files: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(any, ({ layers, experts, tied, buffers, files }) => {
        const perLayer = buffers ? { 'self_attn.rotary_emb.inv_freq': [1] } : {};
        const shapes = tinyShapes({ layers, experts, perLayer });
        const all = headersOnly(shapes, {
          files: Array.from({ length: files }, (_, i) => `/m/model-${i}.safetensors`),
          fileOf: (name) => (name.length * 7 + name.charCodeAt(13)) % files,
        });
        const checkpoint = tied ? without(all, 'lm_head.weight') : all;
        const architectures = [experts > 0 ? 'MixtralForCausalLM' : 'LlamaForCausalLM'];
        const model = describeTiny(
          { architectures, num_hidden_layers: layers, num_local_experts: experts, tie_word_embeddings: tied },
          checkpoint,
        );
        const used = model.tensors.flatMap(({ source }) =>
          source.kind === 'stored' ? source.parts.map((part) => part.name) : [],
        );
        const stored = [...checkpoint.tensors.keys()].filter((name) => !name.endsWith('inv_freq'));
        expect(used.toSorted()).toEqual(stored.toSorted());
        expect(new Set(model.tensors.map(({ name }) => name)).size).toBe(model.tensors.length);
      }),
      { seed: 1, numRuns: 60 },
    );
  });
});

describe('metadata', () => {
  it('of a Llama, in the converter order', () => {
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

  it('has a key length where the configuration class derives one, and only there', () => {
    const keyLength = (config: JsonObject, checkpoint?: Checkpoint) => {
      const { metadata, hyperparameters } = describeTiny(config, checkpoint);
      return valuesByKey(metadata)[`${hyperparameters.architecture}.attention.key_length`];
    };
    expect(keyLength({ model_type: 'mistral', architectures: ['MistralForCausalLM'] })).toBe(2);
    const experts = { num_local_experts: 2, model_type: 'mixtral', architectures: ['MixtralForCausalLM'] };
    expect(keyLength(experts, headersOnly(tinyShapes({ experts: 2 })))).toBeUndefined();
    expect(keyLength({ model_type: undefined })).toBeUndefined(); // no class: config.json as it is
    const norms = { 'self_attn.q_norm.weight': [128], 'self_attn.k_norm.weight': [128] };
    const wide = {
      'self_attn.q_proj.weight': [512, 8],
      'self_attn.k_proj.weight': [256, 8],
      'self_attn.v_proj.weight': [256, 8],
      'self_attn.o_proj.weight': [8, 512],
    };
    const qwen3 = { model_type: 'qwen3', architectures: ['Qwen3ForCausalLM'] };
    expect(keyLength(qwen3, headersOnly(tinyShapes({ perLayer: { ...norms, ...wide } })))).toBe(128);
  });

  it('takes omitted fields from the configuration class', () => {
    const { max_position_embeddings: _, rms_norm_eps: __, num_key_value_heads: ___, ...config } = tinyConfig;
    const all = { 'self_attn.k_proj.weight': [8, 8], 'self_attn.v_proj.weight': [8, 8] };
    const model = describeModel(
      headersOnly(tinyShapes({ perLayer: all })),
      modelFiles({ config, tokenizer: tinyTokenizer }),
      { fileType: 0 },
    )!;
    expect(valuesByKey(model.metadata)).toMatchObject({
      'llama.context_length': 2048,
      'llama.attention.head_count_kv': 4,
      'llama.attention.layer_norm_rms_epsilon': 1e-6,
      'llama.rope.freq_base': 10_000,
    });
    expect(model.hyperparameters.kvHeads).toBe(4);
  });

  const ropeKeys = (config: JsonObject) =>
    Object.fromEntries(
      Object.entries(valuesByKey(describeTiny(config).metadata))
        .filter(([key]) => key.startsWith('llama.rope.') && key !== 'llama.rope.dimension_count')
        .map(([key, value]) => [key.slice('llama.rope.'.length), value]),
    );

  it.each<[string, JsonObject, JsonObject, Record<string, unknown>]>([
    [
      'none',
      { rope_theta: 5e5, rope_scaling: null },
      { rope_parameters: { rope_theta: 5e5, rope_type: 'default' } },
      { freq_base: 5e5 },
    ],
    [
      'linear',
      { rope_scaling: { type: 'linear', factor: 4 } },
      { rope_parameters: { rope_type: 'linear', factor: 4, rope_theta: 10_000 } },
      { freq_base: 10_000, 'scaling.type': 'linear', 'scaling.factor': 4 },
    ],
    [
      'yarn',
      { rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 16, beta_fast: 32 } },
      {
        rope_parameters: {
          rope_type: 'yarn',
          factor: 4,
          original_max_position_embeddings: 16,
          beta_fast: 32,
          rope_theta: 10_000,
        },
      },
      {
        'scaling.type': 'yarn',
        'scaling.factor': 4,
        'scaling.original_context_length': 16,
        'scaling.yarn_beta_fast': 32,
        freq_base: 10_000,
      },
    ],
    [
      'yarn without an original length',
      { rope_scaling: { rope_type: 'yarn', factor: 2, attention_factor: 1.5 } },
      { rope_parameters: { rope_type: 'yarn', factor: 2, attn_factor: 1.5 } },
      {
        'scaling.type': 'yarn',
        'scaling.factor': 2,
        'scaling.original_context_length': 64,
        'scaling.yarn_attn_factor': 1.5,
        freq_base: 10_000,
      },
    ],
  ])('rope scaling %s, in the older form and in that of transformers 5', (_, older, newer, expected) => {
    expect(ropeKeys(older)).toEqual(expected);
    expect(ropeKeys(newer)).toEqual(expected);
  });

  it('rope scaling llama3 is a tensor of float32 factors', () => {
    const scaling = {
      factor: 32,
      high_freq_factor: 4,
      low_freq_factor: 1,
      original_max_position_embeddings: 8192,
    };
    const sizes = { hidden_size: 32, intermediate_size: 64, num_attention_heads: 2, num_key_value_heads: 1 };
    const shapes = tinyShapes({
      outside: {
        'model.embed_tokens.weight': [4, 32],
        'lm_head.weight': [4, 32],
        'model.norm.weight': [32],
      },
      perLayer: {
        'input_layernorm.weight': [32],
        'post_attention_layernorm.weight': [32],
        'self_attn.q_proj.weight': [32, 32],
        'self_attn.k_proj.weight': [16, 32],
        'self_attn.v_proj.weight': [16, 32],
        'self_attn.o_proj.weight': [32, 32],
        'mlp.gate_proj.weight': [64, 32],
        'mlp.up_proj.weight': [64, 32],
        'mlp.down_proj.weight': [32, 64],
      },
    });
    for (const rope of [
      { rope_theta: 500_000, rope_scaling: { ...scaling, rope_type: 'llama3' } },
      { rope_parameters: { ...scaling, rope_type: 'llama3', rope_theta: 500_000 } },
    ]) {
      const [first] = describeTiny(
        { ...sizes, ...rope, max_position_embeddings: 131_072 },
        headersOnly(shapes),
      ).tensors;
      expect(first).toMatchObject({ name: 'rope_freqs.weight', shape: [8], keep: 'F32' });
      const values = first.source.kind === 'values' ? Float32Array.from(first.source.values) : null!;
      // What the official converter writes for these settings.
      expect(createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex')).toBe(
        '14264418f1e186e49fafcfa74664f2e8321e08a571b432f74e95d49422f4618a',
      );
    }
  });

  it('of the bundled model', () => {
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

describe('what cannot be converted', () => {
  it('is no model without config.json', () => {
    expect(describeModel(headersOnly(tinyShapes()), modelFiles({}), { fileType: 0 })).toBeNull();
  });

  it('an unknown architecture, with those that are known', () => {
    const error = (config: JsonObject) => () => describeTiny(config);
    expect(error({ architectures: ['FooForCausalLM'] })).toThrow(UnknownArchitectureError);
    expect(error({ architectures: ['FooForCausalLM'] })).toThrow(/Qwen3ForCausalLM[\s\S]*convert_hf_to_gguf/);
    expect(error({ architectures: undefined, model_type: 'foo' })).toThrow(/model_type foo/);
    expect(describeTiny({ architectures: undefined }).hyperparameters.architecture).toBe('llama');
  });

  it.each<[string, JsonObject, RegExp]>([
    ['AWQ', { quant_method: 'awq', bits: 4 }, /quantized with awq/],
    ['GPTQ', { quant_method: 'gptq', bits: 4 }, /quantized with gptq/],
    ['bitsandbytes', { load_in_4bit: true }, /quantized with bitsandbytes/],
    ['fp8', { quant_method: 'fp8', weight_block_size: [128, 128] }, /quantized with fp8/],
  ])('a checkpoint quantized by %s', (_, quantization_config, message) => {
    expect(() => describeTiny({ quantization_config })).toThrow(QuantizedCheckpointError);
    expect(() => describeTiny({ quantization_config })).toThrow(message);
  });

  it.each<[string, Record<string, readonly number[]>, RegExp]>([
    ['packed weights', { 'model.layers.0.mlp.up_proj.qweight': [1, 8] }, /already quantized/],
    ['an adapter', { 'model.layers.0.mlp.up_proj.lora_A.weight': [1, 8] }, /merge the adapter/],
    ['a vision tower', { 'vision_tower.patch.weight': [1, 8] }, /only text models/],
    ['one layer too many', { 'model.layers.2.mlp.up_proj.weight': [6, 8] }, /num_hidden_layers/],
    ['a layer number with a leading zero', { 'model.layers.01.mlp.up_proj.weight': [6, 8] }, /01/],
  ])('unknown tensors: %s', (_, outside, message) => {
    const run = () => describeTiny({}, headersOnly(tinyShapes({ outside })));
    expect(run).toThrow(UnmappedTensorsError);
    expect(run).toThrow(message);
    expect(run).toThrow(Object.keys(outside)[0]);
  });

  it('missing tensors, by name', () => {
    const lacking = without(headersOnly(tinyShapes()), 'model.layers.1.mlp.down_proj.weight');
    expect(() => describeTiny({}, lacking)).toThrow(MissingTensorsError);
    expect(() => describeTiny({}, lacking)).toThrow(/model\.layers\.1\.mlp\.down_proj\.weight/);
    const untied = without(headersOnly(tinyShapes()), 'model.embed_tokens.weight');
    expect(() => describeTiny({}, untied)).toThrow(/model\.embed_tokens\.weight/);
    expect(() => describeTiny({ num_hidden_layers: 9 })).toThrow(/and 55 more/);
  });

  it('tensors whose shapes config.json contradicts', () => {
    expect(() => describeTiny({ vocab_size: 5 })).toThrow(TensorShapeError);
    expect(() => describeTiny({ vocab_size: 5 })).toThrow(/\[5, 8\] \(vocab, hidden\)[\s\S]*\[4, 8\]/);
    expect(() => describeTiny({ num_key_value_heads: 4 })).toThrow(/k_proj/);
    const odd = { num_attention_heads: 8, head_dim: 1, num_key_value_heads: 4 };
    expect(() => describeTiny(odd)).toThrow(/heads of two halves/);
  });

  it.each<[string, JsonObject]>([
    ['a text for a number', { hidden_size: '8' }],
    ['a fraction', { num_hidden_layers: 1.5 }],
    ['a negative', { max_position_embeddings: -1 }],
    ['zero heads', { num_attention_heads: 0 }],
    ['nothing', { num_hidden_layers: null }],
    ['too large', { max_position_embeddings: 2 ** 32 }],
  ])('a configuration field that is %s', (_, config) => {
    expect(() => describeTiny(config)).toThrow(ConfigFieldError);
    expect(() => describeTiny(config)).toThrow(Object.keys(config)[0]);
  });
});
