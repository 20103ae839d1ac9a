import { basename, dirname, resolve } from 'node:path';
import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError, UsageError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import type { Plan, PlannedTensor } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';

import { describeGguf, hyperparametersOf } from './gguf-model.ts';
import {
  assignImportance,
  type ImportanceFilter,
  type ImportanceSource,
  importanceKeys,
  selectImportance,
} from './importance.ts';
import { copiedTypes, copyScheme, decodedTypes, isCopy, requantizeWarnings } from './keep.ts';
import { bulkOf, type Mixture, parseTensorType } from './mixtures.ts';
import { describeModel } from './model.ts';
import { overrideWarnings, parseOverrides, type ScalarEntry, withOverrides } from './overrides.ts';
import { chooseTypes, type TypeChoices, type TypedTensor } from './policy.ts';
import { resolveScheme, type Scheme, type SchemeOptions } from './presets.ts';
import { pruneLayers, pruneWarnings } from './prune.ts';
import { describeWeights } from './weights.ts';

/** The options that decide the output, as typed by the user. */
export interface PlanOptions extends SchemeOptions, ImportanceFilter {
  readonly pure?: boolean;
  readonly leaveOutputTensor?: boolean;
  readonly outputTensorType?: string;
  readonly tokenEmbeddingType?: string;
  readonly tensorTypes?: readonly { readonly pattern: string; readonly type: string }[];
  /** `tokenizer.ggml.pre` to write instead of recognising the pre-tokenizer. */
  readonly tokenizerPre?: string;
  /** Quantize tensors of a GGUF that are quantized already. */
  readonly allowRequantize?: boolean;
  /** KEY=TYPE:VALUE, as in llama-quantize. */
  readonly overrideKv?: readonly string[];
  /** Keep the parts of a split GGUF, and the order of the tensors in them. */
  readonly keepSplit?: boolean;
  /** Layers to leave out. */
  readonly pruneLayers?: readonly number[];
  /** Which types can be written: those that an unknown `type` is answered with. */
  readonly canWrite?: (type: TypeName) => boolean;
  /** Decode every tensor to `type`, which is F32, F16 or BF16. */
  readonly decode?: boolean;
  /** What the output is; safetensors only with `decode`. GGUF unless told. */
  readonly container?: 'gguf' | 'safetensors';
}

/** A checkpoint is sound and has no tensor: there is nothing to quantize. */
export class NoTensorsError extends QuantizeError {}

/** A tensor's name is longer than llama.cpp can hold. */
export class TensorNameTooLongError extends QuantizeError {}

/** `GGML_MAX_NAME`, the terminating zero included. */
const MAX_NAME_BYTES = 64;

/**
 * Decides the whole output: metadata, and for every tensor its name, shape, type, coding and source. Pure: the same
 * headers, files and options give the same plan. `files` are those beside the weights of a safetensors checkpoint, null where they
 * do not count.
 *
 * @throws NoTensorsError, UsageError, RequantizeError, and the errors of describeModel, describeGguf, chooseTypes and assignImportance
 */
