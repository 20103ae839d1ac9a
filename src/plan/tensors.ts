import type { Checkpoint, StoredTensor } from '../core/checkpoint.ts';
import { listed, QuantizeError } from '../core/errors.ts';
import type { MappedTensor } from '../core/model.ts';
import type { RowOrder } from '../core/plan.ts';
import type { Architecture, Extent, TensorRule } from './arch/architecture.ts';
import type { ModelConfig } from './config.ts';

/** The checkpoint has tensors that the architecture's table does not list. */
export class UnmappedTensorsError extends QuantizeError {}

/** Tensors that the architecture needs are not in the checkpoint. */
export class MissingTensorsError extends QuantizeError {}

/** A tensor's extents are not those that config.json leads to. */
export class TensorShapeError extends QuantizeError {}

export type FloatType = 'F32' | 'F16' | 'BF16';

/** Buffers that some checkpoints store although they are computed from the configuration. */
const SKIPPED = ['.attention.masked_bias', '.attention.bias', '.rotary_emb.inv_freq'];
const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
const NAMED_AT_MOST = 8;

/**
 * The converter's guess for `--outtype auto`: the 16-bit type of the first matrix that has one, F16 when none
 * has.
 */
export function guessFloatType(checkpoint: Checkpoint): 'F16' | 'BF16' {
  for (const { shape, type } of checkpoint.tensors.values()) {
    if (shape.length >= 2 && (type === 'F16' || type === 'BF16')) return type;
  }
  return 'F16';
}

/** Extents by name, for the tables. */
export function sizesOf(config: ModelConfig): Record<Extent, number> {
  const hidden = config.count(['hidden_size']);
  const heads = config.count(['num_attention_heads']);
  const headSize = config.integer(['head_dim']) ?? Math.floor(hidden / heads);
  const keyValueHeads = config.integer(['num_key_value_heads']) ?? heads;
  return {
    vocab: config.count(['vocab_size']),
    hidden,
    ffn: config.count(['intermediate_size']),
    query: heads * headSize,
    keyValue: keyValueHeads * headSize,
    headSize,
    experts: config.integer(['num_local_experts']) ?? 0,
  };
}

/**
 * A type for tensors that stay unquantized, as the converter chooses it: float32 for vectors, norms, routers and
 * whatever is no weight, `wanted` for the rest. (`ModelBase.prepare_tensors`.)
 */
function keptType(name: string, dimensions: number, wanted: FloatType): FloatType {
  const always32 =
    dimensions <= 1 ||
    name.endsWith('_norm.weight') ||
    name.endsWith('.ffn_gate_inp.weight') ||
    !name.endsWith('.weight');
  return always32 ? 'F32' : wanted;
}

/** A stored name as the tables write it: its first number is the layer, the second the expert. */
function templateOf(name: string): { template: string; numbers: number[] } {
  const numbers: number[] = [];
  const template = name.replace(/(?<=\.)(0|[1-9]\d{0,8})(?=\.)/g, (digits) => {
    numbers.push(Number(digits));
    return numbers.length === 1 ? '{bid}' : '{xid}';
  });
  return { template, numbers };
}

const fill = (name: string, layer: number, expert = 0): string =>
  name.replace('{bid}', String(layer)).replace('{xid}', String(expert));

/** Matrices of one layer's experts as they come in, by rule and expert. */
type Experts = Map<TensorRule, (StoredTensor | undefined)[]>;

/**
 * Every stored tensor mapped by the architecture's table, in the converter's order. Each is used exactly once;
 * buffers are left out with a warning, and anything unknown, missing or of another shape is an error.
 */
