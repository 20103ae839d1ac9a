import type { Statistics } from '../core/calibration.ts';
import type { Checkpoint } from '../core/checkpoint.ts';
import { listed, QuantizeError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import type { Hyperparameters } from '../core/model.ts';
import type { EncoderName } from '../core/plan.ts';
import { dataTypes, type TypeName } from '../core/types.ts';
import type { Mixture } from './mixtures.ts';
import { ImportanceRequiredError, needsImportance, type TypedTensor } from './policy.ts';
import { blockOf } from './tensor-roles.ts';

/** Calibration has to run the model, and this version cannot. */
export class NoForwardPassError extends QuantizeError {}

/** Calibration has to make tokens of text, and the model has no tokenizer. */
export class NoTokenizerError extends QuantizeError {}

/** Types whose codes are chosen one weight at a time, as GPTQ has to: those of `quantize/gptq/grid.ts`, a test says. */
const gptqTypes: ReadonlySet<TypeName> = new Set<TypeName>([
  ...(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'IQ4_NL', 'IQ4_XS', 'TQ1_0', 'TQ2_0'] as const),
  ...(['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const),
]);

/** Whether GPTQ codes matrices of a type. */
export const takesGptq = (type: TypeName): boolean => gptqTypes.has(type);

interface AssignedStatistics {
  /** By tensor name. */
  readonly statistics: ReadonlyMap<string, Statistics>;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * The statistics that each tensor waits for: the Hessian for a matrix of a block and for the output, which may be the token
 * embedding, where its type's codes are chosen one by one; importance for types of codebooks. An untied token embedding is
 * looked up, never multiplied: it gets none. `takes` says which codings follow importance.
 *
 * @throws ImportanceRequiredError for a tensor that cannot be coded without importance and has none
 */
export function assignStatistics(
  tensors: readonly TypedTensor[],
  mixture: Mixture,
  takes: (encoder: EncoderName) => boolean,
): AssignedStatistics {
  const statistics = new Map<string, Statistics>();
  const plain: string[] = [];
  const tied = !tensors.some(({ tensor }) => tensor.name === 'output.weight');
  for (const { tensor, type } of tensors) {
    const { name } = tensor;
    if (type === tensor.keep || dataTypes[type].kind !== 'quantized') continue;
    const isOutput = name === 'output.weight' || (tied && name === 'token_embd.weight');
    if (takesGptq(type) && (blockOf(name) !== null || isOutput)) {
      statistics.set(name, 'hessian');
    } else if ((blockOf(name) !== null || isOutput) && takes(type)) {
      statistics.set(name, 'importance');
    } else if (needsImportance(name, type, mixture)) {
      throw new ImportanceRequiredError(`${type} needs importance, and this tensor has none`, {
        tensor: name,
        expected: 'a matrix that is multiplied: a token embedding beside an output.weight is only looked up',
        advice: 'give it another type, such as Q4_K, by --token-embedding-type or --tensor-type',
      });
    } else if (blockOf(name) !== null) {
      plain.push(`${name} (${type})`);
    }
  }
  const searched = tensors.filter(
    ({ tensor, type }) => statistics.get(tensor.name) === 'importance' && !takesGptq(type),
  );
  const types = [...new Set(searched.map(({ type }) => type))].join(', ');
  return {
    statistics,
    notes:
      searched.length === 0
        ? []
        : [
            `${searched.length} tensors of codebook types (${types}) get an importance-weighted search: a code stands ` +
              'for several weights there, which GPTQ cannot choose one by one',
          ],
    warnings: [
      ...(plain.length === 0
        ? []
        : [
            `${plain.length} tensors are coded without calibration, as their types follow none: ` +
              listed(plain, 3),
          ]),
      ...([...statistics.values()].includes('hessian') ? [] : ['GPTQ rounds no tensor of this file']),
    ],
  };
}

/**
 * Refuses a model that cannot be run: calibration passes text through it. `metadata` is the output's; `runs` lists the
 * architectures there is a forward pass for.
 *
 * @throws NoForwardPassError, NoTokenizerError
 */
export function requireForwardPass(
  { format, path, directory }: Checkpoint,
  model: Hyperparameters | null,
  metadata: readonly MetadataEntry[],
  runs: readonly string[],
): void {
  if (model === null) {
    throw new NoForwardPassError(
      'calibration runs the model, and nothing says what model these weights are',
      {
        file: format === 'gguf' ? path : directory,
        ...(format === 'gguf'
          ? { expected: 'general.architecture and its block_count in the metadata' }
          : { expected: 'config.json beside the weights', got: 'no config.json' }),
        advice: 'add what is missing, or choose a method that needs no calibration: kquant',
      },
    );
  }
  if (!runs.includes(model.architecture)) {
    throw new NoForwardPassError('calibration runs the model, and this version cannot run its architecture', {
      file: path,
      expected: runs.join(', '),
      got: model.architecture,
      advice: 'choose a method that needs no calibration (kquant), or pass --imatrix of llama-imatrix to it',
    });
  }
  const tokens = metadata.find(({ key }) => key === 'tokenizer.ggml.tokens');
  if (tokens?.type === 'ARRAY' && tokens.value.length > 0) return;
  throw new NoTokenizerError('calibration makes tokens of text, and the model has no tokenizer', {
    file: format === 'gguf' ? path : directory,
    expected:
      format === 'gguf'
        ? 'tokenizer.ggml.model and tokenizer.ggml.tokens in the metadata'
        : 'tokenizer.json or tokenizer.model beside the weights',
    advice: 'add what is missing, or choose a method that needs no calibration: kquant',
  });
}
