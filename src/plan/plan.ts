import type { Statistics } from '../core/calibration.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import type { MappedTensor } from '../core/model.ts';
import type { ModelFiles } from '../core/model-files.ts';
import type { Plan, PlannedTensor } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';
import { assignStatistics, requireForwardPass } from './calibration.ts';
import { assignImportance, type ImportanceSource, importanceKeys, selectImportance } from './importance.ts';
import { type PlanJob, type PlanOptions, planJob } from './job.ts';
import { copiedTypes, decodedTypes, requantizeWarnings } from './keep.ts';
import { bulkOf, parseTensorType } from './mixtures.ts';
import { parseOverrides } from './overrides.ts';
import { chooseTypes, type TypeChoices, type TypedTensor } from './policy.ts';
import type { Scheme } from './presets.ts';
import { rangeWarnings } from './ranges.ts';
import { describeSource, editSource, modelNameOf, type Source } from './source.ts';

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
 * @throws NoTensorsError, UsageError, RequantizeError, and the errors of describeModel, describeGguf, chooseTypes,
 * assignImportance, requireForwardPass and assignStatistics
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
  const job = planJob(checkpoint, options, overrides);
  const { scheme } = job;
  const { mixture } = scheme;
  const { selected, warnings: selection } = selectImportance(importance, options);
  const described = describeSource(checkpoint, files, mixture, options, overrides);
  const source = editSource(
    described,
    options.pruneLayers ?? [],
    overrides,
    selected ? importanceKeys(selected) : [],
  );
  const { model } = source;
  const { calibration } = scheme;
  if (calibration) requireForwardPass(checkpoint, model, source.metadata, options.forwardPasses ?? []);
  const chosen = typesFor(job, source, checkpoint, options, selected !== null || calibration !== null);
  const waiting = calibration && assignStatistics(chosen.tensors, mixture, options.canWeigh ?? (() => false));
  const important =
    selected && assignImportance(chosen.tensors, described.tensors, selected, mixture, scheme.encoderFor);
  const runnable = runnability(source, scheme, checkpoint, options);
  if (runnable.yes) checkNames(chosen.tensors, checkpoint.path);

  const tensors = chosen.tensors.flatMap((typed) =>
    plannedTensors(typed, scheme, {
      importance: important?.values.get(typed.tensor.name),
      calibrated: waiting?.statistics.get(typed.tensor.name),
    }),
  );

  return {
    checkpoint,
    fileType: (model === null ? bulkOf(mixture) : mixture).name,
    method: scheme.method,
    modelName: modelNameOf(checkpoint),
    architecture: model?.architecture ?? null,
    runnable,
    metadata: source.metadata,
    calibration,
    tensors,
    notes: [...scheme.notes, ...(waiting?.notes ?? [])],
    warnings: [
      ...source.warnings,
      ...chosen.warnings,
      ...shortRowWarnings(tensors),
      ...rangeWarnings(scheme.method, scheme.ranges, chosen.tensors),
      ...selection,
      ...(important?.warnings ?? []),
      ...(waiting?.warnings ?? []),
    ],
  };
}

/** The type of every tensor, in the order of the output. */
function typesFor(
  job: PlanJob,
  { model, tensors }: Source,
  checkpoint: Checkpoint,
  options: PlanOptions,
  importance: boolean,
): TypeChoices {
  switch (job.kind) {
    case 'copy':
      return { tensors: copiedTypes(tensors, options.keepSplit ?? false), warnings: [] };
    case 'decode':
      return { tensors: decodedTypes(tensors, job.to, model), warnings: [] };
    case 'quantize': {
      const chosen = chooseTypes(tensors, job.scheme.mixture, model, {
        stored: checkpoint.format === 'gguf',
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
      const again = requantizeWarnings(chosen.tensors, options.allowRequantize ?? false, checkpoint);
      return { tensors: chosen.tensors, warnings: [...chosen.warnings, ...again] };
    }
  }
}

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

const parsed = (type: string | undefined, option: string): TypeName | undefined =>
  type === undefined ? undefined : parseTensorType(type, option);

/** A tensor of the output and, where its coding needs them, the tensors of its scales and zero points. */
function plannedTensors(
  typed: TypedTensor,
  scheme: Scheme,
  { importance, calibrated }: { importance?: Float32Array | undefined; calibrated?: Statistics | undefined },
): PlannedTensor[] {
  const { tensor, type, reason, fallbackFrom } = typed;
  const { name, shape, source } = tensor;
  const quantized = type !== tensor.keep;
  const encoder = quantized ? scheme.encoderFor(type) : type;
  // Importance makes ggml search scales: no rule of ours says which.
  const range = quantized && !importance ? scheme.ranges.measuredFor(type) : null;
  const planned: PlannedTensor = {
    name,
    shape,
    type,
    encoder,
    source,
    reason,
    ...(fallbackFrom && { fallbackFrom }),
    ...(importance && { importance }),
    ...(range && { range }),
    ...(calibrated && { calibrated }),
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
