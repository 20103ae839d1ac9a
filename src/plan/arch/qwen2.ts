import type { Architecture } from './architecture.ts';
import { textModelFields } from './fields.ts';
import { attention, attentionBiases, embeddings, gatedFeedForward, norms } from './rules.ts';

/** Qwen 1.5, 2 and 2.5: biases on q, k and v. */
export const qwen2: Architecture = {
  name: 'qwen2',
  classes: ['Qwen2ForCausalLM'],
  defaults: {
    qwen2: {
      vocab_size: 151_936,
      hidden_size: 4096,
      intermediate_size: 22_016,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      num_key_value_heads: 32,
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
    ...attentionBiases({ permuted: false, needed: 'always' }),
    ...gatedFeedForward,
  ],
  fields: textModelFields,
  vocabulary: ['sentencepiece', 'bpe'],
};
