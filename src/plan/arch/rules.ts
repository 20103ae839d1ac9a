import type { TensorRule } from './architecture.ts';

/** Rows that architectures share. Names: transformers' modules on the left, `TENSOR_NAMES` of gguf-py on the right. */
export const embeddings: readonly TensorRule[] = [
  {
    from: 'model.embed_tokens.weight',
    to: 'token_embd.weight',
    shape: ['vocab', 'hidden'],
    needed: 'always',
  },
  { from: 'model.norm.weight', to: 'output_norm.weight', shape: ['hidden'], needed: 'always' },
  { from: 'lm_head.weight', to: 'output.weight', shape: ['vocab', 'hidden'], needed: 'optional' },
];

const layer = (from: string, to: string, shape: TensorRule['shape'], needed = 'always'): TensorRule => ({
  from: `model.layers.{bid}.${from}`,
  to: `blk.{bid}.${to}`,
  shape,
  needed,
});

export const norms: readonly TensorRule[] = [
  layer('input_layernorm.weight', 'attn_norm.weight', ['hidden']),
  layer('post_attention_layernorm.weight', 'ffn_norm.weight', ['hidden']),
];

/** q, k, v and output projections. With `permuted`, rows of q and k change order for the Llama rotary embedding. */
export function attention(options: { permuted: boolean }): TensorRule[] {
  const query = options.permuted ? ({ rotary: 'query' } as const) : {};
  const key = options.permuted ? ({ rotary: 'keyValue' } as const) : {};
  return [
    { ...layer('self_attn.q_proj.weight', 'attn_q.weight', ['query', 'hidden']), ...query },
    { ...layer('self_attn.k_proj.weight', 'attn_k.weight', ['keyValue', 'hidden']), ...key },
    layer('self_attn.v_proj.weight', 'attn_v.weight', ['keyValue', 'hidden']),
    layer('self_attn.o_proj.weight', 'attn_output.weight', ['hidden', 'query']),
  ];
}

/** Biases of q, k, v, and of the output projection when `output` says when it is needed. */
export function attentionBiases(options: {
  permuted: boolean;
  needed: string;
  output?: string;
}): TensorRule[] {
  const query = options.permuted ? ({ rotary: 'query' } as const) : {};
  const key = options.permuted ? ({ rotary: 'keyValue' } as const) : {};
  const { needed, output } = options;
  return [
    { ...layer('self_attn.q_proj.bias', 'attn_q.bias', ['query'], needed), ...query },
    { ...layer('self_attn.k_proj.bias', 'attn_k.bias', ['keyValue'], needed), ...key },
    layer('self_attn.v_proj.bias', 'attn_v.bias', ['keyValue'], needed),
    ...(output === undefined ? [] : [layer('self_attn.o_proj.bias', 'attn_output.bias', ['hidden'], output)]),
  ];
}

export const queryKeyNorms: readonly TensorRule[] = [
  layer('self_attn.q_norm.weight', 'attn_q_norm.weight', ['headSize']),
  layer('self_attn.k_norm.weight', 'attn_k_norm.weight', ['headSize']),
];

export const gatedFeedForward: readonly TensorRule[] = [
  layer('mlp.gate_proj.weight', 'ffn_gate.weight', ['ffn', 'hidden']),
  layer('mlp.up_proj.weight', 'ffn_up.weight', ['ffn', 'hidden']),
  layer('mlp.down_proj.weight', 'ffn_down.weight', ['hidden', 'ffn']),
];

export const gatedFeedForwardBiases: readonly TensorRule[] = [
  layer('mlp.gate_proj.bias', 'ffn_gate.bias', ['ffn'], 'mlp_bias'),
  layer('mlp.up_proj.bias', 'ffn_up.bias', ['ffn'], 'mlp_bias'),
  layer('mlp.down_proj.bias', 'ffn_down.bias', ['hidden'], 'mlp_bias'),
];

/** A router and its experts; a layer's stacked matrices are written in this order. */
export const mixtralExperts: readonly TensorRule[] = [
  layer('block_sparse_moe.gate.weight', 'ffn_gate_inp.weight', ['experts', 'hidden']),
  layer('block_sparse_moe.experts.{xid}.w1.weight', 'ffn_gate_exps.weight', ['ffn', 'hidden']),
  layer('block_sparse_moe.experts.{xid}.w2.weight', 'ffn_down_exps.weight', ['hidden', 'ffn']),
  layer('block_sparse_moe.experts.{xid}.w3.weight', 'ffn_up_exps.weight', ['ffn', 'hidden']),
];
