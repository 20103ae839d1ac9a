import type { Architecture } from './architecture.ts';
import { llamaFields, textModelFields } from './fields.ts';
import { llama3RopeFactors } from './rope.ts';
import {
  attention,
  attentionBiases,
  embeddings,
  gatedFeedForward,
  gatedFeedForwardBiases,
  norms,
} from './rules.ts';

/** Llama 1 to 3 and everything built like it, Mistral included. */
export const llama: Architecture = {
  name: 'llama',
  classes: ['LlamaForCausalLM', 'LLaMAForCausalLM', 'MistralForCausalLM'],
  defaults: {
    llama: {
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 11_008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-6,
      default_rope_theta: 10_000,
    },
    mistral: {
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 14_336,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      max_position_embeddings: 131_072,
      rms_norm_eps: 1e-6,
      default_rope_theta: 10_000,
    },
  },
  derivesHeadSize: ['llama', 'mistral'],
  tensors: [
    ...embeddings,
    ...norms,
    ...attention({ permuted: true }),
    ...attentionBiases({ permuted: true, needed: 'attention_bias', output: 'attention_bias' }),
    ...gatedFeedForward,
    ...gatedFeedForwardBiases,
  ],
  fields: [...textModelFields, ...llamaFields],
  vocabulary: ['sentencepiece', 'llama-hf', 'bpe'],
  extraTensors: llama3RopeFactors,
};
