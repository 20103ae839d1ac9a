import { describe, expect, it } from 'vitest';
import type { MappedTensor } from '../../src/core/model.ts';
import { mixtureRules } from '../../src/plan/mixture-rules.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { chooseTypes, type TypeOptions } from '../../src/plan/policy.ts';
import { holdsValues, quantizeOrder, roleOf, whyExempt } from '../../src/plan/tensor-roles.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { defaultQuantizeParams, TypeOracle } from '../engine/quantize.ts';
import { type Network, tensorsOf } from '../support/networks.ts';

/**
 * The type policy against libllama's own functions. They know no importance matrix and never ask for one; where our
 * policy would refuse for want of one, it is told there is one, which changes no rule but those of IQ3_XXS.
 */

const refusedAlone: ReadonlySet<MixtureName> = new Set<MixtureName>([
  'IQ1_S',
  'IQ1_M',
  'IQ2_XXS',
  'IQ2_XS',
  'IQ2_S',
  'IQ2_M',
  'IQ3_XS',
  'Q2_K_S',
]);
const compared = (Object.keys(mixtures) as MixtureName[]).filter(
  (name) => !['F32', 'F16', 'BF16', 'IQ3_XXS'].includes(name),
);
/** Q1_0 throws in libllama where rows do not divide, and an exception must not cross into this process. */
const withFallback = compared.filter((name) => name !== 'Q1_0');

const inOrder = (tensors: readonly MappedTensor[]): MappedTensor[] => {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return quantizeOrder(byName.keys()).map((name) => byName.get(name)!);
};

function withOracle<T>(
  network: Network,
  tensors: readonly MappedTensor[],
  use: (oracle: TypeOracle) => T,
): T {
  const typed = inOrder(tensors).map(({ name, shape, keep }) => ({ name, shape, type: keep }));
  const oracle = new TypeOracle(network, typed);
  try {
    return use(oracle);
  } finally {
    oracle.free();
  }
}

/** Where our types are not libllama's, as sentences. */
function differences(
  network: Network,
  names: readonly MixtureName[],
  options: TypeOptions = {},
  tensors: readonly MappedTensor[] = tensorsOf(network),
): string[] {
  return withOracle(network, tensors, (oracle) =>
    names.flatMap((name) => {
      const importance = refusedAlone.has(name) || options.importance;
      const ours = chooseTypes(tensors, mixtures[name], network, { ...options, importance });
      const theirs = oracle.types(mixtures[name].fileType!, options);
      return ours.tensors
        .filter(({ tensor, type }) => type !== theirs.get(tensor.name))
        .map(
          ({ tensor, type }) => `${name}: ${tensor.name} ${type}, but libllama ${theirs.get(tensor.name)}`,
        );
    }),
  );
}

const describeNetwork = ({ architecture, layers, heads, kvHeads, experts, tied }: Network): string =>
  `${architecture}, ${layers} layers, ${heads}:${kvHeads} heads, ${experts} experts, ${tied ? 'tied' : 'untied'}`;

