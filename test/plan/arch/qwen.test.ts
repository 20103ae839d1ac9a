import { expect, it } from 'vitest';
import { MissingTensorsError } from '../../../src/plan/tensors.ts';
import { headersOnly, tensorLines, tinyShapes } from '../../support/synthetic.ts';
import { describeTiny } from '../tiny-model.ts';

it('tensors of Qwen 2 and 3 keep their row order; norms of q and k stay float32', () => {
  const biases = {
    'self_attn.q_proj.bias': [8],
    'self_attn.k_proj.bias': [4],
    'self_attn.v_proj.bias': [4],
  };
  const qwen2 = { architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2' };
  const two = tensorLines(describeTiny(qwen2, headersOnly(tinyShapes({ perLayer: biases }))));
  expect(two).toContain('blk.0.attn_q.weight [8,8] BF16 < model.layers.0.self_attn.q_proj.weight');
  expect(two).toContain('blk.0.attn_q.bias [8] F32 < model.layers.0.self_attn.q_proj.bias');
  expect(() => describeTiny(qwen2)).toThrow(MissingTensorsError);

  const norms = { 'self_attn.q_norm.weight': [2], 'self_attn.k_norm.weight': [2] };
  const qwen3 = { architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', head_dim: 2 };
  const three = tensorLines(describeTiny(qwen3, headersOnly(tinyShapes({ perLayer: norms }))));
  expect(three).toContain('blk.1.attn_k_norm.weight [2] F32 < model.layers.1.self_attn.k_norm.weight');
  expect(three).toContain('blk.1.attn_k.weight [8,4] BF16 < model.layers.1.self_attn.k_proj.weight');
});
