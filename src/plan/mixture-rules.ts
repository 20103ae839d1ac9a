import { QuantizeError } from '../core/errors.ts';
import type { Hyperparameters } from '../core/model.ts';
import { dataTypes, type TypeName } from '../core/types.ts';
import type { Mixture, MixtureName } from './mixtures.ts';
import { blockOf, holdsValues, type TensorRole } from './tensor-roles.ts';

/**
 * Which tensors of a mixture get another type than its base: the rules of llama-quantize (`llama_tensor_get_type_impl`).
 * Roughly, attention values and ffn_down get more bits, in the first and last eighth of the layers most of all, and
 * the matrix that gives the logits gets Q6_K.
 */

/** A mixture goes by layer, and a tensor of a mixture-of-experts model does not say which layer it is in. */
export class TensorLayerError extends QuantizeError {}

export interface ModelFacts extends Hyperparameters {
  /** No output.weight: the token embeddings also give the logits. */
  readonly tied: boolean;
  /** Tensors that hold attention values. */
  readonly valueTensors: number;
  /** Whether an importance matrix, or a method that stands in for one, is there. */
  readonly importance: boolean;
}

/** The type a mixture wants, and the type it settles for when rows do not divide into the blocks of its base type. */
export interface MixtureChoice {
  readonly wanted: TypeName;
  readonly type: TypeName;
}

type ByMixture = Readonly<Partial<Record<MixtureName, TypeName>>>;

const floorDiv = (a: number, b: number): number => Math.floor(a / b);

/** The first and the last eighth of the layers, and each third one between. */
const deservesMore = (layer: number, layers: number): boolean =>
  layer < floorDiv(layers, 8) || layer >= floorDiv(7 * layers, 8) || (layer - floorDiv(layers, 8)) % 3 === 2;

