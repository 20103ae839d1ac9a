import type { Hyperparameters, MappedTensor } from '../../src/core/model.ts';
import type { TypeName } from '../../src/core/types.ts';

/** Networks as lists of tensors, GGUF names and shapes, for tests of what is decided by these alone. */
export interface Network extends Hyperparameters {
  readonly tied: boolean;
  /** Row length of matrices that read the residual stream; 256 unless told. */
  readonly width?: number;
  /** Row length of ffn_down; 512 unless told. */
  readonly inner?: number;
}

const tensor = (name: string, shape: readonly number[], keep: TypeName = 'BF16'): MappedTensor => ({
  name,
  shape,
  keep: name.includes('norm') || name.endsWith('bias') || name.includes('gate_inp') ? 'F32' : keep,
  source: { kind: 'values', values: [] },
});

/** Projections of one attention block: rows are `width` long. */
function attention(network: Network, prefix: string, width: number): MappedTensor[] {
  const kv = Math.max(32, Math.floor((width * network.kvHeads) / network.heads));
  const output = tensor(`${prefix}.attn_output.weight`, [width, width]);
  switch (network.architecture) {
    case 'falcon':
    case 'phi3':
    case 'gpt2':
      return [tensor(`${prefix}.attn_qkv.weight`, [width, width + 2 * kv]), output];
    case 'deepseek2':
      return [
        tensor(`${prefix}.attn_q.weight`, [width, width]),
        tensor(`${prefix}.attn_kv_a_mqa.weight`, [width, 96]),
        tensor(`${prefix}.attn_kv_b.weight`, [256, width]),
        output,
      ];
    default:
      return [
        tensor(`${prefix}.attn_q.weight`, [width, width]),
        tensor(`${prefix}.attn_k.weight`, [width, kv]),
        tensor(`${prefix}.attn_v.weight`, [width, kv]),
        tensor(`${prefix}.attn_v.bias`, [kv]),
        output,
      ];
  }
}

/** Feed-forward matrices of one block: a router and stacked experts, or three (falcon, phi3, gpt2: two) matrices. */
function feedForward(network: Network, prefix: string, width: number, inner: number): MappedTensor[] {
  const { architecture, experts } = network;
  if (experts > 0) {
    return [
      tensor(`${prefix}.ffn_gate_inp.weight`, [width, experts]),
      tensor(`${prefix}.ffn_gate_exps.weight`, [width, inner, experts]),
      tensor(`${prefix}.ffn_up_exps.weight`, [width, inner, experts]),
      tensor(`${prefix}.ffn_down_exps.weight`, [inner, width, experts]),
      tensor(`${prefix}.ffn_down_shexp.weight`, [inner, width]),
    ];
  }
  const gated = architecture !== 'falcon' && architecture !== 'phi3' && architecture !== 'gpt2';
  return [
    ...(gated ? [tensor(`${prefix}.ffn_gate.weight`, [width, inner])] : []),
    tensor(`${prefix}.ffn_up.weight`, [width, inner]),
    tensor(`${prefix}.ffn_down.weight`, [inner, width]),
  ];
}

/** The tensors of a network, in the order of a checkpoint: not llama-quantize's. */
export function tensorsOf(network: Network): MappedTensor[] {
  const { layers, tied, width = 256, inner = 512 } = network;
  return [
    tensor('token_embd.weight', [width, 512]),
    ...(network.architecture === 'gpt2' ? [tensor('position_embd.weight', [width, 64])] : []),
    ...Array.from({ length: layers }, (_, block) => [
      tensor(`blk.${block}.attn_norm.weight`, [width]),
      ...attention(network, `blk.${block}`, width),
      ...feedForward(network, `blk.${block}`, width, inner),
      tensor(`blk.${block}.ffn_norm.weight`, [width]),
    ]).flat(),
    tensor('output_norm.weight', [width]),
    ...(tied ? [] : [tensor('output.weight', [width, 512])]),
  ];
}
