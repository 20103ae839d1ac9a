import { isInputScale } from '../../core/activations.ts';
import { listed, QuantizeError } from '../../core/errors.ts';
import { storedType } from '../../core/plan.ts';
import type { ForwardModel, ForwardTensor, ModelShape } from './shape.ts';

/** Tensors are missing, of another shape, or none that the forward pass knows. */
export class ForwardTensorError extends QuantizeError {}

/** Names of the tensors of layer `layer`. */
export const inLayer = (layer: number, name: string): string => `blk.${layer}.${name}`;

/**
 * Every tensor of a model by name, checked against what the graphs of llama.cpp v0.5.0 (`src/models`: llama, qwen2, qwen3)
 * load: all that are needed are there, all have their shapes, and there is none that the graph would not use.
 *
 * @throws ForwardTensorError
 */
export function checkTensors(model: ForwardModel, shape: ModelShape): ReadonlyMap<string, ForwardTensor> {
  const found = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  // Static scales of inputs: llama.cpp loads them, and its graphs do not use them.
  const left = new Set([...found.keys()].filter((name) => !isInputScale(name)));
  const advice = `the forward pass follows llama.cpp's graph of ${shape.architecture}: check the model's metadata`;
  const refuse = (summary: string, tensor: string, expected?: string, got?: string): never => {
    throw new ForwardTensorError(summary, { file: model.path, tensor, expected, got, advice });
  };
  for (const { name, extents, optional } of expectedTensors(shape, (name) => found.has(name))) {
    const tensor = found.get(name);
    left.delete(name);
    if (tensor === undefined) {
      if (!optional) refuse('a tensor of the model is missing', name, `[${extents.join(', ')}]`, 'none');
      continue;
    }
    // An axis of 1 behind the last longer one is not kept in GGUF files.
    const padded = extents.map((_, axis) => tensor.shape[axis] ?? 1);
    if (padded.join() !== extents.join() || tensor.shape.length > extents.length) {
      refuse(
        'a tensor does not have the shape that the metadata leads to',
        name,
        `[${extents.join(', ')}]`,
        `[${tensor.shape.join(', ')}]`,
      );
    }
  }
  if (left.size === 0) return found;
  const unknown = { file: model.path, tensor: listed([...left], NAMED) };
  if ([...left].some((name) => isZeroPoint(name, found))) {
    throw new ForwardTensorError('a file of 8-bit zero-point codes cannot be run, here or in llama.cpp', {
      ...unknown,
      expected: 'blocks of a GGUF type, or floats',
      got: 'I8 matrices with .scale and .zero_point tensors',
      advice: 'run the model it was made from, or quantize that to a type that runs: --type Q8_0',
    });
  }
  throw new ForwardTensorError('the model has tensors that its forward pass does not know', {
    ...unknown,
    advice,
  });
}

/** Names of the matrices that inputs are multiplied with, among tensors that `checkTensors` lets through. */
export function multipliedMatrices(tensors: readonly Pick<ForwardTensor, 'name'>[]): string[] {
  const names = tensors.map(({ name }) => name);
  const output = names.includes('output.weight') ? 'output.weight' : 'token_embd.weight';
  return names.filter((name) => name === output || /^blk\.\d+\.\w+(?<!_norm)\.weight$/.test(name));
}

/** Names in an error, at most. */
const NAMED = 3;

/** Whether a tensor holds the zero points of an I8 matrix, as `--method zero-point --bits 8` names them. */
function isZeroPoint(name: string, tensors: ReadonlyMap<string, ForwardTensor>): boolean {
  const [, stem] = /^(.*)\.zero_point$/.exec(name) ?? [];
  const matrix = stem === undefined ? undefined : tensors.get(`${stem}.weight`);
  return matrix !== undefined && storedType(matrix.source) === 'I8';
}

interface Expected {
  readonly name: string;
  readonly extents: readonly number[];
  readonly optional?: boolean;
}

function* expectedTensors(shape: ModelShape, has: (name: string) => boolean): Generator<Expected> {
  const { width, heads, kvHeads, headSize, feedForward, vocabulary, experts } = shape;
  const [query, keyValue] = [heads * headSize, kvHeads * headSize];
  yield { name: 'token_embd.weight', extents: [width, vocabulary] };
  yield { name: 'output_norm.weight', extents: [width] };
  yield { name: 'output.weight', extents: [width, vocabulary], optional: true };
  yield { name: 'output.bias', extents: [vocabulary], optional: true };
  if (shape.architecture === 'llama') {
    for (const name of ['rope_freqs', 'rope_factors_long', 'rope_factors_short']) {
      yield { name: `${name}.weight`, extents: [headSize / 2], optional: true };
    }
  }
  for (let layer = 0; layer < shape.layers; layer++) {
    const at = (name: string) => inLayer(layer, name);
    const matrix = function* (name: string, columns: number, rows: number): Generator<Expected> {
      yield { name: at(`${name}.weight`), extents: [columns, rows] };
      yield { name: at(`${name}.bias`), extents: [rows], optional: true };
    };
    yield { name: at('attn_norm.weight'), extents: [width] };
    if (has(at('attn_qkv.weight'))) yield* matrix('attn_qkv', width, query + 2 * keyValue);
    else {
      yield* matrix('attn_q', width, query);
      yield* matrix('attn_k', width, keyValue);
      yield* matrix('attn_v', width, keyValue);
    }
    yield* matrix('attn_output', query, width);
    if (shape.architecture === 'qwen3') {
      yield { name: at('attn_q_norm.weight'), extents: [headSize] };
      yield { name: at('attn_k_norm.weight'), extents: [headSize] };
    }
    yield { name: at('ffn_norm.weight'), extents: [width] };
    if (experts === 0) {
      yield* matrix('ffn_gate', width, feedForward);
      yield* matrix('ffn_up', width, feedForward);
      yield* matrix('ffn_down', feedForward, width);
    } else {
      yield { name: at('ffn_gate_inp.weight'), extents: [width, experts] };
      yield { name: at('ffn_gate_exps.weight'), extents: [width, feedForward, experts] };
      yield { name: at('ffn_up_exps.weight'), extents: [width, feedForward, experts] };
      yield { name: at('ffn_down_exps.weight'), extents: [feedForward, width, experts] };
    }
  }
}
