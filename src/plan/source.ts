import { basename, dirname, resolve } from 'node:path';
import type { Checkpoint } from '../core/checkpoint.ts';
import { UsageError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import { describeGguf, hyperparametersOf } from './gguf-model.ts';
import { bulkOf, type Mixture } from './mixtures.ts';
import { describeModel } from './model.ts';
import { overrideWarnings, type ScalarEntry, withOverrides } from './overrides.ts';
import { pruneLayers, pruneWarnings } from './prune.ts';
import { describeWeights } from './weights.ts';

/** A checkpoint understood, whatever its format. */
export interface Source {
  /** Null for weights of no known architecture. */
  readonly model: Hyperparameters | null;
  /** In the order of the output. */
  readonly metadata: readonly MetadataEntry[];
  readonly tensors: readonly MappedTensor[];
  readonly warnings: readonly string[];
}

/**
 * The checkpoint as the output will have it, types aside. `files` are those beside safetensors, null where tensors are to keep
 * their names and rows.
 *
 * @throws UsageError for --keep-split without a split, and the errors of describeModel and describeGguf
 */
export function describeSource(
  checkpoint: Checkpoint,
  files: ModelFiles | null,
  mixture: Mixture,
  options: { readonly keepSplit?: boolean; readonly tokenizerPre?: string },
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
  const described =
    files === null
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
export function editSource(
  source: Source,
  pruned: readonly number[],
  overrides: readonly ScalarEntry[],
  importance: readonly ScalarEntry[],
): Source {
  const { model, metadata, tensors } = source;
  const overridden = withOverrides(withOverrides(metadata, overrides), importance);
  const warnings = [...source.warnings, ...overrideWarnings(metadata, overrides)];
  if (pruned.length === 0) return { ...source, metadata: overridden, warnings };
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

const floatOf = ({ base }: Mixture): 'F32' | 'F16' | 'BF16' | null =>
  base === 'F32' || base === 'F16' || base === 'BF16' ? base : null;

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