describe.skipIf(engineDirectory === null)('types equal those of libllama', () => {
  it('the options are laid out as the engine lays them out', () => {
    expect(defaultQuantizeParams()).toEqual({
      nthread: 0,
      ftype: 7,
      output_tensor_type: 43,
      token_embedding_type: 43,
      allow_requantize: false,
      quantize_output_tensor: true,
      only_copy: false,
      pure: false,
      keep_split: false,
      dry_run: false,
      imatrix: null,
      kv_overrides: null,
      tt_overrides: null,
      prune_layers: null,
      max_buf_size: 8 * 2 ** 30,
    });
  });

  for (const layers of [1, 4, 16, 32, 33, 80]) {
    for (const experts of [0, 8, 64]) {
      it(`llama, ${layers} layers, ${experts} experts`, () => {
        for (const kvHeads of [8, 4, 2, 1]) {
          for (const tied of [true, false]) {
            const network = { architecture: 'llama', layers, heads: 8, kvHeads, experts, tied };
            expect(differences(network, compared), describeNetwork(network)).toEqual([]);
          }
        }
      });
    }
  }

  for (const architecture of [
    'qwen2',
    'qwen3',
    'falcon',
    'gemma2',
    'phi3',
    'gpt2',
    'deepseek2',
    'bailingmoe3',
  ]) {
    it(architecture, () => {
      for (const layers of [3, 16, 33]) {
        for (const kvHeads of [8, 2]) {
          for (const experts of architecture === 'deepseek2' || architecture === 'bailingmoe3'
            ? [0, 8]
            : [0]) {
            const network = { architecture, layers, heads: 8, kvHeads, experts, tied: layers === 16 };
            expect(differences(network, compared), describeNetwork(network)).toEqual([]);
          }
        }
      }
    });
  }

  it.each([1, 2, 3, 4])('llama, %i experts', (experts) => {
    const network = { architecture: 'llama', layers: 9, heads: 8, kvHeads: 4, experts, tied: false };
    expect(differences(network, compared), describeNetwork(network)).toEqual([]);
  });

  it('IQ3_XXS without an importance matrix', () => {
    for (const [layers, experts, kvHeads] of [
      [33, 0, 2],
      [32, 0, 4],
      [16, 8, 2],
    ]) {
      const network = { architecture: 'llama', layers, heads: 8, kvHeads, experts, tied: false };
      const tensors = inOrder(tensorsOf(network)).filter(
        ({ name, shape }) => whyExempt(name, shape) === null,
      );
      const valueTensors = tensors.filter(({ name }) => holdsValues(roleOf(name))).length;
      const choose = mixtureRules(mixtures.IQ3_XXS, { ...network, valueTensors, importance: false });
      const ours = new Map(tensors.map(({ name, shape }) => [name, choose(name, shape, roleOf(name)).type]));
      const theirs = withOracle(network, tensors, (oracle) => oracle.types(mixtures.IQ3_XXS.fileType!));
      expect(ours).toEqual(theirs);
    }
  });

  // Widths that super-blocks, blocks of 64 and blocks of 32 do not divide.
  for (const [width, inner] of [
    [128, 384],
    [576, 1536],
    [96, 160],
    [256, 704],
    [48, 100],
    [33, 7],
  ]) {
    it(`rows of ${width} and ${inner}`, () => {
      for (const architecture of ['llama', 'falcon']) {
        for (const tied of [true, false]) {
          const network = { architecture, layers: 9, heads: 8, kvHeads: 2, experts: 0, tied, width, inner };
          expect(differences(network, withFallback), describeNetwork(network)).toEqual([]);
          expect(differences(network, withFallback, { pure: true }), 'pure').toEqual([]);
        }
      }
    });
  }

  const dense: Network = { architecture: 'llama', layers: 9, heads: 8, kvHeads: 4, experts: 0, tied: false };
  const choices: Record<string, TypeOptions> = {
    pure: { pure: true },
    'leave the output tensor': { leaveOutputTensor: true },
    'output tensor': { outputTensorType: 'Q5_0' },
    'token embedding': { tokenEmbeddingType: 'F16' },
    both: { tokenEmbeddingType: 'Q4_1', outputTensorType: 'F32' },
    'pure with both': { pure: true, tokenEmbeddingType: 'Q4_1', outputTensorType: 'BF16' },
    'one pattern': { tensorTypes: [{ pattern: 'ffn_down', type: 'Q8_0' }] },
    'first of two patterns': {
      tensorTypes: [
        { pattern: 'blk\\.[0-3]\\.attn_v', type: 'Q6_K' },
        { pattern: 'attn_(v|k)', type: 'Q5_1' },
      ],
    },
    'anchors and classes': {
      tensorTypes: [
        { pattern: '^blk[.]\\d+[.]ffn_(up|gate)[.]weight$', type: 'IQ4_NL' },
        { pattern: '^weight', type: 'F32' },
        { pattern: '(?!token)^.*embd', type: 'BF16' },
      ],
    },
    'pattern on norms and biases': { tensorTypes: [{ pattern: 'norm|bias', type: 'Q8_0' }] },
    'pattern on the output': {
      outputTensorType: 'Q4_0',
      tensorTypes: [{ pattern: '^output', type: 'Q8_0' }],
    },
    'pattern with pure': { pure: true, tensorTypes: [{ pattern: 'attn', type: 'Q3_K' }] },
  };
  it.each(Object.keys(choices))('options: %s', (name) => {
    for (const tied of [true, false]) {
      expect(differences({ ...dense, tied }, compared, choices[name])).toEqual([]);
    }
  });

  it('options where rows do not divide', () => {
    const tensorTypes = [
      { pattern: 'attn_v', type: 'Q6_K' },
      { pattern: 'attn_k', type: 'TQ1_0' },
      { pattern: 'attn_q', type: 'Q2_0' },
      { pattern: 'ffn_up', type: 'Q4_1' },
    ] as const;
    for (const width of [128, 48]) {
      const network = { ...dense, tied: true, width, inner: 96 };
      expect(differences(network, withFallback, { tensorTypes })).toEqual([]);
      expect(differences(network, withFallback, { outputTensorType: 'Q5_K' })).toEqual([]);
    }
  });

  const shape = [256, 32];
  const odd = (name: string, extents = shape): MappedTensor => ({
    name,
    shape: extents,
    keep: 'BF16',
    source: { kind: 'values', values: [] },
  });

  it('which tensors are quantized at all', () => {
    const parts = [
      ...[
        'attn_q_norm',
        'ffn_gate_inp',
        'ffn_gate_tid2eid',
        'altup_proj',
        'laurel_l',
        'ssm_conv1d',
        'ssm_in',
      ],
      ...['shortconv.conv', 'indexer.k_proj', 'indexer.q_proj', 'indexer.proj', 'attn_rel_b', 'attn_q_a'],
      ...['first', 'w0', 'w1', 'w2', 'v0', 'v1', 'v2', 'a0', 'a1', 'a2', 'g1', 'g2', 'key', 'output'].map(
        (part) => `time_mix_${part}`,
      ),
      ...['decay_w1', 'decay_w2', 'lerp_fused', 'receptance'].map((part) => `time_mix_${part}`),
    ];
    const names = [
      ...parts.map((part) => `blk.0.${part}.weight`),
      ...['position_embd.weight', 'token_types.weight', 'v.position_embd.weight', 'v.patch_embd.weight'],
      ...[
        'v.sam.pos_embd.weight',
        'v.sam.neck.0.weight',
        'v.sam.net_2.weight',
        'v.blk.0.attn.rel_pos_h.weight',
      ],
      ...[
        'mm.patch_merger.weight',
        'mm.a.code_embd.weight',
        'a.rvq.codebook.weight',
        'per_layer_model_proj.weight',
      ],
      ...['per_layer_token_embd.weight', 'output.weight', 'token_embd.weight', 'cls.weight', 'weight'],
      ...[
        'abcde',
        'abcdef',
        'abcd',
        'é.wei',
        'blk.0.attn_sinks',
        'blk.0.attn_v.weights',
        'blk.0.attn_v.bias',
      ],
    ];
    const tensors = [
      ...names.map((name) => odd(name)),
      odd('one.weight', [256]),
      odd('one.trailing.weight', [256, 1, 1]),
      odd('column.weight', [1, 256]),
      odd('stacked.weight', [256, 1, 4]),
      odd('four.weight', [256, 2, 2, 2]),
    ];
    const network = { ...dense, layers: 1 };
    for (const leaveOutputTensor of [true, false]) {
      const theirs = withOracle(network, tensors, (oracle) => oracle.allowed({ leaveOutputTensor }));
      const ours = new Map(
        inOrder(tensors).map(({ name, shape: extents }) => [
          name,
          whyExempt(name, extents) === null && !(leaveOutputTensor && name === 'output.weight'),
        ]),
      );
      expect(ours).toEqual(theirs);
    }
  });

  it('names of no usual form', () => {
    const tensors = [
      ...[
        'per_layer_token_embd.weight',
        'token_embd.weight',
        'mtp.attn_v.weight',
        'enc.blk.2.ffn_down.weight',
      ],
      ...[
        'blk.10.attn_v.weight',
        'blk.2.attn_v.weight',
        'blk.2.cross_attn_v.weight',
        'blk.3.attn_qkv.weight',
      ],
      ...['blk.+1.attn_v.weight', 'blk. 4.attn_v.weight', 'blk.x.attn_v.weight', 'blk.5attn_v.weight'],
      ...['blk.0.ffn_down.weight', 'blk.1.ffn_downs.weight', 'blk.1.ffn_gate_up.weight', 'a\u{10000}.weight'],
      'a\uffff.weight',
    ].map((name) => odd(name));
    const network = { ...dense, layers: 12 };
    for (const options of [
      {},
      { tokenEmbeddingType: 'Q8_0', tensorTypes: [{ pattern: 'per_layer', type: 'Q4_0' }] },
      { tokenEmbeddingType: 'Q8_0', tensorTypes: [{ pattern: 'embd', type: 'Q4_0' }] },
      { outputTensorType: 'Q8_0' },
    ] as TypeOptions[]) {
      expect(differences(network, compared, options, tensors)).toEqual([]);
    }
  });
});
