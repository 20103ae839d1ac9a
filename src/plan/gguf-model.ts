import type { Checkpoint } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import type { TypeName } from '../core/types.ts';
import { type Mixture, type MixtureName, mixtures } from './mixtures.ts';
import type { ScalarEntry } from './overrides.ts';
import { dimensionsOf, quantizeOrder } from './tensor-roles.ts';

/** A key that the type policy asks about holds something else than a count. */
export class GgufHyperparameterError extends QuantizeError {}

/** A GGUF file as the plan sees it. */
export interface GgufDescription {
  /** Null for a file that names no architecture, or one whose layers are not counted. */
  readonly hyperparameters: Hyperparameters | null;
  /** Everything but `split.*`, in file order; version of the formats and file type set anew at the end. */
  readonly metadata: readonly MetadataEntry[];
  /** In file order, the parts of a split one after another; each keeps its stored type. */
  readonly tensors: readonly MappedTensor[];
}

/** Version of ggml's quantized formats, `GGML_QNT_VERSION`. */
const QUANTIZATION_VERSION = 2;

const SPLIT_KEYS: ReadonlySet<string> = new Set(['split.no', 'split.count', 'split.tensors.count']);

/**
 * A GGUF file as the input of llama-quantize (`llama_model_quantize_impl`): hyperparameters from the metadata, tensors
 * under their names. Pure. `fileType` is the number for `general.file_type`; `overrides` count for hyperparameters as in
 * llama.cpp's loader and are not yet part of the metadata.
 *
 * Unlike llama-quantize, which keeps `general.alignment` but lays out by 32 whatever it says, the writer obeys the key:
 * for any other value llama-quantize's file cannot be read.
 *
 * @throws GgufHyperparameterError
 */
export function describeGguf(
  checkpoint: Checkpoint,
  fileType: number,
  overrides: readonly ScalarEntry[] = [],
): GgufDescription {
  const last: MetadataEntry[] = [
    { key: 'general.quantization_version', type: 'UINT32', value: QUANTIZATION_VERSION },
    { key: 'general.file_type', type: 'UINT32', value: fileType },
  ];
  const set = new Set(last.map(({ key }) => key));
  return {
    hyperparameters: hyperparametersOf(checkpoint.metadata, overrides, checkpoint.files[0]?.path),
    metadata: [...checkpoint.metadata.filter(({ key }) => !SPLIT_KEYS.has(key) && !set.has(key)), ...last],
    tensors: [...checkpoint.tensors.values()].map((stored) => {
      const extents = [...stored.shape].reverse();
      return {
        name: stored.name,
        // ggml drops the axes behind the last one longer than 1, and makes a scalar a vector of one.
        shape: extents.length === 0 ? [1] : extents.slice(0, dimensionsOf(extents)),
        source: { kind: 'stored', parts: [stored], rows: { kind: 'file' } },
        keep: stored.type,
      };
    }),
  };
}

/**
 * Hyperparameters as `llama_model_base::load_hparams` reads them. A key may hold one value for each layer: llama-quantize
 * asks for that of layer 0. An override counts where its type is the expected one.
 */
export function hyperparametersOf(
  metadata: readonly MetadataEntry[],
  overrides: readonly ScalarEntry[],
  file: string | undefined,
): Hyperparameters | null {
  const entries = new Map(metadata.map((entry) => [entry.key, entry]));
  const given = new Map(overrides.map((entry) => [entry.key, entry]));
  const architecture =
    [given.get('general.architecture'), entries.get('general.architecture')].find(
      (entry) => entry?.type === 'STRING',
    )?.value ?? null;
  if (typeof architecture !== 'string') return null;

  const count = (name: string, perLayer = false): number | null => {
    const key = `${architecture}.${name}`;
    const entry = entries.get(key);
    const override = given.get(key)?.type === 'UINT32' ? given.get(key) : undefined;
    // What may differ from layer to layer is looked up in the file first, and a list there stands.
    const listed = perLayer && entry?.type === 'ARRAY';
    const found = perLayer && (listed || entry === undefined) ? entry : (override ?? entry);
    if (found === undefined) return null;
    const value = listed ? entry.value[0] : found.value;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
    throw new GgufHyperparameterError('a key of the metadata does not hold a count', {
      file,
      expected: `a whole number for ${key}`,
      got: `${found.type} ${String(value).slice(0, 40)}`,
      advice: `correct it: --override-kv ${key}=int:N`,
    });
  };

  const layers = count('block_count');
  // Vision parts count their layers under other names; llama-quantize takes them for models without layers.
  if (architecture === 'clip') return { architecture, layers: 0, heads: 0, kvHeads: 0, experts: 0 };
  if (layers === null) return null;
  const heads = count('attention.head_count', true) ?? 0;
  return {
    architecture,
    layers,
    heads,
    kvHeads: count('attention.head_count_kv', true) ?? heads,
    experts: count('expert_count') ?? 0,
  };
}

/** Types whose name is no mixture's, or whose usual mixture has another name (`llama_model_loader`). */
const usualMixture: Readonly<Partial<Record<TypeName, MixtureName>>> = {
  Q3_K: 'Q3_K_M',
  Q4_K: 'Q4_K_M',
  Q5_K: 'Q5_K_M',
};

const NVFP4_FILE_TYPE = 39;
/** `LLAMA_FTYPE_GUESSED`. */
const GUESSED = 1024;

/**
 * The file type that llama.cpp sees in a file: the key, or else its guess, which is the type that most tensors have (the
 * first to get there, in llama-quantize's order) and a flag that says so.
 */
export function storedFileType(checkpoint: Checkpoint, overrides: readonly ScalarEntry[]): number {
  const stated = [...overrides, ...checkpoint.metadata].find(
    ({ key, type }) => key === 'general.file_type' && type === 'UINT32',
  );
  if (stated !== undefined) return stated.value as number;
  const counts = new Map<TypeName, number>();
  let [most, type]: [number, TypeName] = [0, 'F32'];
  for (const name of quantizeOrder(checkpoint.tensors.keys())) {
    const stored = checkpoint.tensors.get(name)!.type;
    const count = (counts.get(stored) ?? 0) + 1;
    counts.set(stored, count);
    if (count > most) [most, type] = [count, stored];
  }
  if (type === 'NVFP4') return GUESSED | NVFP4_FILE_TYPE;
  const named: Readonly<Record<string, Mixture | undefined>> = mixtures;
  return GUESSED | (named[usualMixture[type] ?? type]?.fileType ?? 0);
}
