import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../core/types.ts';
import { describeGguf, type GgufDescription } from '../plan/gguf-model.ts';
import { type Mixture, mixtures, uniformTypes } from '../plan/mixtures.ts';
import { describeModel } from '../plan/model.ts';
import { modelNameOf } from '../plan/plan.ts';
import { chooseTypes, ImportanceRequiredError, type TypedTensor } from '../plan/policy.ts';
import { describeWeights } from '../plan/weights.ts';
import { canWrite } from '../quantize/supported.ts';
import { openCheckpoint } from '../read/checkpoint.ts';
import { readModelFiles } from '../read/model-files.ts';
import { formatBytes, formatCount } from '../report/format.ts';
import { renderTable } from '../report/table.ts';
import { layOutFile } from '../write/gguf.ts';
import { requireInput } from './files.ts';
import { type Io, jsonText, tableStyle } from './io.ts';

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

/** Alignment of a GGUF that says nothing else. */
const ALIGNMENT = 32;

/** The model a checkpoint is, or its tensors where it is none that is known. */
export function sizedModel(checkpoint: Checkpoint): SizedModel {
  const { metadata, tensors, hyperparameters } = described(checkpoint);
  const kept = tensors.map(({ name, shape, keep }) => ({ name, shape, type: keep }));
  return {
    headerBytes: layOutFile(metadata, kept).header.length,
    alignment: Number(metadata.find(({ key }) => key === 'general.alignment')?.value ?? ALIGNMENT),
    tensors,
    hyperparameters,
  };
}

function described(checkpoint: Checkpoint): GgufDescription {
  if (checkpoint.format === 'gguf') return describeGguf(checkpoint, 0);
  const model = describeModel(checkpoint, readModelFiles(checkpoint.directory), { fileType: 0 });
  return model ?? { hyperparameters: null, ...describeWeights(checkpoint, modelNameOf(checkpoint), 0) };
}

/**
 * Sizes in the plain number formats (matrices in the format, vectors in F32 as llama.cpp keeps them; INT8 is one byte
 * a weight, without scales), in every mixture as the type policy decides it, and in block types that are no mixture.
 */
export function estimateSizes(model: SizedModel): Estimate[] {
  const named =
    model.hyperparameters === null
      ? []
      : [...Object.values<Mixture>(mixtures), ...Object.values(uniformTypes)];
  const quantizing = named.filter(({ base }) => dataTypes[base].kind === 'quantized');
  const bases = new Set<TypeName>(quantizing.map(({ base }) => base));
  const others = Object.values(dataTypes).filter(
    ({ name, kind }) => kind === 'quantized' && !bases.has(name),
  );
  return [
    plainNumbers(model, 'FP32', 'F32'),
    plainNumbers(model, 'FP16', 'F16'),
    plainNumbers(model, 'BF16', 'BF16'),
    plainNumbers(model, 'INT8', 'I8'),
    ...quantizing.map((mixture) => estimateOf(model, 'mixture', mixture)),
    ...others.map(({ name }) => estimateOf(model, 'type', { name, fileType: null, base: name })),
  ];
}

function plainNumbers(model: SizedModel, name: string, type: TypeName): Estimate {
  const typeFor = ({ shape, keep }: MappedTensor): TypeName =>
    dataTypes[keep].kind === 'integer' ? keep : shape.length < 2 ? 'F32' : type;
  const chosen = model.tensors.map((tensor) => ({ shape: tensor.shape, type: typeFor(tensor) }));
  const size = sizeOf(model, chosen);
  return { name, kind: 'number', size, pure: null, writable: canWrite(type), fallbacks: 0, notes: [] };
}

function estimateOf(model: SizedModel, kind: Estimate['kind'], mixture: Mixture): Estimate {
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

const isUnwritable = ({ tensor, type }: TypedTensor): boolean => type !== tensor.keep && !canWrite(type);

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

/** `quantize estimate FILE`: sizes on standard output. */
export function estimateCommand(path: string, flags: { json?: boolean }, io: Io): void {
  requireInput(path);
  const checkpoint = openCheckpoint(path);
  const model = sizedModel(checkpoint);
  const estimates = estimateSizes(model);
  const weights = model.tensors.reduce((total, { shape }) => total + elementsOf(shape), 0);
  if (flags.json) {
    const inputBytes = checkpoint.files.reduce((total, { size }) => total + size, 0);
    io.stdout.write(
      jsonText({ schema: 'gguf-quantize/estimate', version: 1, weights, inputBytes, estimates }),
    );
    return;
  }
  const cells = (size: Size | null) =>
    size === null ? ['', ''] : [size.bitsPerWeight.toFixed(2), formatBytes(size.fileBytes)];
  const table = renderTable(
    [
      { head: 'type' },
      { head: 'bits', align: 'right' },
      { head: 'file', align: 'right' },
      { head: 'bytes', align: 'right', drop: 1 },
      { head: '--pure', align: 'right', drop: 3 },
      { head: 'file', align: 'right', drop: 2 },
      { head: 'note', cut: 'late' },
    ],
    estimates.map(({ name, size, pure, notes }) => [
      name,
      ...cells(size),
      size === null ? '' : String(size.fileBytes),
      ...cells(pure),
      notes.join('; '),
    ]),
    tableStyle(io.stdout, io.env),
  );
  io.stdout.write(`${table}\n\n${formatCount(weights)} weights in ${model.tensors.length} tensors\n`);
}
