import type { ForwardModel, ForwardTensor } from '../../src/calibrate/forward/shape.ts';
import type { MetadataEntry } from '../../src/core/metadata.ts';
import { gaussian, uniform } from './random.ts';

/** A model that exists in memory only, as the forward pass takes it: as small as K-quants let it be. */

/** Extents of both kinds. */
export const valueModelExtents = { width: 256, inner: 256, heads: 1, headSize: 64, vocabulary: 96 } as const;

/** Gaussian weights; two layers with one head, dense or with `experts` experts of which each token goes to two. */
export function valueModel({ experts = 0, layers = 2, scale = 1 / 16 } = {}): ForwardModel {
  const { width, inner, heads, headSize, vocabulary } = valueModelExtents;
  const attention = heads * headSize;
  const count = (key: string, value: number): MetadataEntry => ({
    key: `llama.${key}`,
    type: 'UINT32',
    value,
  });
  const shapes: [string, readonly number[]][] = [
    ['token_embd.weight', [width, vocabulary]],
    ['output_norm.weight', [width]],
    ['output.weight', [width, vocabulary]],
  ];
  for (let layer = 0; layer < layers; layer++) {
    const stacked = experts > 0 ? [experts] : [];
    const suffix = experts > 0 ? '_exps' : '';
    const matrices: [string, readonly number[]][] = [
      ['attn_norm', [width]],
      ['attn_q', [width, attention]],
      ['attn_k', [width, attention]],
      ['attn_v', [width, attention]],
      ['attn_output', [attention, width]],
      ['ffn_norm', [width]],
      ...(experts > 0 ? ([['ffn_gate_inp', [width, experts]]] as [string, number[]][]) : []),
      [`ffn_gate${suffix}`, [width, inner, ...stacked]],
      [`ffn_up${suffix}`, [width, inner, ...stacked]],
      [`ffn_down${suffix}`, [inner, width, ...stacked]],
    ];
    for (const [name, shape] of matrices) shapes.push([`blk.${layer}.${name}.weight`, shape]);
  }
  return {
    path: 'model in memory',
    files: [],
    metadata: [
      { key: 'general.architecture', type: 'STRING', value: 'llama' },
      count('block_count', layers),
      count('context_length', 256),
      count('embedding_length', width),
      count('feed_forward_length', inner),
      count('attention.head_count', heads),
      count('attention.key_length', headSize),
      count('attention.value_length', headSize),
      count('rope.dimension_count', headSize),
      { key: 'llama.attention.layer_norm_rms_epsilon', type: 'FLOAT32', value: 1e-5 },
      ...(experts > 0 ? [count('expert_count', experts), count('expert_used_count', 2)] : []),
    ],
    tensors: shapes.map(([name, shape], seed): ForwardTensor => {
      const random = gaussian(seed + 1);
      const length = shape.reduce((product, extent) => product * extent, 1);
      const values = Float32Array.from({ length }, () =>
        shape.length === 1 ? 1 + random() / 10 : scale * random(),
      );
      return { name, shape, source: { kind: 'values', values } };
    }),
  };
}

/** Windows of tokens of that model, frequent ones and rare ones. */
export function valueWindows(count: number, length: number): Int32Array[] {
  const random = uniform(99);
  return Array.from({ length: count }, () =>
    Int32Array.from({ length }, () => Math.floor(valueModelExtents.vocabulary * random() ** 2)),
  );
}
