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
import {
  headersOnly,
  modelFiles,
  tensorLines,
  tinyConfig,
  tinyShapes,
  tinyTokenizer,
  valuesByKey,
} from '../support/synthetic.ts';
import { describeTiny, without } from './tiny-model.ts';

/** What holds for every architecture; test/plan/arch has what differs. */

describe('tensors', () => {
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