export function mapTensors(
  checkpoint: Checkpoint,
  architecture: Architecture,
  config: ModelConfig,
  options: { keepFloat: FloatType; warn: (sentence: string) => void },
): MappedTensor[] {
  const layers = config.count(['n_layers', 'num_hidden_layers', 'n_layer', 'num_layers']);
  const sizes = sizesOf(config);
  const rules = new Map(architecture.tensors.map((rule) => [rule.from, rule]));
  const stackedPerLayer = architecture.tensors.filter((rule) => rule.from.includes('{xid}')).length;

  const mapped: MappedTensor[] = [];
  const unknown: StoredTensor[] = [];
  const seen = new Set<string>();
  const experts = new Map<number, { parts: Experts; left: number }>();
  let skipped = 0;

  // A tied checkpoint may store its one matrix under the name of the output.
  const headIsEmbedding =
    config.flag('tie_word_embeddings') &&
    rules.has(EMBEDDING) &&
    checkpoint.tensors.has(HEAD) &&
    !checkpoint.tensors.has(EMBEDDING);

  const emit = (rule: TensorRule, layer: number, parts: readonly StoredTensor[]) => {
    const name = fill(rule.to, layer);
    for (const part of parts) checkShape(checkpoint, part, rule, sizes, parts[0]);
    const shape = parts[0].shape.toReversed();
    if (rule.from.includes('{xid}')) shape.push(parts.length);
    const source = { kind: 'stored', parts, rows: rowOrder(rule, config, parts[0], checkpoint) } as const;
    mapped.push({ name, shape, source, keep: keptType(name, shape.length, options.keepFloat) });
  };

  for (const { name, values } of architecture.extraTensors?.(config) ?? []) {
    mapped.push({ name, shape: [values.length], source: { kind: 'values', values }, keep: 'F32' });
  }
  for (const tensor of checkpoint.tensors.values()) {
    if (SKIPPED.some((suffix) => tensor.name.endsWith(suffix))) {
      skipped++;
      continue;
    }
    const storedAs = headIsEmbedding && tensor.name === HEAD ? EMBEDDING : tensor.name;
    const { template, numbers } = templateOf(storedAs);
    const rule = rules.get(template);
    const [layer = 0, expert = 0] = numbers;
    if (rule === undefined || layer >= layers || (numbers.length > 1 && expert >= sizes.experts)) {
      unknown.push(tensor);
      continue;
    }
    seen.add(storedAs);
    if (numbers.length < 2) {
      emit(rule, layer, [tensor]);
      continue;
    }
    let group = experts.get(layer);
    if (group === undefined) {
      group = { parts: new Map(), left: stackedPerLayer * sizes.experts };
      experts.set(layer, group);
    }
    const parts = group.parts.get(rule) ?? new Array<StoredTensor | undefined>(sizes.experts);
    parts[expert] = tensor;
    group.parts.set(rule, parts);
    if (--group.left > 0) continue;
    // The converter writes a layer's stacks when it has met the last of its matrices.
    for (const [stackedRule, stack] of inTableOrder(architecture, group.parts))
      emit(stackedRule, layer, stack);
  }

  refuseUnknown(checkpoint, architecture, layers, unknown);
  refuseMissing(checkpoint, architecture, config, layers, sizes.experts, seen);
  if (skipped > 0) {
    options.warn(
      `${skipped} stored buffers (such as rotary_emb.inv_freq) were left out: llama.cpp computes them`,
    );
  }
  if (!seen.has(HEAD) && !config.flag('tie_word_embeddings') && rules.has(HEAD)) {
    options.warn(
      'the checkpoint has no lm_head.weight although config.json does not tie it to the embedding: ' +
        'llama.cpp will use the embedding as output matrix',
    );
  }
  return mapped;
}

const inTableOrder = (architecture: Architecture, parts: Experts): [TensorRule, StoredTensor[]][] =>
  architecture.tensors.flatMap((rule) => {
    const stack = parts.get(rule);
    return stack === undefined ? [] : [[rule, stack as StoredTensor[]] as [TensorRule, StoredTensor[]]];
  });

function rowOrder(
  rule: TensorRule,
  config: ModelConfig,
  tensor: StoredTensor,
  checkpoint: Checkpoint,
): RowOrder {
  if (rule.rotary === undefined) return { kind: 'file' };
  const queryHeads = config.count(['num_attention_heads']);
  const heads =
    rule.rotary === 'query' ? queryHeads : (config.integer(['num_key_value_heads']) ?? queryHeads);
  if (tensor.shape[0] % (2 * heads) !== 0) {
    throw new TensorShapeError('the rows of a rotary projection do not split into heads of two halves', {
      file: checkpoint.files[tensor.file].path,
      tensor: tensor.name,
      expected: `a multiple of ${2 * heads} rows (${heads} heads)`,
      got: `${tensor.shape[0]} rows`,
      advice: 'check num_attention_heads, num_key_value_heads and head_dim in config.json',
    });
  }
  return { kind: 'rotary', heads };
}

