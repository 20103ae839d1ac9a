import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MappedTensor } from '../../src/core/model.ts';
import { NoFallbackError } from '../../src/plan/fallback.ts';
import { TensorLayerError } from '../../src/plan/mixture-rules.ts';
import { type MixtureName, mixtures } from '../../src/plan/mixtures.ts';
import { chooseTypes, ImportanceRequiredError, type TypeOptions } from '../../src/plan/policy.ts';
import { whyExempt } from '../../src/plan/tensor-roles.ts';
import { engineDirectory } from '../engine/ggml.ts';
import { type GgufTensor, readGgufTensors, writeZeroGguf } from '../engine/gguf.ts';
import { quantizeModel } from '../engine/quantize.ts';
import { type Network, tensorsOf } from '../support/networks.ts';

/** The type policy against llama_model_quantize: whole files, their order, and what is refused. */

const small = (tensors: readonly MappedTensor[]): MappedTensor[] =>
  tensors.map((tensor) => ({
    ...tensor,
    shape: tensor.shape.map((extent, axis) => (axis === 1 && tensor.shape.length > 1 ? 4 : extent)),
  }));

const dense: Network = { architecture: 'llama', layers: 4, heads: 8, kvHeads: 4, experts: 0, tied: false };

describe.skipIf(engineDirectory === null)('files of llama-quantize', () => {
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'policy-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** What the engine makes of the network, as names and types in file order. */
  function engine(
    { architecture, layers, heads, kvHeads, experts, width = 256, inner = 512 }: Network,
    tensors: readonly MappedTensor[],
    name: MixtureName,
    options: TypeOptions = {},
  ): GgufTensor[] {
    const input = join(directory, 'in.gguf');
    const output = join(directory, 'out.gguf');
    writeZeroGguf(
      input,
      {
        'general.architecture': architecture,
        [`${architecture}.block_count`]: layers,
        [`${architecture}.context_length`]: 256,
        [`${architecture}.embedding_length`]: width,
        [`${architecture}.feed_forward_length`]: inner,
        [`${architecture}.attention.head_count`]: heads,
        [`${architecture}.attention.head_count_kv`]: kvHeads,
        [`${architecture}.attention.layer_norm_rms_epsilon`]: 1e-5,
        [`${architecture}.attention.layer_norm_epsilon`]: 1e-5,
        [`${architecture}.vocab_size`]: 512,
        [`${architecture}.expert_count`]: experts,
        [`${architecture}.expert_used_count`]: Math.min(experts, 2),
      },
      tensors.map(({ name: tensor, shape, keep }) => ({ name: tensor, shape, type: keep })),
    );
    const importance = options.importance
      ? Object.fromEntries(
          tensors
            .filter(({ name: tensor, shape }) => whyExempt(tensor, shape) === null)
            .map(({ name: tensor, shape }) => [tensor, new Float32Array(shape[0] * (shape[2] ?? 1)).fill(1)]),
        )
      : undefined;
    quantizeModel(input, output, { ...options, ftype: mixtures[name].fileType!, importance });
    return readGgufTensors(output);
  }

  function ours(
    network: Network,
    tensors: readonly MappedTensor[],
    name: MixtureName,
    options: TypeOptions = {},
  ): GgufTensor[] {
    return chooseTypes(tensors, mixtures[name], network, options).tensors.map(({ tensor, type }) => ({
      name: tensor.name,
      type,
    }));
  }

  it('order of tensors from ten layers on', () => {
    const network = { ...dense, layers: 12 };
    const tensors = small(tensorsOf(network));
    expect(ours(network, tensors, 'Q4_K_M')).toEqual(engine(network, tensors, 'Q4_K_M'));
  });

  for (const [architecture, layers] of [
    ['llama', 80],
    ['qwen2', 80],
    ['deci', 80],
    ['olmo', 80],
    ['jais2', 68],
    ['jais2', 80],
    ['qwen3', 80],
  ] as const) {
    it(`the rule for 70B models: ${architecture}, ${layers} layers`, () => {
      for (const kvHeads of [8, 1]) {
        const network = { ...dense, architecture, layers, kvHeads };
        const tensors = small(tensorsOf(network)).filter(({ name }) => /attn_v|embd|output/.test(name));
        for (const name of ['Q4_K_M', 'Q3_K_S'] as const) {
          expect(ours(network, tensors, name)).toEqual(engine(network, tensors, name));
        }
      }
    });
  }

  it.each([0, 8])('with an importance matrix, %i experts', (experts) => {
    const network = { ...dense, layers: 8, experts };
    const tensors = small(tensorsOf(network));
    // Those whose rules ask for it; the engine's tables for the types of two bits and below take seconds to build.
    for (const name of ['Q4_0', 'Q5_0', 'IQ4_NL', 'IQ4_XS', 'IQ3_XXS'] as const) {
      const options = { importance: true };
      expect(ours(network, tensors, name, options), name).toEqual(engine(network, tensors, name, options));
    }
  });

  it('refuses for want of an importance matrix what the engine refuses', () => {
    for (const tied of [true, false]) {
      const network = { ...dense, tied };
      const tensors = small(tensorsOf(network));
      const refused = (Object.keys(mixtures) as MixtureName[]).filter((name) => {
        if (['F32', 'F16', 'BF16'].includes(name)) return false;
        try {
          ours(network, tensors, name);
        } catch (error) {
          expect(error).toBeInstanceOf(ImportanceRequiredError);
          expect(() => engine(network, tensors, name), name).toThrow(/imatrix/);
          return true;
        }
        expect(ours(network, tensors, name), name).toEqual(engine(network, tensors, name));
        return false;
      });
      expect(refused).toEqual([
        ...['Q2_K_S', 'IQ1_S', 'IQ1_M', 'IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'IQ2_M', 'IQ3_XXS', 'IQ3_XS'],
      ]);
    }
  });

  it('refuses rows that Q1_0 does not divide, as the engine does', () => {
    const network = { ...dense, width: 192 };
    const tensors = small(tensorsOf(network));
    expect(() => ours(network, tensors, 'Q1_0')).toThrow(NoFallbackError);
    expect(() => engine(network, tensors, 'Q1_0')).toThrow(
      /no tensor type fallback is defined for type q1_0/,
    );
    const options = { tensorTypes: [{ pattern: 'blk|token_embd', type: 'Q8_0' }] } as const;
    expect(ours(network, tensors, 'Q1_0', options)).toEqual(engine(network, tensors, 'Q1_0', options));
  });

  it('refuses an expert tensor outside the layers, as the engine does', () => {
    const network = { ...dense, experts: 8 };
    for (const name of ['mtp.ffn_down_exps.weight', 'blk.4.ffn_up_exps.weight']) {
      const tensors = [{ ...tensorsOf(network)[0], name, shape: [256, 4, 8] }];
      expect(() => ours(network, tensors, 'Q4_K_M')).toThrow(TensorLayerError);
      expect(() => engine(network, tensors, 'Q4_K_M')).toThrow(/layer/i);
      expect(ours(network, tensors, 'Q4_K_M', { pure: true })).toEqual(
        engine(network, tensors, 'Q4_K_M', { pure: true }),
      );
    }
  });
});
