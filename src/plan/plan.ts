import { basename, dirname, resolve } from 'node:path';
import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { MappedTensor, ModelDescription } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import type { Plan, PlannedTensor } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';

import { parseTensorType } from './mixtures.ts';
import { describeModel } from './model.ts';
import { chooseTypes, type TypedTensor } from './policy.ts';
import { resolveScheme, type Scheme, type SchemeOptions } from './presets.ts';
import { describeWeights } from './weights.ts';

/** The options that decide the output, as typed by the user. */
export interface PlanOptions extends SchemeOptions {
  readonly pure?: boolean;
  readonly leaveOutputTensor?: boolean;
  readonly outputTensorType?: string;
  readonly tokenEmbeddingType?: string;
  readonly tensorTypes?: readonly { readonly pattern: string; readonly type: string }[];
  /** `tokenizer.ggml.pre` to write instead of recognising the pre-tokenizer. */
  readonly pre?: string;
}

/** A tensor's name is longer than llama.cpp can hold. */
export class TensorNameTooLongError extends QuantizeError {}

/** The checkpoint is a GGUF file, which this version does not take as input. */
export class GgufInputError extends QuantizeError {}

/** `GGML_MAX_NAME`, the terminating zero included. */
const MAX_NAME_BYTES = 64;

/**
 * Decides the whole output: metadata, and for every tensor its name, shape, type, coding and source. Pure: the same
 * headers, files and options give the same plan.
 *
 * @throws UsageError, and the errors of describeModel and chooseTypes
 */
export function makePlan(checkpoint: Checkpoint, files: ModelFiles, options: PlanOptions): Plan {
  if (checkpoint.format === 'gguf') {
    throw new GgufInputError('quantizing a GGUF file is not supported yet', {
      file: checkpoint.path,
      expected: 'a model as published: a Hugging Face directory or .safetensors files',
      advice: 'pass the checkpoint this file was made from',
    });
  }
  const scheme = resolveScheme(options);
  const { mixture } = scheme;
  const float =
    mixture.base === 'F32' || mixture.base === 'F16' || mixture.base === 'BF16' ? mixture.base : null;
  const model = describeModel(checkpoint, files, {
    fileType: mixture.fileType ?? 0,
    ...(float && { keepFloat: float }),
    ...(options.pre !== undefined && { pre: options.pre }),
  });
  const source: ModelDescription | ReturnType<typeof describeWeights> =
    model ?? describeWeights(checkpoint, modelNameOf(checkpoint), mixture.fileType ?? 0);
  const chosen = chooseTypes(source.tensors, mixture, model?.hyperparameters ?? null, {
    pure: options.pure,
    leaveOutputTensor: options.leaveOutputTensor,
    outputTensorType: parsed(options.outputTensorType, '--output-tensor-type'),
    tokenEmbeddingType: parsed(options.tokenEmbeddingType, '--token-embedding-type'),
    tensorTypes: options.tensorTypes?.map(({ pattern, type }) => ({
      pattern,
      type: parseTensorType(type, '--tensor-type'),
    })),
  });

  const runnable: Plan['runnable'] =
    model === null
      ? { yes: false, reason: 'there is no config.json to say what model these weights are' }
      : scheme.runnable;
  if (runnable.yes) checkNames(chosen.tensors, checkpoint.path);

  const tensors = chosen.tensors.flatMap((typed) => plannedTensors(typed, scheme));
  return {
    checkpoint,
    fileType: mixture.name,
    method: scheme.method,
    modelName: modelNameOf(checkpoint),
    architecture: model?.hyperparameters.architecture ?? null,
    runnable,
    metadata: orderMetadata(source.metadata, float === null, mixture.fileType === null),
    tensors,
    warnings: [...scheme.notes, ...source.warnings, ...chosen.warnings, ...shortRowWarnings(tensors)],
  };
}

const parsed = (type: string | undefined, option: string): TypeName | undefined =>
  type === undefined ? undefined : parseTensorType(type, option);