function checkShape(
  checkpoint: Checkpoint,
  tensor: StoredTensor,
  rule: TensorRule,
  sizes: Record<Extent, number>,
  first: StoredTensor,
): void {
  const expected = rule.shape.map((extent) => sizes[extent]);
  const file = checkpoint.files[tensor.file].path;
  if (expected.join() !== tensor.shape.join()) {
    throw new TensorShapeError('a tensor does not have the shape that config.json leads to', {
      file,
      tensor: tensor.name,
      expected: `[${expected.join(', ')}] (${rule.shape.join(', ')})`,
      got: `[${tensor.shape.join(', ')}]`,
      advice: 'config.json belongs to another checkpoint, or the tensor is packed or damaged',
    });
  }
  if (tensor.type !== first.type) {
    throw new TensorShapeError('the experts of a layer are not of one type', {
      file,
      tensor: tensor.name,
      expected: `${first.type}, as ${first.name}`,
      got: tensor.type,
      advice: 'save the checkpoint again with one dtype',
    });
  }
}

function refuseUnknown(
  checkpoint: Checkpoint,
  architecture: Architecture,
  layers: number,
  unknown: readonly StoredTensor[],
): void {
  if (unknown.length === 0) return;
  const names = unknown.map((tensor) => tensor.name);
  throw new UnmappedTensorsError(
    `${names.length} tensor${names.length > 1 ? 's are' : ' is'} not part of ${architecture.classes[0]} with ${layers} layers`,
    {
      file: checkpoint.files[unknown[0].file].path,
      tensor: listed(names, NAMED_AT_MOST),
      expected: `names such as ${architecture.tensors[architecture.tensors.length - 1].from}`,
      advice: adviceFor(names[0]),
    },
  );
}

function adviceFor(name: string): string {
  if (
    /\.(qweight|qzeros|g_idx|scales|absmax|SCB|weight_packed|weight_scale\w*|quant_map|quant_state.*)$/.test(
      name,
    )
  ) {
    return 'these belong to an already quantized checkpoint: use the original it was made from';
  }
  if (/lora_|adapter/.test(name)) return 'merge the adapter into its base model first';
  if (/visual|vision|audio|projector|image/.test(name)) return 'only text models can be converted so far';
  return 'check that config.json belongs to this checkpoint (architectures, num_hidden_layers); dropping tensors would change the model';
}

function refuseMissing(
  checkpoint: Checkpoint,
  architecture: Architecture,
  config: ModelConfig,
  layers: number,
  experts: number,
  seen: ReadonlySet<string>,
): void {
  const missing: string[] = [];
  for (const rule of architecture.tensors) {
    if (rule.needed === 'optional' || (rule.needed !== 'always' && !config.flag(rule.needed))) continue;
    const layerCount = rule.from.includes('{bid}') ? layers : 1;
    const expertCount = rule.from.includes('{xid}') ? experts : 1;
    for (let layer = 0; layer < layerCount; layer++) {
      for (let expert = 0; expert < expertCount; expert++) {
        const name = fill(rule.from, layer, expert);
        if (!seen.has(name)) missing.push(name);
      }
    }
  }
  if (missing.length === 0) return;
  throw new MissingTensorsError(
    `the checkpoint lacks ${missing.length} tensor${missing.length > 1 ? 's' : ''} of ${architecture.classes[0]}`,
    {
      file: checkpoint.path,
      tensor: listed(missing, NAMED_AT_MOST),
      got: `${checkpoint.tensors.size} tensors`,
      advice:
        'download the checkpoint again, or check num_hidden_layers and tie_word_embeddings in config.json',
    },
  );
}
