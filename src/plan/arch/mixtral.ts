import type { Architecture } from './architecture.ts';
import { llamaFields, textModelFields } from './fields.ts';
import { llama3RopeFactors } from './rope.ts';
import { attention, embeddings, mixtralExperts, norms } from './rules.ts';

/** Mixtral: Mistral with experts, to llama.cpp one more `llama`. */
export const mixtral: Architecture = {
  name: 'llama',
  classes: ['MixtralForCausalLM'],
  defaults: {
    mixtral: {
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 14_336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 131_072,
      rms_norm_eps: 1e-5,
      num_experts_per_tok: 2,
      num_local_experts: 8,
      default_rope_theta: 1_000_000,
    },
  },
  derivesHeadSize: [],
  tensors: [...embeddings, ...norms, ...attention({ permuted: true }), ...mixtralExperts],
  fields: [...textModelFields, ...llamaFields],
  vocabulary: ['sentencepiece', 'llama-hf', 'bpe'],
  extraTensors: llama3RopeFactors,
};
