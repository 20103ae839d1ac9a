import { QuantizeError, UsageError } from '../core/errors.ts';
import type { Hyperparameters, MappedTensor } from '../core/model.ts';
import { dataTypes, type TypeName } from '../core/types.ts';
import { fallbackFor, fallbackWarnings, fits } from './fallback.ts';
import { mixtureRules } from './mixture-rules.ts';
import type { Mixture } from './mixtures.ts';
import {
  blockOf,
  holdsValues,
  PER_LAYER_EMBEDDING,
  quantizeOrder,
  roleOf,
  whyExempt,
  whyNoMatrix,
} from './tensor-roles.ts';

/** Tensors whose name matches a pattern get a type (`--tensor-type pattern=type`). */
export interface TensorTypeOverride {
  /** Searched anywhere in the name; letters match in either case. */
  readonly pattern: string;
  readonly type: TypeName;
}

/** How the user wants the mixture changed; each is llama-quantize's option of the same name. */
export interface TypeOptions {
  /** Every tensor that is quantized gets the base type. */
  readonly pure?: boolean | undefined;
  readonly leaveOutputTensor?: boolean | undefined;
  readonly outputTensorType?: TypeName | undefined;
  readonly tokenEmbeddingType?: TypeName | undefined;
  /** The first that matches a tensor counts. */
  readonly tensorTypes?: readonly TensorTypeOverride[] | undefined;
  /** Whether an importance matrix, or a method that stands in for one, is there. */
  readonly importance?: boolean | undefined;
  /** The tensors are those of a GGUF: types and order are llama-quantize's for F32, F16 and BF16 as well. */
  readonly stored?: boolean | undefined;
  /** The order stays, as llama-quantize has it with --keep-split; it matters to the mixtures' counters. */
  readonly keepOrder?: boolean | undefined;
}

export interface TypedTensor {
  readonly tensor: MappedTensor;
  readonly type: TypeName;
  readonly reason: string;
  /** The type it would have if its rows divided into that type's blocks. */
  readonly fallbackFrom?: TypeName;
}

export interface TypeChoices {
  /** In the order of the output file. */
  readonly tensors: readonly TypedTensor[];
  /** One sentence each. */
  readonly warnings: readonly string[];
}

/** A type is useless without an importance matrix. */
export class ImportanceRequiredError extends QuantizeError {}

/** An option asks for a type whose blocks do not divide the tensor's rows. */
export class RowLengthError extends QuantizeError {}

interface Decision {
  readonly type: TypeName;
  readonly reason: string;
  readonly fallbackFrom?: TypeName;
}

/**
 * Chooses the type of every tensor; names are unique. Pure; the answer is in the order of the output file.
 *
 * - Quantized mixtures on a known architecture: the types and the order of llama-quantize of llama.cpp v0.5.0, for
 *   the same file as the converter writes it (`llama_tensor_get_type`, `tensor_allows_quantization`).
 * - F32, F16, BF16: the types and the order of the converter with that `--outtype`, or of llama-quantize where the
 *   tensors come from a GGUF; options for single tensors count here too, where llama-quantize ignores `--tensor-type`.
 * - `model` null (weights of no known architecture): every tensor of two or more dimensions gets the base type, with
 *   the same fallbacks and options; the others keep theirs. Order unchanged.
 *
 * Tensors of integers always keep their type, and so do those of no known architecture that are stored as integers. Errors: NoFallbackError, RowLengthError, ImportanceRequiredError and
 * TensorLayerError name the tensor; UsageError for a pattern that is no regular expression.
 */