/** Mixtures below three bits, with rules of their own. */
const lowBit: ReadonlySet<string> = new Set(['IQ1_S', 'IQ1_M', 'IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'IQ2_M']);

/** Types of an untied token embedding. */
const embeddings: ByMixture = {
  IQ1_S: 'Q2_K',
  IQ1_M: 'Q2_K',
  IQ2_XXS: 'Q2_K',
  IQ2_XS: 'Q2_K',
  IQ2_S: 'IQ3_S',
  IQ2_M: 'IQ3_S',
  IQ3_XXS: 'IQ3_S',
  TQ1_0: 'Q4_K',
  TQ2_0: 'Q4_K',
  Q2_0: 'Q4_K',
};

/** attn_output of dense models. */
const denseAttentionOutputs: ByMixture = {
  Q2_K: 'Q3_K',
  IQ3_XXS: 'IQ3_S',
  Q3_K_M: 'Q4_K',
  Q3_K_L: 'Q5_K',
  IQ3_M: 'Q4_K',
};

/** Mixtures that give attn_output Q5_K when there are eight experts, attention being a small part of such a model. */
const expertAttentionOutputs: ReadonlySet<string> = new Set([
  'Q2_K',
  'IQ3_XS',
  'IQ3_XXS',
  'Q3_K_S',
  'Q3_K_M',
  'IQ4_NL',
  'Q4_K_S',
  'Q4_K_M',
  'IQ3_S',
  'IQ3_M',
  'IQ4_XS',
]);

/** attn_q and attn_k. */
const queriesAndKeys: ByMixture = { IQ3_XS: 'IQ3_XXS', IQ3_XXS: 'IQ2_S' };

/**
 * Whether llama.cpp calls the model "70B", whose attention values get at least Q5_K. It goes by the number of layers,
 * in each architecture's own way.
 */
function isCalled70B({ architecture, layers, heads, kvHeads, experts }: Hyperparameters): boolean {
  switch (architecture) {
    case 'llama':
    case 'llama-embed':
      return layers === 80 && heads !== kvHeads && experts !== 8;
    case 'qwen2':
    case 'deci':
    case 'olmo':
      return layers === 80;
    case 'jais2':
      return layers === 68;
    default:
      return false;
  }
}

/**
 * The rules of one mixture on one model. The function returned counts the tensors it is asked about: ask in
 * llama-quantize's order, once for each tensor that no option decides. `shape` is in GGUF order.
 */
export function mixtureRules(
  mixture: Mixture,
  model: ModelFacts,
): (name: string, shape: readonly number[], role: TensorRole) => MixtureChoice {
  const name = mixture.name as MixtureName;
  const { base } = mixture;
  const { layers, experts, importance } = model;
  const sharing = model.kvHeads === 0 ? 0 : floorDiv(model.heads, model.kvHeads); // queries to one key
  const falcon = model.architecture === 'falcon';
  const called70B = isCalled70B(model);
  const seen = { values: 0, ffn_down: 0, ffn_gate: 0, ffn_up: 0 };

  /** Layer of a feed-forward tensor: with experts by its name, otherwise by how many came before. */
  function layerOf(tensor: string, before: number): number {
    if (experts <= 1) return before;
    const block = blockOf(tensor);
    if (block === null || block < 0 || block >= layers) {
      throw new TensorLayerError(`${name} depends on the layer, and a tensor's name does not give it`, {
        tensor,
        expected: `blk.N. with N from 0 to ${layers - 1}`,
        advice: '--pure gives every tensor the same type',
      });
    }
    return block;
  }

  function logits(): TypeName {
    if (name === 'MXFP4_MOE' || falcon) return 'Q8_0';
    if (lowBit.has(name) || name === 'IQ3_XXS') return 'Q5_K';
    return base === 'Q8_0' ? 'Q8_0' : 'Q6_K';
  }

  /** Mixture MXFP4_MOE: stacked expert matrices get MXFP4, everything else Q8_0. */
  function expertsOnly(shape: readonly number[], role: TensorRole): TypeName {
    const feedForward = role === 'ffn_up' || role === 'ffn_gate' || role === 'ffn_down';
    const stacked = (shape[2] ?? 1) > 1;
    return stacked && (model.architecture !== 'bailingmoe3' || feedForward) ? 'MXFP4' : 'Q8_0';
  }

  function belowThreeBits(role: TensorRole): TypeName {
    const roomier = name === 'IQ2_S' || name === 'IQ2_M';
    if (holdsValues(role)) {
      if (sharing >= 4 || experts >= 4) return 'Q4_K';
      return roomier ? 'IQ3_S' : 'Q2_K';
    }
    if (role === 'attn_k' && experts === 8) return 'Q4_K';
    if (role === 'ffn_down' && seen.ffn_down++ < floorDiv(layers, 8)) return roomier ? 'IQ3_S' : 'Q2_K';
    if (role === 'attn_output') {
      if (experts === 8) return 'Q5_K';
      if (roomier) return 'IQ3_S';
      if (name === 'IQ1_S' || name === 'IQ1_M') return 'IQ2_XXS';
    }
    return base;
  }

  function values(): TypeName {
    const index = seen.values++;
    if (experts === 8) return 'Q8_0';
    const type = denseValues(index);
    return called70B && (type === 'Q3_K' || type === 'Q4_K') ? 'Q5_K' : type;
  }

  function denseValues(index: number): TypeName {
    switch (name) {
      case 'Q2_K':
        return sharing >= 4 ? 'Q4_K' : 'Q3_K';
      case 'Q2_K_S':
      case 'IQ3_XS':
      case 'IQ3_S':
        return sharing >= 4 ? 'Q4_K' : base;
      case 'IQ3_XXS':
        if (sharing >= 4) return 'Q4_K';
        return importance ? 'IQ3_XXS' : 'IQ3_S';
      case 'IQ3_M':
        return 'Q4_K';
      case 'Q3_K_M':
        return index < 2 ? 'Q5_K' : 'Q4_K';
      case 'Q3_K_L':
        return 'Q5_K';
      case 'IQ4_NL':
      case 'IQ4_XS':
        return sharing >= 4 ? 'Q5_K' : base;
      case 'Q4_K_M':
      case 'Q5_K_M':
        return deservesMore(index, model.valueTensors) ? 'Q6_K' : base;
      case 'Q4_K_S':
        return index < 4 ? 'Q5_K' : base;
      default:
        return base;
    }
  }

  function feedForwardDown(layer: number): TypeName {
    const early = layer < floorDiv(layers, 8);
    const veryEarly = layer < floorDiv(layers, 16);
    const more = deservesMore(layer, layers);
    switch (name) {
      case 'Q2_K':
        return 'Q3_K';
      case 'Q2_K_S':
        return early ? 'Q4_K' : base;
      case 'IQ3_XXS':
        if (importance) return base;
        return early ? 'Q4_K' : 'Q3_K';
      case 'Q3_K_M':
        if (veryEarly) return 'Q5_K';
        return !falcon || more ? 'Q4_K' : 'Q3_K';
      case 'IQ3_M':
        return early || (experts === 8 && more) ? 'Q4_K' : base;
      case 'Q3_K_L':
        return falcon ? 'Q4_K' : 'Q5_K';
      case 'Q4_K_M':
        if (!falcon) return more ? 'Q6_K' : base;
        if (veryEarly) return 'Q6_K';
        return more ? 'Q5_K' : 'Q4_K';
      case 'IQ4_NL':
      case 'IQ4_XS':
        return early && !importance ? 'Q5_K' : base;
      case 'Q5_K_M':
        return more ? 'Q6_K' : base;
      case 'Q4_K_S':
        return early && !falcon ? 'Q5_K' : base;
      case 'Q4_0':
        return early && importance ? 'Q4_1' : base;
      case 'Q5_0':
        return early && importance ? 'Q5_1' : base;
      default:
        return base;
    }
  }

  function attentionOutput(): TypeName {
    if (falcon) return name === 'Q3_K_L' ? 'Q4_K' : base;
    if (experts === 8) return expertAttentionOutputs.has(name) ? 'Q5_K' : base;
    return denseAttentionOutputs[name] ?? base;
  }

  function feedForwardIn(layer: number): TypeName {
    const middle = layer >= floorDiv(layers, 8) && layer < floorDiv(7 * layers, 8);
    return name === 'IQ3_XS' && middle ? 'IQ3_XXS' : base;
  }

  function choose(tensor: string, shape: readonly number[], role: TensorRole): TypeName {
    if (name === 'MXFP4_MOE') return expertsOnly(shape, role);
    if (role === 'token_embd') return embeddings[name] ?? base;
    if (lowBit.has(name)) return belowThreeBits(role);
    switch (role) {
      case 'attn_v':
      case 'attn_qkv':
      case 'attn_kv_b':
        return values();
      case 'attn_k':
        return experts === 8 ? 'Q8_0' : (queriesAndKeys[name] ?? base);
      case 'attn_q':
        return queriesAndKeys[name] ?? base;
      case 'attn_output':
        return attentionOutput();
      case 'ffn_down':
        return feedForwardDown(layerOf(tensor, seen.ffn_down++));
      case 'ffn_gate':
      case 'ffn_up':
        return feedForwardIn(layerOf(tensor, seen[role]++));
      default:
        return base;
    }
  }

  return (tensor, shape, role) => {
    if (role === 'output' || (role === 'token_embd' && model.tied)) {
      const wanted = logits();
      return { wanted, type: shape[0] % dataTypes[base].blockSize === 0 ? wanted : 'Q8_0' };
    }
    const type = choose(tensor, shape, role);
    return { wanted: type, type };
  };
}
