import { QuantizeError, UsageError } from '../../core/errors.ts';
import type { MetadataEntry } from '../../core/metadata.ts';
import type { TensorSource } from '../../core/plan.ts';

/** A key of the metadata that the forward pass needs is absent or says what it does not know. */
export class ForwardMetadataError extends QuantizeError {}

/** What a model is to its forward pass; tensors of a plan or of a description fit. */
export interface ForwardModel {
  /** Path for messages. */
  readonly path: string;
  readonly files: readonly { readonly path: string }[];
  readonly metadata: readonly MetadataEntry[];
  readonly tensors: readonly ForwardTensor[];
}

export interface ForwardTensor {
  readonly name: string;
  /** GGUF order: row length first. */
  readonly shape: readonly number[];
  readonly source: TensorSource;
}

/** Rotary embedding as llama.cpp's graph and context set it up (`llama_context`, `ggml_rope_ext`). */
export interface Rope {
  /** Neighbours are rotated together ('pairs', GGML_ROPE_TYPE_NORM), or i and i + size / 2 ('halves', NEOX). */
  readonly layout: 'pairs' | 'halves';
  readonly base: number;
  /** What positions are multiplied by: 1 over the scaling factor. */
  readonly scale: number;
  /** YaRN: the context of training, from which the ramp between the two frequencies follows; null without. */
  readonly yarnContext: number | null;
  /** What sines and cosines are multiplied by. */
  readonly magnitude: number;
  /** LongRoPE: longer contexts than this take the long factors. */
  readonly originalContext: number;
}

/** Extents of a decoder that `forward` can run. */
export interface ModelShape {
  readonly architecture: string;
  readonly layers: number;
  /** Length of a hidden state. */
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  /** Length of the rows between up and down. */
  readonly feedForward: number;
  readonly vocabulary: number;
  /** Added to the mean square under the root. */
  readonly epsilon: number;
  /** 0 for a dense model. */
  readonly experts: number;
  readonly usedExperts: number;
  readonly rope: Rope;
}

/** How pairs of rotary dimensions lie, by architecture (`llama_model_rope_type`): the architectures with a forward pass. */
const layouts: Readonly<Record<string, Rope['layout']>> = {
  llama: 'pairs', // Mistral and Mixtral included
  qwen2: 'halves',
  qwen3: 'halves',
};

/** Architectures with a forward pass, by llama.cpp's names. */
export const forwardArchitectures: readonly string[] = Object.keys(layouts);

/**
 * The shape of a model from GGUF metadata, with the defaults of llama.cpp v0.5.0 (`llama_model_base::load_hparams`).
 *
 * @throws UsageError for an architecture without a forward pass; ForwardMetadataError
 */
export function modelShape({ path, metadata, tensors }: ForwardModel): ModelShape {
  const keys = new Keys(path, metadata);
  const architecture = keys.architecture;
  const layout = layouts[architecture];
  if (layout === undefined) {
    throw new UsageError(`no forward pass is known for the architecture ${architecture || '(none named)'}`, {
      file: path,
      expected: forwardArchitectures.join(', '),
      got: `general.architecture ${architecture || 'absent'}`,
      advice: 'calibration, --method gptq and evaluation need one; other methods do without',
    });
  }
  if (keys.find('attention.causal')?.value === false) {
    throw keys.unknown('attention.causal', 'true: a model that predicts the next token');
  }
  const width = keys.count('embedding_length');
  const heads = keys.count('attention.head_count');
  const headSize = keys.count('attention.key_length', Math.floor(width / heads));
  const same = (name: string, expected: number) => {
    if (keys.count(name, expected) !== expected) throw keys.unknown(name, String(expected));
  };
  const kvHeads = keys.count('attention.head_count_kv', heads);
  if (kvHeads < 1 || heads % kvHeads > 0) {
    throw keys.unknown('attention.head_count_kv', `a divisor of the ${heads} heads`);
  }
  same('attention.value_length', headSize);
  same('rope.dimension_count', headSize);
  const experts = keys.count('expert_count', 0);
  const usedExperts = keys.count('expert_used_count', 0);
  if (experts > 0 && (usedExperts < 1 || usedExperts > experts)) {
    throw keys.unknown('expert_used_count', `1 to ${experts}`);
  }
  const embedding = tensors.find(({ name }) => name === 'token_embd.weight');
  return {
    architecture,
    layers: keys.count('block_count'),
    width,
    heads,
    kvHeads,
    headSize,
    feedForward: keys.count('feed_forward_length'),
    vocabulary: embedding?.shape[1] ?? keys.count('vocab_size'),
    epsilon: keys.number('attention.layer_norm_rms_epsilon'),
    experts,
    usedExperts,
    rope: ropeOf(keys, layout),
  };
}

/** Keys under the architecture's prefix. */
class Keys {
  readonly architecture: string;
  readonly #path: string;
  readonly #entries: ReadonlyMap<string, MetadataEntry>;

  constructor(path: string, metadata: readonly MetadataEntry[]) {
    this.#path = path;
    this.#entries = new Map(metadata.map((entry) => [entry.key, entry]));
    this.architecture = String(this.#entries.get('general.architecture')?.value ?? '');
  }

  find(name: string): MetadataEntry | undefined {
    return this.#entries.get(`${this.architecture}.${name}`);
  }

  /** A number; of a list with one for each layer, what all of them have. */
  number(name: string, otherwise?: number): number {
    const entry = this.find(name);
    if (entry === undefined && otherwise !== undefined) return otherwise;
    const values = new Set<unknown>(entry?.type === 'ARRAY' ? entry.value : [entry?.value]);
    const [value] = values;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (values.size !== 1 || typeof number !== 'number') {
      throw this.unknown(name, 'a number, the same for every layer');
    }
    return number;
  }

  count(name: string, otherwise?: number): number {
    const value = this.number(name, otherwise);
    if (!Number.isSafeInteger(value) || value < 0) throw this.unknown(name, 'a whole number');
    return value;
  }

  unknown(name: string, expected: string): ForwardMetadataError {
    const entry = this.find(name);
    return new ForwardMetadataError('the forward pass cannot follow a key of the metadata', {
      file: this.#path,
      expected: `${this.architecture}.${name}: ${expected}`,
      got: entry === undefined ? 'no such key' : String(entry.value).slice(0, 60),
      advice: 'check the model; llama.cpp reads the same key',
    });
  }
}

const f = Math.fround;

function ropeOf(keys: Keys, layout: Rope['layout']): Rope {
  const entry = keys.find('rope.scaling.type');
  const type = entry === undefined ? 'linear' : String(entry.value);
  if (!['none', 'linear', 'yarn', 'longrope'].includes(type)) {
    throw keys.unknown('rope.scaling.type', 'none, linear, yarn or longrope');
  }
  const factor = keys.number('rope.scaling.factor', keys.number('rope.scale_linear', 0));
  const scale = type === 'none' || factor === 0 ? 1 : f(1 / f(factor));
  const context = keys.count('context_length');
  const originalContext = keys.count('rope.scaling.original_context_length', context);
  const attention = keys.number('rope.scaling.attn_factor', 1);
  // ggml's rope multiplies by the growth under YaRN; for factors up to 1 the context cancels that beforehand.
  const yarn = type === 'yarn';
  const growth = f(1 + f(f(0.1) * f(Math.log(1 / scale))));
  return {
    layout,
    base: f(keys.number('rope.freq_base', 10_000)),
    scale,
    yarnContext: yarn ? originalContext : null,
    magnitude: f(attention * (yarn && 1 / scale > 1 ? growth : 1)),
    originalContext,
  };
}
