/**
 * What llama-quantize reads out of a tensor's name and extents: its place in the file, its part in the network, and
 * whether it is quantized at all.
 */

/** The parts of a network that mixtures tell apart. */
export type TensorRole =
  | 'output'
  | 'token_embd'
  | 'attn_qkv'
  | 'attn_kv_b'
  | 'attn_v'
  | 'attn_k'
  | 'attn_q'
  | 'attn_output'
  | 'ffn_up'
  | 'ffn_gate'
  | 'ffn_down'
  | 'other';

/** Roles by a part of the name, first match wins (`tensor_get_category`). */
const rolesByPart: readonly (readonly [string, TensorRole])[] = [
  ['attn_qkv.weight', 'attn_qkv'],
  ['attn_kv_b.weight', 'attn_kv_b'],
  ['attn_v.weight', 'attn_v'],
  ['attn_k.weight', 'attn_k'],
  ['attn_q.weight', 'attn_q'],
  ['attn_output.weight', 'attn_output'],
  ['ffn_up', 'ffn_up'],
  ['ffn_gate', 'ffn_gate'],
  ['ffn_down', 'ffn_down'],
];

/** The table of embeddings that belong to each layer (Gemma 3n and later). */
export const PER_LAYER_EMBEDDING = 'per_layer_token_embd.weight';

/** The role a tensor of this name has. */
export function roleOf(name: string): TensorRole {
  if (name === 'output.weight') return 'output';
  if (name === 'token_embd.weight' || name === PER_LAYER_EMBEDDING) return 'token_embd';
  return rolesByPart.find(([part]) => name.includes(part))?.[1] ?? 'other';
}

/** Whether a tensor holds attention values, alone or fused with others: what mixtures spend most on. */
export const holdsValues = (role: TensorRole): boolean =>
  role === 'attn_v' || role === 'attn_qkv' || role === 'attn_kv_b';

/** The N of `blk.N.`, read as C's sscanf("blk.%d.") does; null when the name has none. */
export function blockOf(name: string): number | null {
  const match = /^blk\.[ \t\n\v\f\r]*([+-]?\d+)/.exec(name);
  return match === null ? null : Number(match[1]);
}

/**
 * Names in the order of llama-quantize's files, in which the counters of mixtures also run: tensors outside the
 * blocks, then block by block; within each, names by their UTF-8 bytes (`weight_name_comparer`).
 */
export function quantizeOrder(names: Iterable<string>): string[] {
  const keyed = Array.from(names, (name) => ({
    name,
    block: blockOf(name) ?? -1,
    bytes: Buffer.from(name),
  }));
  keyed.sort((a, b) => a.block - b.block || Buffer.compare(a.bytes, b.bytes));
  return keyed.map(({ name }) => name);
}

/** `ggml_n_dims`: axes up to the last one longer than 1, at least one. */
export const dimensionsOf = (shape: readonly number[]): number =>
  Math.max(1, shape.findLastIndex((extent) => extent > 1) + 1);

/** Parts of names that llama-quantize leaves alone, and why (`tensor_allows_quantization`). */
const exempt: readonly (readonly [part: string, why: string])[] = [
  ['_norm.weight', 'normalization'],
  ['ffn_gate_inp.weight', 'expert router'],
  ['ffn_gate_tid2eid.weight', 'table of expert numbers'],
  ['altup', 'very small'],
  ['laurel', 'very small'],
  ['per_layer_model_proj', 'small'],
  ['ssm_conv1d', 'small convolution'],
  ['shortconv.conv.weight', 'small convolution'],
  ['indexer.k_proj.weight', 'small indexer projection'],
  ['indexer.q_proj.weight', 'small indexer projection'],
  ...['first', 'w0', 'w1', 'w2', 'v0', 'v1', 'v2', 'a0', 'a1', 'a2', 'g1', 'g2'].map(
    (part) => [`time_mix_${part}.weight`, 'small RWKV matrix'] as const,
  ),
  ...['decay_w1', 'decay_w2', 'lerp_fused'].map(
    (part) => [`time_mix_${part}.weight`, 'small RWKV matrix'] as const,
  ),
  ['attn_rel_b.weight', 'relative position bias'],
  ['.position_embd', 'position embedding'],
  ['sam.pos_embd', 'position embedding'],
  ['sam.neck.', 'vision neck'],
  ['sam.net_', 'vision neck'],
  ['.rel_pos', 'relative positions'],
  ['.patch_embd', 'patch embedding'],
  ['.patch_merger', 'patch merger'],
  ['a.rvq.codebook', 'audio codebook'],
  ['mm.a.code_embd', 'audio codebook'],
];

/** Why a tensor of no known network is left alone; null when it is quantized. `shape` is in GGUF order. */
export const whyNoMatrix = (shape: readonly number[]): string | null =>
  dimensionsOf(shape) < 2 ? 'one-dimensional' : null;

/**
 * Why llama-quantize does not touch a tensor, whatever type is asked for; null when it quantizes it. `shape` is in
 * GGUF order. Data types play no part in it.
 */
export function whyExempt(name: string, shape: readonly number[]): string | null {
  if (dimensionsOf(shape) < 2) return 'one-dimensional';
  // A name of five bytes passes: there llama-quantize compares two positions that both mean "not found".
  if (!name.endsWith('weight') && Buffer.byteLength(name) !== 5) return 'not a weight matrix';
  if (name === 'position_embd.weight') return 'position embedding';
  if (name === 'token_types.weight') return 'token types';
  return exempt.find(([part]) => name.includes(part))?.[1] ?? null;
}
