import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../core/types.ts';
import { describeGguf, type GgufDescription } from './gguf-model.ts';
import { type Mixture, mixtures, uniformTypes } from './mixtures.ts';
import { describeModel } from './model.ts';
import { chooseTypes, ImportanceRequiredError, type TypedTensor } from './policy.ts';
import { modelNameOf } from './source.ts';
import { describeWeights } from './weights.ts';

/** What the size of a GGUF depends on. */
export interface SizedModel {
  /** Bytes before the first tensor's data, alignment included: no choice of types changes them. */
  readonly headerBytes: number;
  /** Tensor data begins at multiples of this. */
  readonly alignment: number;
  readonly tensors: readonly MappedTensor[];
  /** Null for weights of no known architecture, which have no mixtures. */
  readonly hyperparameters: Hyperparameters | null;
}

/** Size of a whole GGUF file. */
export interface Size {
  readonly fileBytes: number;
  /** Of the tensor data. */
  readonly bitsPerWeight: number;
}

/** One row: what `--type NAME` would take. */
export interface Estimate {
  readonly name: string;
  /** A plain number format, a name that --type takes, or a block type that no mixture is named after. */
  readonly kind: 'number' | 'mixture' | 'type';
  /** null for a block type that --type does not take, and where a tensor cannot be held. */
  readonly size: Size | null;
  /** With --pure; null for plain numbers, or where the type cannot hold a tensor. */
  readonly pure: Size | null;
  /** Whether this version can write it. */
  readonly writable: boolean;
  /** Tensors whose rows do not divide into blocks of the type they should have. */
  readonly fallbacks: number;
  readonly notes: readonly string[];
}

/** The model a checkpoint is, or its tensors where it is none that is known. `files` stand beside safetensors. */
export function describeUnquantized(checkpoint: Checkpoint, files: ModelFiles | null): GgufDescription {
  if (checkpoint.format === 'gguf') return describeGguf(checkpoint, 0);
  const model = files && describeModel(checkpoint, files, { fileType: 0 });
  return model ?? { hyperparameters: null, ...describeWeights(checkpoint, modelNameOf(checkpoint), 0) };
}

/**
 * Sizes in the plain number formats (matrices in the format, vectors in F32 as llama.cpp keeps them; INT8 is one byte
 * a weight, without scales), in every mixture as the type policy decides it, and in block types that are no mixture. `canWrite` says which types a run
 * could code.
 */
export function estimateSizes(model: SizedModel, canWrite: (type: TypeName) => boolean): Estimate[] {
  const named =
    model.hyperparameters === null
      ? []
      : [...Object.values<Mixture>(mixtures), ...Object.values(uniformTypes)];
  const quantizing = named.filter(({ base }) => dataTypes[base].kind === 'quantized');
  const bases = new Set<TypeName>(quantizing.map(({ base }) => base));
  const others = Object.values(dataTypes).filter(
    ({ name, kind }) => kind === 'quantized' && !bases.has(name),
  );
  const plain = [
    ['FP32', 'F32'],
    ['FP16', 'F16'],
    ['BF16', 'BF16'],
    ['INT8', 'I8'],
  ] as const;
  return [
    ...plain.map(([name, type]) => plainNumbers(model, name, type, canWrite(type))),
    ...quantizing.map((mixture) => estimateOf(model, 'mixture', mixture, canWrite)),
    ...others.map(({ name }) => estimateOf(model, 'type', { name, fileType: null, base: name }, canWrite)),
  ];
}

function plainNumbers(model: SizedModel, name: string, type: TypeName, writable: boolean): Estimate {
  const typeFor = ({ shape, keep }: MappedTensor): TypeName =>
    dataTypes[keep].kind === 'integer' ? keep : shape.length < 2 ? 'F32' : type;
  const chosen = model.tensors.map((tensor) => ({ shape: tensor.shape, type: typeFor(tensor) }));
  const size = sizeOf(model, chosen);
  return { name, kind: 'number', size, pure: null, writable, fallbacks: 0, notes: [] };
}

function estimateOf(
  model: SizedModel,
  kind: Estimate['kind'],
  mixture: Mixture,
  canWrite: (type: TypeName) => boolean,
): Estimate {
  const isUnwritable = ({ tensor, type }: TypedTensor) => type !== tensor.keep && !canWrite(type);
  const notes = new Set<string>();
  // Where no architecture is known every name means its type for every matrix.
  const size =
    kind === 'type' && model.hyperparameters !== null ? null : choose(model, mixture, false, notes);
  const pure = choose(model, mixture, true, notes);
  const writable = size !== null && notes.size === 0 && !size.some(isUnwritable);
  const chosen = size ?? pure ?? [];
  const fallbacks = chosen.filter(({ fallbackFrom }) => fallbackFrom !== undefined).length;
  if (fallbacks > 0) notes.add(`${fallbacks} fallbacks`);
  const missing = new Set([...(size ?? []), ...(pure ?? [])].filter(isUnwritable).map(({ type }) => type));
  if (missing.size > 0) notes.add(`cannot write ${[...missing].join(', ')} yet`);
  return {
    name: mixture.name,
    kind,
    size: size && sizeOf(model, toSized(size)),
    pure: pure && sizeOf(model, toSized(pure)),
    writable,
    fallbacks,
    notes: [...notes],
  };
}

/** The policy's choice, or null where it has none; notes say what stands in the way. */
function choose(
  { tensors, hyperparameters }: SizedModel,
  mixture: Mixture,
  pure: boolean,
  notes: Set<string>,
): readonly TypedTensor[] | null {
  const chooseWith = (importance: boolean) =>
    chooseTypes(tensors, mixture, hyperparameters, { pure, importance }).tensors;
  try {
    return chooseWith(false);
  } catch (error) {
    if (error instanceof ImportanceRequiredError) {
      notes.add('needs imatrix');
      return chooseWith(true);
    }
    if (!(error instanceof QuantizeError)) throw error;
    notes.add(`impossible for ${error.details.tensor}`);
    return null;
  }
}

const toSized = (chosen: readonly TypedTensor[]) =>
  chosen.map(({ tensor, type }) => ({ shape: tensor.shape, type }));

function sizeOf(
  { headerBytes, alignment }: SizedModel,
  tensors: readonly { shape: readonly number[]; type: TypeName }[],
): Size {
  let [fileBytes, bytes, weights] = [headerBytes, 0, 0];
  for (const { shape, type } of tensors) {
    const size = bytesOf(type, elementsOf(shape));
    fileBytes += Math.ceil(size / alignment) * alignment;
    bytes += size;
    weights += elementsOf(shape);
  }
  return { fileBytes, bitsPerWeight: weights === 0 ? 0 : (bytes * 8) / weights };
}
