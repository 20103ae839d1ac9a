import type { ScalarType } from '../../core/metadata.ts';
import type { Field } from './architecture.ts';
import { ropeParameters } from './rope.ts';

/**
 * A key with the value of the first of these configuration fields that is there; not written when that is null
 * or none is. `{arch}` in the key stands for the architecture's name.
 */
export const field =
  (key: string, type: ScalarType, ...names: string[]): Field =>
  ({ config, metadata, architecture }) => {
    const value = type === 'FLOAT32' ? config.number(names) : config.integer(names);
    if (value !== null) metadata.set(key.replace('{arch}', architecture), type, value);
  };

const layers: Field = ({ config, metadata, architecture }) =>
  metadata.set(
    `${architecture}.block_count`,
    'UINT32',
    config.count(['n_layers', 'num_hidden_layers', 'n_layer', 'num_layers']),
  );

const causality: Field = ({ config, metadata, architecture }) => {
  if (config.find(['is_causal']) === false) metadata.set(`${architecture}.attention.causal`, 'BOOL', false);
};

/** Rope scaling and base frequency. Linear and YaRN have keys of their own; llama3's factors are a tensor. */
const rope: Field = ({ config, metadata, architecture, warn }) => {
  const rope = ropeParameters(config);
  const prefix = `${architecture}.rope`;
  const float = (key: string, ...names: string[]) => {
    const value = rope.number(names);
    if (value !== null) metadata.set(`${prefix}.${key}`, 'FLOAT32', value);
  };
  const type = rope.find(['rope_type']);
  if (type === 'linear' && rope.has('factor')) {
    metadata.set(`${prefix}.scaling.type`, 'STRING', 'linear');
    float('scaling.factor', 'factor');
  } else if (type === 'yarn' && rope.has('factor')) {
    metadata.set(`${prefix}.scaling.type`, 'STRING', 'yarn');
    float('scaling.factor', 'factor');
    const original = rope.count(['original_max_position_embeddings']);
    metadata.set(`${prefix}.scaling.original_context_length`, 'UINT32', original);
    float('scaling.yarn_ext_factor', 'extrapolation_factor');
    float('scaling.yarn_attn_factor', 'attention_factor', 'attn_factor');
    float('scaling.yarn_beta_fast', 'beta_fast');
    float('scaling.yarn_beta_slow', 'beta_slow');
  } else if (type === 'longrope' || type === 'su') {
    metadata.set(`${prefix}.scaling.type`, 'STRING', 'longrope');
  } else if (type !== undefined && type !== 'default' && !/^(llama3|dynamic)$/i.test(String(type))) {
    warn(
      `rope scaling of type ${JSON.stringify(type)} is not known and was left out: long contexts will fail`,
    );
  } else if (type === 'dynamic') {
    warn(
      'dynamic rope scaling has no GGUF form and was left out: contexts beyond the trained length will fail',
    );
  }
  float('freq_base', 'rope_theta');
};

const headSize: Field = ({ config, metadata, architecture }) => {
  const size = config.integer(['head_dim']);
  if (size === null) return;
  metadata.set(`${architecture}.attention.key_length`, 'UINT32', size);
  metadata.set(`${architecture}.attention.value_length`, 'UINT32', size);
};

const fileType: Field = ({ metadata, fileType }) => metadata.set('general.file_type', 'UINT32', fileType);

/** What every decoder-only text model writes (`TextModel.set_gguf_parameters`), in its order. */
export const textModelFields: readonly Field[] = [
  layers,
  field(
    '{arch}.context_length',
    'UINT32',
    'max_position_embeddings',
    'n_ctx',
    'n_positions',
    'max_length',
    'max_sequence_length',
    'model_max_length',
  ),
  field('{arch}.embedding_length', 'UINT32', 'hidden_size', 'n_embd', 'dim'),
  field('{arch}.feed_forward_length', 'UINT32', 'intermediate_size', 'n_inner', 'hidden_dim'),
  field('{arch}.attention.head_count', 'UINT32', 'num_attention_heads', 'n_head', 'n_heads'),
  field('{arch}.attention.head_count_kv', 'UINT32', 'num_key_value_heads', 'n_kv_heads'),
  causality,
  rope,
  field('{arch}.attention.layer_norm_rms_epsilon', 'FLOAT32', 'rms_norm_eps', 'norm_eps'),
  field(
    '{arch}.attention.layer_norm_epsilon',
    'FLOAT32',
    'layer_norm_eps',
    'layer_norm_epsilon',
    'norm_epsilon',
  ),
  field('{arch}.expert_count', 'UINT32', 'num_local_experts', 'num_experts', 'n_routed_experts'),
  field(
    '{arch}.expert_used_count',
    'UINT32',
    'num_experts_per_tok',
    'num_experts_per_token',
    'top_k_experts',
  ),
  headSize,
  fileType,
];

/** What the Llama classes add after it. */
export const llamaFields: readonly Field[] = [
  field('{arch}.vocab_size', 'UINT32', 'vocab_size'),
  ({ config, metadata, architecture }) =>
    metadata.set(
      `${architecture}.rope.dimension_count`,
      'UINT32',
      config.integer(['head_dim']) ??
        Math.floor(config.count(['hidden_size']) / config.count(['num_attention_heads'])),
    ),
];
