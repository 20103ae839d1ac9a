import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { JsonObject } from '../../../src/core/model-files.ts';
import { headersOnly, tinyShapes, valuesByKey } from '../../support/synthetic.ts';
import { describeTiny } from '../tiny-model.ts';

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
