import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { floats, gaussian } from './random.ts';
import { floatTensor, writeSafetensors } from './safetensors-writer.ts';

const fixture = fileURLToPath(new URL('../../fixtures/sotu-3m', import.meta.url));

/** Extents: every row takes K-quants. */
export const tinyLlamaExtents = { width: 256, inner: 256, heads: 4, kvHeads: 1, vocabulary: 2048 } as const;

export interface TinyLlamaChanges {
  readonly layers?: number;
  /** Of the residual stream and within the layers; 256 unless told, which every row takes K-quants for. */
  readonly width?: number;
  /** Into config.json. */
  readonly config?: Record<string, unknown>;
  /** Changes a tensor's values before they are rounded to bf16. */
  readonly edit?: (name: string, values: Float32Array) => void;
  readonly tokenizer?: boolean;
}

/** Drawn once for all models of a test file. */
const drawn = new Map<string, Float32Array>();
function normals(n: number, seed: number): Float32Array {
  const key = `${n} ${seed}`;
  const found = drawn.get(key) ?? floats(n, gaussian(seed));
  drawn.set(key, found);
  return found;
}

/** Writes a dense model of two layers, random weights and the bundled tokenizer; returns its directory. */
export function tinyLlama(
  directory: string,
  {
    layers = 2,
    width = tinyLlamaExtents.width,
    config = {},
    edit = () => {},
    tokenizer = true,
  }: TinyLlamaChanges = {},
): string {
  const { heads, kvHeads, vocabulary } = tinyLlamaExtents;
  const inner = width;
  mkdirSync(directory, { recursive: true });
  if (tokenizer) {
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
      copyFileSync(join(fixture, name), join(directory, name));
    }
  }
  writeFileSync(
    join(directory, 'config.json'),
    JSON.stringify({
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_size: width,
      intermediate_size: inner,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      max_position_embeddings: 256,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
      torch_dtype: 'bfloat16',
      vocab_size: vocabulary,
      ...config,
    }),
  );
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocabulary, width]],
    ['model.norm.weight', [width]],
    ['lm_head.weight', [vocabulary, width]],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const matrices: [string, number[]][] = [
      ['input_layernorm', [width]],
      ['post_attention_layernorm', [width]],
      ['self_attn.q_proj', [width, width]],
      ['self_attn.k_proj', [(width / heads) * kvHeads, width]],
      ['self_attn.v_proj', [(width / heads) * kvHeads, width]],
      ['self_attn.o_proj', [width, width]],
      ['mlp.gate_proj', [inner, width]],
      ['mlp.up_proj', [inner, width]],
      ['mlp.down_proj', [width, inner]],
    ];
    for (const [name, shape] of matrices) shapes.push([`model.layers.${layer}.${name}.weight`, shape]);
  }
  const tensors = shapes.map(([name, shape], seed) => {
    const elements = shape.reduce((n, extent) => n * extent, 1);
    const values = normals(elements, seed).map((x) => (shape.length === 1 ? 1 + x / 10 : x / 16));
    edit(name, values);
    return floatTensor(name, 'BF16', shape, values);
  });
  writeSafetensors(join(directory, 'model.safetensors'), tensors);
  return directory;
}
