import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { floats, gaussian } from './random.ts';
import { floatTensor, writeSafetensors } from './safetensors-writer.ts';

const fixture = fileURLToPath(new URL('../../fixtures/sotu-3m', import.meta.url));

/** Extents of the model below: rows of ffn_down do not divide into super-blocks, nor tiles into those rows. */
export const mixtral = { width: 256, inner: 320, experts: 4, vocabulary: 2048 } as const;

/** Writes a mixture-of-experts model of one layer, random weights and the bundled tokenizer; returns its directory. */
export function tinyMixtral(directory: string): string {
  const { width, inner, experts, vocabulary } = mixtral;
  mkdirSync(directory, { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    copyFileSync(join(fixture, name), join(directory, name));
  }
  writeFileSync(
    join(directory, 'config.json'),
    JSON.stringify({
      architectures: ['MixtralForCausalLM'],
      model_type: 'mixtral',
      hidden_size: width,
      intermediate_size: inner,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      num_local_experts: experts,
      num_experts_per_tok: 2,
      max_position_embeddings: 256,
      rms_norm_eps: 1e-5,
      rope_theta: 1e6,
      tie_word_embeddings: false,
      torch_dtype: 'bfloat16',
      vocab_size: vocabulary,
    }),
  );
  const shapes: Record<string, number[]> = {
    'model.embed_tokens.weight': [vocabulary, width],
    'model.norm.weight': [width],
    'lm_head.weight': [vocabulary, width],
  };
  const layer = 'model.layers.0';
  for (const name of ['input_layernorm', 'post_attention_layernorm']) {
    shapes[`${layer}.${name}.weight`] = [width];
  }
  for (const [name, rows] of [
    ['q_proj', width],
    ['k_proj', width / 2],
    ['v_proj', width / 2],
    ['o_proj', width],
  ] as const) {
    shapes[`${layer}.self_attn.${name}.weight`] = [rows, width];
  }
  shapes[`${layer}.block_sparse_moe.gate.weight`] = [experts, width];
  for (let expert = 0; expert < experts; expert++) {
    const prefix = `${layer}.block_sparse_moe.experts.${expert}`;
    shapes[`${prefix}.w1.weight`] = [inner, width];
    shapes[`${prefix}.w2.weight`] = [width, inner];
    shapes[`${prefix}.w3.weight`] = [inner, width];
  }
  const tensors = Object.entries(shapes).map(([name, shape], seed) => {
    const random = gaussian(seed);
    const elements = shape.reduce((n, extent) => n * extent, 1);
    const values = floats(elements, () => random() / 16);
    return floatTensor(name, 'BF16', shape, values);
  });
  writeSafetensors(join(directory, 'model.safetensors'), tensors);
  return directory;
}