/** A tensor of the output and, where its coding needs them, the tensors of its scales and zero points. */
function plannedTensors(typed: TypedTensor, scheme: Scheme): PlannedTensor[] {
  const { tensor, type, reason, fallbackFrom } = typed;
  const { name, shape, source } = tensor;
  const quantized = type !== tensor.keep;
  const encoder = quantized ? scheme.encoderFor(type) : type;
  const planned: PlannedTensor = {
    name,
    shape,
    type,
    encoder,
    source,
    reason,
    ...(fallbackFrom && { fallbackFrom }),
  };
  if (encoder !== 'I8:zero-point') return [planned];
  const stem = name.replace(/\.weight$/, '');
  const rows = shape.slice(1);
  return [
    planned,
    {
      name: `${stem}.scale`,
      shape: rows,
      type: 'F32',
      encoder: 'F32',
      source: { kind: 'row-range', of: name, what: 'scale' },
      reason: `scale of each row of ${name}`,
    },
    {
      name: `${stem}.zero_point`,
      shape: rows,
      type: 'I8',
      encoder: 'I8:zero-point',
      source: { kind: 'row-range', of: name, what: 'zero-point' },
      reason: `zero point of each row of ${name}`,
    },
  ];
}

/** Bits of a row's scale and zero point. */
const ROW_BITS = 40;

/** One sentence for each row length whose scales and zero points add more than a bit to each weight. */
function shortRowWarnings(tensors: readonly PlannedTensor[]): string[] {
  const byLength = new Map<number, string[]>();
  for (const { name, shape, encoder, source } of tensors) {
    if (encoder !== 'I8:zero-point' || source.kind !== 'stored' || shape[0] >= ROW_BITS) continue;
    byLength.set(shape[0], [...(byLength.get(shape[0]) ?? []), name]);
  }
  return [...byLength].map(([length, names]) => {
    const who = names.length === 1 ? `${names[0]} has` : `${names.length} tensors (${names[0]}, ...) have`;
    const cost = (ROW_BITS / length).toFixed(2);
    return `${who} rows of ${length}: their scales and zero points add ${cost} bits per weight.`;
  });
}

/**
 * Keys in the order the file will have. The converter writes version and file type among the others; llama-quantize
 * sets them anew, which moves them to the end.
 */
function orderMetadata(
  metadata: readonly MetadataEntry[],
  quantized: boolean,
  withoutFileType: boolean,
): readonly MetadataEntry[] {
  const last = quantized ? ['general.quantization_version', 'general.file_type'] : [];
  return [
    ...metadata.filter(({ key }) => !last.includes(key)),
    ...last.flatMap((key) => metadata.filter((entry) => entry.key === key)),
  ].filter(({ key }) => !(withoutFileType && key === 'general.file_type'));
}

function checkNames(tensors: readonly { tensor: MappedTensor }[], file: string): void {
  for (const { tensor } of tensors) {
    const bytes = Buffer.byteLength(tensor.name);
    if (bytes >= MAX_NAME_BYTES) {
      throw new TensorNameTooLongError('a tensor name is too long for llama.cpp', {
        file,
        tensor: tensor.name,
        expected: `fewer than ${MAX_NAME_BYTES} bytes`,
        got: `${bytes} bytes`,
        advice: 'llama.cpp would refuse the file; rename the tensor in the checkpoint',
      });
    }
  }
}

/** What people would call the model: its directory, or its file where that has a name of its own. */
export function modelNameOf(checkpoint: Checkpoint): string {
  const path = resolve(checkpoint.path);
  const stem = basename(path).replace(/(\.safetensors(\.index\.json)?|\.gguf)$/, '');
  const generic =
    path === resolve(checkpoint.directory) || /^(model|consolidated|pytorch_model)\b/.test(stem);
  return generic ? basename(dirname(checkpoint.files[0] ? resolve(checkpoint.files[0].path) : path)) : stem;
}
