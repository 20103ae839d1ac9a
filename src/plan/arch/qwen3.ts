import type { Architecture } from './architecture.ts';
import { textModelFields } from './fields.ts';
import { attention, attentionBiases, embeddings, gatedFeedForward, norms, queryKeyNorms } from './rules.ts';

/** Qwen 3, dense: a norm on each head's q and k. */
export const qwen3: Architecture = {
  name: 'qwen3',
  classes: ['Qwen3ForCausalLM'],
  defaults: {
    qwen3: {
      vocab_size: 151_936,
      hidden_size: 4096,
      intermediate_size: 22_016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
      head_dim: 128,
      max_position_embeddings: 32_768,
      rms_norm_eps: 1e-6,
      default_rope_theta: 10_000,
    },
  },
  derivesHeadSize: [],
  tensors: [
    ...embeddings,
    ...norms,
    ...attention({ permuted: false }),
    ...attentionBiases({ permuted: false, needed: 'attention_bias', output: 'attention_bias' }),
    ...queryKeyNorms,
    ...gatedFeedForward,
  ],
  fields: textModelFields,
  vocabulary: ['sentencepiece', 'bpe'],
};
