import type { Checkpoint, StoredTensor } from '../../src/core/checkpoint.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import type { ModelDescription } from '../../src/core/model.ts';
import type { JsonObject, ModelFiles } from '../../src/core/model-files.ts';
import { bytesOf, type TypeName } from '../../src/core/types.ts';

export type Shapes = Record<string, readonly number[]>;

/** A checkpoint that exists only as its headers, in the reader's order: enough for a stage that reads no data. */
export function headersOnly(
  shapes: Shapes,
  options: { type?: TypeName; files?: readonly string[]; fileOf?: (name: string) => number } = {},
): Checkpoint {
  const type = options.type ?? 'BF16';
  const tensors = new Map<string, StoredTensor>();
  let offset = 100;
  const fileOf = options.fileOf ?? (() => 0);
  const names = Object.keys(shapes).sort((a, b) => fileOf(a) - fileOf(b) || (a < b ? -1 : 1));
  for (const name of names) {
    const shape = shapes[name];
    const byteLength = bytesOf(
      type,
      shape.reduce((product, extent) => product * extent, 1),
    );
    tensors.set(name, { name, type, shape, file: fileOf(name), offset, byteLength });
    offset += byteLength;
  }
  const paths = options.files ?? ['/models/tiny/model.safetensors'];
  const files = paths.map((path) => ({ path, size: offset }));
  const directory = '/models/tiny';
  return { format: 'safetensors', path: directory, directory, files, tensors, metadata: [] };
}

export function modelFiles(parts: Partial<ModelFiles>): ModelFiles {
  return {
    directory: '/models/tiny',
    config: null,
    generationConfig: null,
    tokenizer: null,
    tokenizerConfig: null,
    specialTokensMap: null,
    addedTokens: null,
    chatTemplate: null,
    tokenizerModel: null,
    readme: null,
    ...parts,
  };
}

export const byteLevel: JsonObject = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };

/** A byte-level tokenizer.json with these tokens, ids by position. */
export const bpeTokenizer = (tokens: readonly string[], parts: JsonObject = {}): JsonObject => ({
  model: {
    type: 'BPE',
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: ['a b'],
  },
  pre_tokenizer: byteLevel,
  decoder: { type: 'ByteLevel' },
  ...parts,
});

/** Sizes of the tiny models: two layers of width 8, four heads of two, two of them for keys and values. */
export const tinyConfig: JsonObject = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 4,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
};
export const tinyTokenizer = bpeTokenizer(['a', 'b', 'ab', 'c']);

const layerShapes: Shapes = {
  'input_layernorm.weight': [8],
  'post_attention_layernorm.weight': [8],
  'self_attn.q_proj.weight': [8, 8],
  'self_attn.k_proj.weight': [4, 8],
  'self_attn.v_proj.weight': [4, 8],
  'self_attn.o_proj.weight': [8, 8],
};
const feedForward: Shapes = {
  'mlp.gate_proj.weight': [6, 8],
  'mlp.up_proj.weight': [6, 8],
  'mlp.down_proj.weight': [8, 6],
};

/** Tensors of each layer under their names in it, and those outside layers. */
export function layered(perLayer: Shapes, outside: Shapes, layers = 2): Shapes {
  const shapes: Shapes = { ...outside };
  for (let i = 0; i < layers; i++) {
    for (const [name, shape] of Object.entries(perLayer)) shapes[`model.layers.${i}.${name}`] = shape;
  }
  return shapes;
}

const ends: Shapes = { 'model.embed_tokens.weight': [4, 8], 'model.norm.weight': [8] };

/** Tensors that fit `tinyConfig`, with more or others where a test asks. */
export const tinyShapes = (
  parts: { perLayer?: Shapes; outside?: Shapes; experts?: number; layers?: number } = {},
): Shapes => {
  const experts: Shapes = { 'block_sparse_moe.gate.weight': [parts.experts ?? 0, 8] };
  for (let i = 0; i < (parts.experts ?? 0); i++) {
    experts[`block_sparse_moe.experts.${i}.w1.weight`] = [6, 8];
    experts[`block_sparse_moe.experts.${i}.w2.weight`] = [8, 6];
    experts[`block_sparse_moe.experts.${i}.w3.weight`] = [6, 8];
  }
  const perLayer = { ...layerShapes, ...(parts.experts ? experts : feedForward), ...parts.perLayer };
  return layered(perLayer, { ...ends, 'lm_head.weight': [4, 8], ...parts.outside }, parts.layers);
};

/** Metadata values by key; arrays as plain ones. */
export const valuesByKey = (metadata: readonly MetadataEntry[]): Record<string, unknown> =>
  Object.fromEntries(
    metadata.map((entry) => [entry.key, entry.type === 'ARRAY' ? Array.from(entry.value) : entry.value]),
  );

/** Each output tensor in one line: name, shape, type it keeps, and what it is made of. */
export const tensorLines = (model: ModelDescription): string[] =>
  model.tensors.map(({ name, shape, keep, source }) => {
    if (source.kind === 'values') return `${name} [${shape}] ${keep} values`;
    const rows = source.rows.kind === 'rotary' ? ` rotary ${source.rows.heads}` : '';
    return `${name} [${shape}] ${keep} < ${source.parts.map((part) => part.name).join(' + ')}${rows}`;
  });
