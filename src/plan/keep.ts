import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError, UsageError } from '../core/errors.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import { dataTypes, type TypeName } from '../core/types.ts';
import { storedFileType } from './gguf-model.ts';
import type { ScalarEntry } from './overrides.ts';
import type { TypedTensor } from './policy.ts';
import type { Scheme, SchemeOptions } from './presets.ts';
import { noRanges } from './ranges.ts';
import { quantizeOrder, whyExempt } from './tensor-roles.ts';

/**
 * Choices of type that no mixture makes: tensors as they are (`--type COPY`), tensors decoded (`quantize dequantize`),
 * and what may become of tensors that are quantized already.
 */

/** A tensor is quantized already, and nothing allowed to quantize it again. */
export class RequantizeError extends QuantizeError {}

/** Whether `--type` says COPY. */
export const isCopy = (type: string | undefined): boolean => type?.trim().toUpperCase() === 'COPY';

/**
 * The scheme of `--type COPY`: every tensor of a GGUF as it is.
 *
 * @throws UsageError beside options that choose types, and for a checkpoint that is no GGUF.
 */
export function copyScheme(
  checkpoint: Checkpoint,
  options: SchemeOptions & Readonly<Record<string, unknown>>,
  overrides: readonly ScalarEntry[],
): Scheme {
  const ranges = ['range', 'granularity', 'symmetric', 'center'];
  const other = [
    ...['method', 'bits', 'pure', 'outputTensorType', 'tokenEmbeddingType', 'tensorTypes'],
    ...ranges,
  ].find((name) => options[name] !== undefined && options[name] !== false);
  if (other !== undefined) {
    const option = other.replace(/s$/, '').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(
      `--type COPY keeps every tensor's type; --${option} chooses ${ranges.includes(other) ? 'ranges' : 'types'}`,
      {
        advice: 'leave one of them out',
      },
    );
  }
  if (checkpoint.format !== 'gguf') {
    throw new UsageError('--type COPY copies the tensors of a GGUF file', {
      file: checkpoint.path,
      got: 'safetensors, which is converted',
      advice: 'name the type it is stored in: --type BF16, F16 or F32',
    });
  }
  return {
    mixture: { name: 'COPY', fileType: storedFileType(checkpoint, overrides), base: 'F32' },
    method: 'none',
    runnable: { yes: true },
    calibration: null,
    ranges: noRanges,
    encoderFor: (type) => type,
    notes: [],
  };
}

/** Every tensor in its own type, in llama-quantize's order unless theirs is to be kept. */
export const copiedTypes = (tensors: readonly MappedTensor[], keepOrder: boolean): TypedTensor[] =>
  (keepOrder ? tensors : inFileOrder(tensors)).map((tensor) => ({
    tensor,
    type: tensor.keep,
    reason: 'copied',
  }));

/**
 * Every tensor in a float type: those that llama-quantize would quantize get `type`, others too when they are quantized
 * or when it is F32; integers stay. Where that is what llama-quantize does, its order and its types.
 */
export function decodedTypes(
  tensors: readonly MappedTensor[],
  type: TypeName,
  model: Hyperparameters | null,
): TypedTensor[] {
  return (model === null ? tensors : inFileOrder(tensors)).map((tensor) => {
    const { name, shape, keep } = tensor;
    const { kind } = dataTypes[keep];
    if (kind === 'integer') return { tensor, type: keep, reason: 'kept: integers' };
    const exempt = type === 'F32' || kind === 'quantized' || model === null ? null : whyExempt(name, shape);
    return exempt === null
      ? { tensor, type, reason: `type ${type}` }
      : { tensor, type: keep, reason: `kept: ${exempt}` };
  });
}

function inFileOrder(tensors: readonly MappedTensor[]): MappedTensor[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return quantizeOrder(byName.keys()).map((name) => byName.get(name)!);
}

/**
 * Refuses to quantize what is quantized unless it is allowed; then says how much of it there is.
 *
 * @throws RequantizeError
 */
export function requantizeWarnings(
  tensors: readonly TypedTensor[],
  allowed: boolean,
  checkpoint: Checkpoint,
): string[] {
  const again = tensors.filter(
    ({ tensor, type }) => type !== tensor.keep && dataTypes[tensor.keep].kind === 'quantized',
  );
  if (again.length === 0) return [];
  const [{ tensor, type }] = again;
  if (!allowed) {
    const part = tensor.source.kind === 'stored' ? tensor.source.parts[0] : undefined;
    throw new RequantizeError('a tensor is quantized already', {
      file: part === undefined ? checkpoint.path : checkpoint.files[part.file].path,
      tensor: tensor.name,
      expected: 'F32, F16 or BF16',
      got: `${tensor.keep}, to become ${type}`,
      advice:
        'start from the unquantized model, or pass --allow-requantize: the errors of both codings add up',
    });
  }
  const coded = again.filter(({ type: to }) => dataTypes[to].kind === 'quantized');
  if (coded.length === 0) return [];
  const from = [...new Set(coded.map(({ tensor: { keep } }) => keep))].join(', ');
  return [
    `${coded.length} tensors are quantized already (${from}): their errors add up, and those reported here are only ` +
      'the new ones',
  ];
}