export function makePlan(
  checkpoint: Checkpoint,
  files: ModelFiles | null,
  options: PlanOptions,
  importance?: ImportanceSource,
): Plan {
  if (checkpoint.tensors.size === 0) {
    throw new NoTensorsError('the model holds no tensors', {
      file: checkpoint.path,
      expected: 'at least one tensor',
      advice: 'the file holds metadata only, perhaps a vocabulary: pass the file with the weights',
    });
  }
  const overrides = parseOverrides(options.overrideKv ?? []);
  const copy = isCopy(options.type);
  const scheme = copy
    ? copyScheme(checkpoint, { ...options }, overrides)
    : resolveScheme(options, options.canWrite);
  const { mixture } = scheme;
  const { selected, warnings: selection } = selectImportance(importance, options);
  const described = describe(checkpoint, files, mixture, options, overrides);
  const source = edited(described, options, overrides, selected ? importanceKeys(selected) : []);
  const { model } = source;
  const chosen = copy
    ? { tensors: copiedTypes(source.tensors, options.keepSplit ?? false), warnings: [] }
    : options.decode && (checkpoint.format === 'gguf' || options.container === 'safetensors')
      ? { tensors: decodedTypes(source.tensors, mixture.base, model), warnings: [] }
      : choose(source, mixture, options, checkpoint.format === 'gguf', selected !== null);
  const requantized = requantizeWarnings(
    chosen.tensors,
    (options.allowRequantize ?? false) || (options.decode ?? false),
    checkpoint,
  );
  const important =
    selected && assignImportance(chosen.tensors, described.tensors, selected, mixture, scheme.encoderFor);
  const runnable = runnability(source, scheme, checkpoint, options);
  if (runnable.yes) checkNames(chosen.tensors, checkpoint.path);

  const tensors = chosen.tensors.flatMap((typed) =>
    plannedTensors(typed, scheme, important?.values.get(typed.tensor.name)),
  );

  return {
    checkpoint,
    fileType: (model === null ? bulkOf(mixture) : mixture).name,
    method: scheme.method,
    modelName: modelNameOf(checkpoint),
    architecture: model?.architecture ?? null,
    runnable,
    metadata: source.metadata,
    tensors,
    notes: scheme.notes,
    warnings: [
      ...source.warnings,
      ...chosen.warnings,
      ...shortRowWarnings(tensors),
      ...requantized,
      ...selection,
      ...(important?.warnings ?? []),
    ],
  };
}

/** A checkpoint understood, whatever its format. */
interface Source {
  /** Null for weights of no known architecture. */
  readonly model: Hyperparameters | null;
  /** In the order of the output. */
  readonly metadata: readonly MetadataEntry[];
  readonly tensors: readonly MappedTensor[];
  readonly warnings: readonly string[];
}

function describe(
  checkpoint: Checkpoint,
  files: ModelFiles | null,
  mixture: Mixture,
  options: PlanOptions,
  overrides: readonly ScalarEntry[],
): Source {
  const fileType = mixture.fileType ?? 0;
  const bulkType = bulkOf(mixture).fileType ?? 0;
  const float = floatOf(mixture);
  const ordered = (metadata: readonly MetadataEntry[], quantized = float === null) =>
    orderMetadata(metadata, quantized, mixture.fileType === null);
  if (checkpoint.format === 'gguf') {
    const known = describeGguf(checkpoint, fileType, overrides);
    const { hyperparameters, metadata, tensors } =
      known.hyperparameters === null ? describeGguf(checkpoint, bulkType, overrides) : known;
    return {
      model: hyperparameters,
      metadata: ordered(metadata, true),
      tensors: options.keepSplit ? tensors.toSorted(byPlace) : tensors,
      warnings: [],
    };
  }
  if (options.keepSplit) {
    throw new UsageError('--keep-split is for a split GGUF', {
      file: checkpoint.path,
      advice: 'to split the output of a checkpoint, pass --split-max-size or --split K/N',
    });
  }
  // Tensors that go from safetensors to safetensors keep their names and rows.
  const described =
    options.container === 'safetensors' || files === null
      ? null
      : describeModel(checkpoint, files, {
          fileType,
          ...(float && { keepFloat: float }),
          ...(options.tokenizerPre !== undefined && { pre: options.tokenizerPre }),
        });
  if (described === null) {
    const { metadata, tensors, warnings } = describeWeights(checkpoint, modelNameOf(checkpoint), bulkType);
    return { model: null, metadata: ordered(metadata), tensors, warnings };
  }
  const { metadata, tensors, warnings } = described;
  const model =
    overrides.length === 0
      ? described.hyperparameters
      : hyperparametersOf(metadata, overrides, checkpoint.path);
  return { model, metadata: ordered(metadata), tensors, warnings };
}

/** By part of a split GGUF, then by place in it. */
function byPlace({ source: a }: MappedTensor, { source: b }: MappedTensor): number {
  const [[one], [other]] = [a, b].map((source) => (source.kind === 'stored' ? source.parts : []));
  return one.file - other.file || one.offset - other.offset;
}

