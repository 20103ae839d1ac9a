import { expect, it } from 'vitest';
import { headersOnly, tensorLines, tinyShapes } from '../../support/synthetic.ts';
import { describeTiny, without } from '../tiny-model.ts';

it('tensors of Mixtral: experts stacked in order of number, written where the last of a layer lies', () => {
  const config = {
    architectures: ['MixtralForCausalLM'],
    model_type: 'mixtral',
    num_local_experts: 11,
  };
  const checkpoint = headersOnly(tinyShapes({ experts: 11 }));
  const model = describeTiny(config, checkpoint);
  const stack = (w: string) =>
    Array.from({ length: 11 }, (_, i) => `model.layers.0.block_sparse_moe.experts.${i}.${w}.weight`).join(
      ' + ',
    );
  expect(tensorLines(model).slice(2, 6)).toEqual([
    `blk.0.ffn_gate_exps.weight [8,6,11] BF16 < ${stack('w1')}`,
    `blk.0.ffn_down_exps.weight [6,8,11] BF16 < ${stack('w2')}`,
    `blk.0.ffn_up_exps.weight [8,6,11] BF16 < ${stack('w3')}`,
    'blk.0.ffn_gate_inp.weight [8,11] F32 < model.layers.0.block_sparse_moe.gate.weight',
  ]);
  expect(model.hyperparameters).toEqual({
    architecture: 'llama',
    layers: 2,
    heads: 4,
    kvHeads: 2,
    experts: 11,
  });
  const missing = 'model.layers.1.block_sparse_moe.experts.7.w2.weight';
  expect(() => describeTiny(config, without(checkpoint, missing))).toThrow(missing);
});