export function chooseTypes(
  tensors: readonly MappedTensor[],
  mixture: Mixture,
  model: Hyperparameters | null,
  options: TypeOptions = {},
): TypeChoices {
  const converterOnly = dataTypes[mixture.base].kind === 'float' && !options.stored;
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const ordered =
    converterOnly || model === null || options.keepOrder
      ? tensors
      : quantizeOrder(byName.keys()).map((name) => byName.get(name)!);
  const overrides = (options.tensorTypes ?? []).map(({ pattern, type }) => ({
    pattern,
    type,
    matches: compilePattern(pattern),
    used: false,
  }));
  const used = { output: false, embedding: false, leave: false };
  const important = options.importance ?? false;
  const tied = !ordered.some(({ name }) => name === 'output.weight');
  const rules =
    model === null || dataTypes[mixture.base].kind !== 'quantized'
      ? null
      : mixtureRules(mixture, {
          ...model,
          tied,
          valueTensors: ordered.filter(({ name }) => holdsValues(roleOf(name))).length,
          importance: important,
        });

  function decide({ name, shape, keep, source }: MappedTensor): Decision {
    const whole = source.kind === 'stored' && dataTypes[source.parts[0].type].kind === 'integer';
    if (dataTypes[keep].kind === 'integer' || (model === null && whole)) {
      return { type: keep, reason: 'kept: integers' };
    }
    if (options.leaveOutputTensor && name === 'output.weight') {
      used.leave = true;
      return { type: keep, reason: 'kept: --leave-output-tensor' };
    }
    const exemption = model === null ? whyNoMatrix(shape) : whyExempt(name, shape);
    if (exemption !== null) {
      return converterOnly && model !== null && keep !== 'F32'
        ? { type: mixture.base, reason: `type ${mixture.name}` }
        : { type: keep, reason: `kept: ${exemption}` };
    }

    const role = roleOf(name);
    const override = overrides.find(({ matches }) => matches.test(name));
    const named = name === PER_LAYER_EMBEDDING && override !== undefined;
    if (options.tokenEmbeddingType && role === 'token_embd' && !named) {
      used.embedding = true;
      return asked(name, shape, options.tokenEmbeddingType, '--token-embedding-type');
    }
    if (options.outputTensorType && role === 'output') {
      used.output = true;
      return asked(name, shape, options.outputTensorType, '--output-tensor-type');
    }
    if (override) {
      override.used = true;
      return fitted(name, shape, override.type, override.type, `--tensor-type ${override.pattern}`);
    }
    if (converterOnly && model !== null && keep === 'F32') {
      return { type: keep, reason: 'kept: float32 by the converter' };
    }
    if (rules === null || options.pure || mixture.uniform) {
      const reason = options.pure ? `pure ${mixture.base}` : `type ${mixture.base}`;
      return fitted(name, shape, mixture.base, mixture.base, reason);
    }
    if (options.outputTensorType && role === 'token_embd' && tied) {
      used.output = true;
      const type = options.outputTensorType;
      return fitted(name, shape, type, type, '--output-tensor-type: tied with the token embeddings');
    }
    const { wanted, type } = rules(name, shape, role);
    return fitted(name, shape, wanted, type, describe(name, wanted));
  }

  /** "mixture Q4_K_M: attn_v, layer 0 of 32", or without the part and layer where the base type is used. */
  function describe(name: string, wanted: TypeName): string {
    const label = mixture.name === mixture.base ? `type ${mixture.name}` : `mixture ${mixture.name}`;
    if (wanted === mixture.base) return label;
    const block = blockOf(name);
    const role = roleOf(name);
    const part = role === 'token_embd' && tied ? 'token_embd, tied with the output' : role;
    return `${label}: ${part}${block === null ? '' : `, layer ${block} of ${model!.layers}`}`;
  }

  const choices = ordered.map((tensor): TypedTensor => {
    const decision = decide(tensor);
    if (!important && decision.type !== tensor.keep) requireNoImportance(tensor.name, decision.type, mixture);
    return { tensor, ...decision };
  });

  const idle = [
    ...overrides.filter((o) => !o.used).map((o) => `--tensor-type ${o.pattern}=${o.type}`),
    ...(options.outputTensorType && !used.output ? [`--output-tensor-type ${options.outputTensorType}`] : []),
    ...(options.tokenEmbeddingType && !used.embedding
      ? [`--token-embedding-type ${options.tokenEmbeddingType}`]
      : []),
    ...(options.leaveOutputTensor && !used.leave ? ['--leave-output-tensor'] : []),
  ];
  return {
    tensors: choices,
    warnings: [
      ...fallbackWarnings(choices),
      ...idle.map((option) => `${option} decides the type of no tensor`),
    ],
  };
}