/** The source with keys overridden, importance named, layers pruned: the order in which llama-quantize sets keys. */
function edited(
  source: Source,
  { pruneLayers: pruned }: PlanOptions,
  overrides: readonly ScalarEntry[],
  importance: readonly ScalarEntry[],
): Source {
  const { model, metadata, tensors } = source;
  const overridden = withOverrides(withOverrides(metadata, overrides), importance);
  const warnings = [...source.warnings, ...overrideWarnings(metadata, overrides)];
  if (pruned === undefined || pruned.length === 0) return { ...source, metadata: overridden, warnings };
  const left = pruneLayers(tensors, pruned);
  if (model === null) return { ...source, metadata: overridden, tensors: left.tensors, warnings };
  const count: ScalarEntry = {
    key: `${model.architecture}.block_count`,
    type: 'UINT32',
    value: left.layers,
  };
  return {
    model,
    metadata: withOverrides(overridden, [count]),
    tensors: left.tensors,
    warnings: [...warnings, ...pruneWarnings(metadata, model.architecture, model.layers)],
  };
}

const choose = (
  source: Source,
  mixture: Mixture,
  options: PlanOptions,
  stored: boolean,
  importance: boolean,
): TypeChoices =>
  chooseTypes(source.tensors, mixture, source.model, {
    stored,
    importance,
    keepOrder: options.keepSplit,
    pure: options.pure,
    leaveOutputTensor: options.leaveOutputTensor,
    outputTensorType: parsed(options.outputTensorType, '--output-tensor-type'),
    tokenEmbeddingType: parsed(options.tokenEmbeddingType, '--token-embedding-type'),
    tensorTypes: options.tensorTypes?.map(({ pattern, type }) => ({
      pattern,
      type: parseTensorType(type, '--tensor-type'),
    })),
  });

function runnability(
  { model }: Source,
  scheme: Scheme,
  { format }: Checkpoint,
  { container }: PlanOptions,
): Plan['runnable'] {
  if (container === 'safetensors') return { yes: false, reason: 'it is no GGUF file' };
  if (model !== null) return scheme.runnable;
  return {
    yes: false,
    reason:
      format === 'gguf'
        ? 'its metadata does not say what model these weights are'
        : 'there is no config.json to say what model these weights are',
  };
}

const floatOf = ({ base }: Mixture): 'F32' | 'F16' | 'BF16' | null =>
  base === 'F32' || base === 'F16' || base === 'BF16' ? base : null;

const parsed = (type: string | undefined, option: string): TypeName | undefined =>
  type === undefined ? undefined : parseTensorType(type, option);

/** A tensor of the output and, where its coding needs them, the tensors of its scales and zero points. */
function plannedTensors(
  typed: TypedTensor,
  scheme: Scheme,
  importance: Float32Array | undefined,
): PlannedTensor[] {
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
    ...(importance && { importance }),
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
    return `${who} rows of ${length}: their scales and zero points add ${cost} bits per weight`;
  });
}

/**
 * Keys in the order the file will have, options aside. The converter writes version and file type among the others;
 * llama-quantize sets them anew, which moves them to the end.
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

/** The type at the end of a GGUF's name, which is not the output's. */
const TYPE_SUFFIX = /(?<=.)[-._]((BF|FP?)(16|32)|I?Q\d_\w+|TQ\d_0|MXFP4(_MOE)?|NVFP4|COPY)$/i;

/** What people would call the model: its directory, or its file where that has a name of its own. */
export function modelNameOf(checkpoint: Checkpoint): string {
  const path = resolve(checkpoint.path);
  const stem = basename(path)
    .replace(/(\.safetensors(\.index\.json)?|(-\d{5}-of-\d{5})?\.gguf)$/, '')
    .replace(checkpoint.format === 'gguf' ? TYPE_SUFFIX : /$^/, '');
  const generic =
    path === resolve(checkpoint.directory) || /^(model|consolidated|pytorch_model)\b/.test(stem);
  return generic ? basename(dirname(checkpoint.files[0] ? resolve(checkpoint.files[0].path) : path)) : stem;
}
