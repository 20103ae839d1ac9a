import type { Checkpoint } from '../core/checkpoint.ts';
import { bytesOf, dataTypes, elementsOf, type TypeName } from '../core/types.ts';
import { formatBytes, formatCount } from '../report/format.ts';
import { requireInput } from './files.ts';
import { hasColor, type Io, jsonText } from './io.ts';
import type { Pipeline } from './quantize.ts';

/** What the size of a GGUF depends on. */
export interface SizedModel {
  /** Bytes before the first tensor's data, alignment included. */
  readonly headerBytes: number;
  /** Tensor data begins at multiples of this. */
  readonly alignment: number;
  readonly tensors: readonly SizedTensor[];
}

export interface SizedTensor {
  readonly name: string;
  /** GGUF order, row length first. */
  readonly shape: readonly number[];
}

export interface Estimate {
  /** Type or mixture. */
  readonly name: string;
  readonly kind: 'number' | 'type' | 'mixture';
  /** The whole GGUF file. */
  readonly fileBytes: number;
  readonly bitsPerWeight: number;
  /** Tensors whose rows do not divide into blocks of the type: counted in F16. */
  readonly undivided: number;
}

/** Alignment of a GGUF that says nothing else. */
const ALIGNMENT = 32;

/** Shape and type of every tensor of a file, in any order. */
type Choice = readonly { readonly shape: readonly number[]; readonly type: TypeName }[];

/** The type policy's choice for each mixture by name: rows of the estimate beside the pure types. */
export type Mixtures = ReadonlyMap<string, Choice>;

/**
 * File sizes in every plain number format and every type, matrices in the type and vectors in F32 as llama.cpp keeps
 * them. INT8 stands for one byte a weight without scales.
 */
export function estimateSizes(model: SizedModel, mixtures: Mixtures = new Map()): Estimate[] {
  const pure = (kind: Estimate['kind'], type: TypeName, name: string = type): Estimate => {
    const typeFor = (shape: readonly number[]): TypeName => {
      if (shape.length < 2) return 'F32';
      return shape[0] % dataTypes[type].blockSize === 0 ? type : 'F16';
    };
    const chosen = model.tensors.map(({ shape }) => ({ shape, type: typeFor(shape) }));
    const undivided = chosen.filter((tensor) => tensor.type === 'F16' && type !== 'F16').length;
    return estimateOf(name, kind, model, chosen, undivided);
  };
  const quantized = Object.values(dataTypes).filter(({ kind }) => kind === 'quantized');
  return [
    pure('number', 'F32', 'FP32'),
    pure('number', 'F16', 'FP16'),
    pure('number', 'BF16'),
    pure('number', 'I8', 'INT8'),
    ...quantized.map(({ name }) => pure('type', name)),
    ...[...mixtures].map(([name, choice]) => estimateOf(name, 'mixture', model, choice, 0)),
  ];
}

function estimateOf(
  name: string,
  kind: Estimate['kind'],
  { headerBytes, alignment }: SizedModel,
  tensors: Choice,
  undivided: number,
): Estimate {
  let [fileBytes, bytes, weights] = [headerBytes, 0, 0];
  for (const { shape, type } of tensors) {
    const size = bytesOf(type, elementsOf(shape));
    fileBytes += Math.ceil(size / alignment) * alignment;
    bytes += size;
    weights += elementsOf(shape);
  }
  return { name, kind, fileBytes, bitsPerWeight: weights === 0 ? 0 : (bytes * 8) / weights, undivided };
}

/**
 * The GGUF a checkpoint would become. For a GGUF that is itself; otherwise the plan of an F16 file tells names, shapes
 * and header, which no choice of types changes.
 */
export function sizedModel(checkpoint: Checkpoint, pipeline: Pipeline): SizedModel {
  if (checkpoint.format === 'gguf') {
    const tensors = [...checkpoint.tensors.values()];
    const alignment = checkpoint.metadata.find(({ key }) => key === 'general.alignment')?.value;
    return {
      headerBytes: tensors.reduce((least, { offset }) => Math.min(least, offset), checkpoint.files[0].size),
      alignment: typeof alignment === 'number' ? alignment : ALIGNMENT,
      tensors: tensors.map(({ name, shape }) => ({ name, shape: [...shape].reverse() })),
    };
  }
  const { plan, layout } = pipeline.planQuantization({ input: checkpoint.path, type: 'F16' });
  const dataBytes = plan.tensors.reduce((total, { type, shape }) => {
    return total + Math.ceil(bytesOf(type, elementsOf(shape)) / ALIGNMENT) * ALIGNMENT;
  }, 0);
  return { headerBytes: layout.fileBytes - dataBytes, alignment: ALIGNMENT, tensors: plan.tensors };
}

/** `quantize estimate FILE`. */
export async function estimateCommand(
  path: string,
  flags: { json?: boolean },
  io: Io,
  stages: {
    openCheckpoint(path: string): Checkpoint;
    pipeline: Pipeline;
    mixtures?(checkpoint: Checkpoint): Mixtures;
  },
): Promise<void> {
  requireInput(path);
  const checkpoint = stages.openCheckpoint(path);
  const model = sizedModel(checkpoint, stages.pipeline);
  const estimates = estimateSizes(model, stages.mixtures?.(checkpoint));
  const weights = model.tensors.reduce((total, { shape }) => total + elementsOf(shape), 0);
  if (flags.json) {
    io.stdout.write(
      jsonText({
        schema: 'gguf-quantize/estimate',
        version: 1,
        weights,
        inputBytes: checkpoint.files.reduce((total, { size }) => total + size, 0),
        estimates,
      }),
    );
    return;
  }
  const { renderTable } = await import('../report/table.ts');
  const table = renderTable(
    [
      { head: 'type' },
      { head: 'bits', align: 'right' },
      { head: 'file', align: 'right' },
      { head: 'bytes', align: 'right' },
      { head: 'note', flexible: true },
    ],
    estimates.map(({ name, bitsPerWeight, fileBytes, undivided }) => [
      name,
      bitsPerWeight.toFixed(2),
      formatBytes(fileBytes),
      String(fileBytes),
      undivided === 0 ? '' : `${undivided} tensors whose rows do not divide stay F16`,
    ]),
    hasColor(io.stdout, io.env),
  );
  io.stdout.write(`${table}\n\n${formatCount(weights)} weights in ${model.tensors.length} tensors\n`);
}