/** A type given to one tensor by an option that knows no fallback. */
function asked(name: string, shape: readonly number[], type: TypeName, option: string): Decision {
  if (!fits(type, shape)) {
    throw new RowLengthError(`${option} ${type} is impossible: its blocks do not divide the rows`, {
      tensor: name,
      expected: `rows that are a multiple of ${dataTypes[type].blockSize}`,
      got: `rows of ${shape[0]}`,
      advice: 'choose a type of smaller blocks, such as Q8_0 (32) or F16 (1)',
    });
  }
  return { type, reason: option };
}

/** `type`, or what llama-quantize takes in its place where the rows do not divide. */
function fitted(
  name: string,
  shape: readonly number[],
  wanted: TypeName,
  type: TypeName,
  reason: string,
): Decision {
  const final = fits(type, shape) ? type : fallbackFor(name, shape, type);
  if (final === wanted) return { type: final, reason };
  const cause = `rows of ${shape[0]} do not divide into ${dataTypes[wanted].blockSize}`;
  return { type: final, reason: `${cause} (${reason})`, fallbackFrom: wanted };
}

/** `std::regex_search` with ECMAScript syntax. UsageError for what is no expression, or would mean something else. */
function compilePattern(pattern: string): RegExp {
  if (/\[[^\]]*\[(:\w+:|\..+\.|=.+=)\]/.test(pattern)) {
    throw new UsageError(`--tensor-type: "${pattern}" uses a POSIX character class`, {
      expected: 'an ECMAScript regular expression',
      advice: 'write \\d for [[:digit:]], [a-z] for [[:lower:]]',
    });
  }
  try {
    return new RegExp(pattern, 'i');
  } catch (cause) {
    throw new UsageError(`--tensor-type: "${pattern}" is not a regular expression`, {
      got: (cause as Error).message,
      advice: 'escape characters such as ( [ * + with a backslash; a plain part of a name is a pattern too',
      cause,
    });
  }
}

/** Types that ggml cannot code at all without an importance matrix (`ggml_quantize_requires_imatrix`). */
const impossibleAlone: ReadonlySet<TypeName> = new Set(['IQ1_S', 'IQ2_XXS', 'IQ2_XS']);
/** Types that llama-quantize refuses without one, token embeddings and output aside (`tensor_requires_imatrix`). */
const uselessAlone: ReadonlySet<TypeName> = new Set(['IQ1_M', 'IQ2_S', 'IQ3_XXS', ...impossibleAlone]);

/** Whether a tensor of this type cannot be coded without importance. */
export function needsImportance(name: string, type: TypeName, mixture: Mixture): boolean {
  const exempt = name === 'output.weight' || name === 'token_embd.weight' || name === PER_LAYER_EMBEDDING;
  return (
    impossibleAlone.has(type) ||
    (!exempt && (uselessAlone.has(type) || (type === 'Q2_K' && mixture.name === 'Q2_K_S')))
  );
}

function requireNoImportance(name: string, type: TypeName, mixture: Mixture): void {
  if (!needsImportance(name, type, mixture)) return;
  throw new ImportanceRequiredError(
    `${mixture.name} needs an importance matrix: without one, ${type} is too coarse to be of use`,
    {
      tensor: name,
      expected:
        '--imatrix FILE (token embeddings and output.weight need none, ' +
        `unless they are ${[...impossibleAlone].join(', ')})`,
      advice:
        'make one by `quantize imatrix <this model> -o imatrix.gguf` and pass --imatrix imatrix.gguf (those of llama-imatrix ' +
        'do too); or let the run calibrate by --method gptq; or choose a larger type, such as Q2_K, Q3_K_S or IQ4_XS',
    },
  );
}
