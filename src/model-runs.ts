import { type ActivationChoice, requireStatsRead, statisticsFor } from './activation-choice.ts';
import { readCorpus } from './calibrate/corpus.ts';
import { type ForwardModel, modelShape } from './calibrate/forward/shape.ts';
import { openTokenizer } from './calibrate/tokenizer.ts';
import { corpusOf, factsOf, modelOf } from './calibrated-run.ts';
import { gemmFacts, openGemm } from './compute/gemm-choice.ts';
import { conduct } from './conduct/conductor.ts';
import {
  type ActivationRun,
  type ActivationScheme,
  type ActivationStatistics,
  sourceOf,
} from './core/activations.ts';
import type { CorpusChoice, ForwardChoice, ImportanceRun } from './core/calibration.ts';
import { UsageError } from './core/errors.ts';
import type { EvaluationRun } from './core/evaluation.ts';
import type { Plan } from './core/plan.ts';
import { type SchemesOfModel, schemesFor, typesOf } from './evaluate/requirements.ts';
import { planQuantization } from './planned-run.ts';
import { resolveResources } from './resources.ts';

/** Where the run of a model over a text is. */
export interface CalibrationEvent {
  readonly kind: 'calibration';
  /** From 1; more than `layers` behind the last block, at the output. */
  readonly layer: number;
  readonly layers: number;
  /** What is being done, in a word or two: "attn_q, attn_k, attn_v". */
  readonly step: string;
  /** Units of work done, and of the whole run over all layers. */
  readonly done: number;
  readonly total: number;
}

/** `quantize imatrix`. */
export interface ImportanceOptions extends CorpusChoice, ForwardChoice {
  readonly input: string;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** `quantize calibrate`. */
export interface ActivationOptions extends ImportanceOptions {
  /** Share of the values that the method `percentile` keeps in range, in percent. */
  readonly percentile?: number;
}

/** `quantize eval`. */
export interface EvaluationOptions extends ForwardChoice, ActivationChoice {
  readonly input: string;
  /** Path of the text. */
  readonly text: string;
  /** The reference. */
  readonly base?: string;
  /** Tokens in a window. */
  readonly context?: number;
  /** Windows at most, from the start of the text. */
  readonly windows?: number;
  /** Also the error of each matrix's outputs against the reference's. */
  readonly layers?: boolean;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

type Listener = (event: CalibrationEvent) => void;

/**
 * Importance of every matrix that is multiplied, over a text: sums of the squares of its inputs, by column. Without
 * `calibration` the bundled text. When the signal aborts, the promise rejects with its reason.
 *
 * @throws UsageError, and the errors of reading the model and the text and of its forward pass
 */
export async function collectImportance(
  options: ImportanceOptions,
  onEvent: Listener = () => {},
): Promise<ImportanceRun> {
  const { threads } = resolveResources(options);
  const { memory, signal } = options;
  const gemm = openGemm(options.gemm ?? 'auto');
  const plan = planOf(options.input);
  const corpus = corpusOf(plan, options, '--tokens');
  const entries = await conduct(
    { kind: 'importance', threads, memory, gemm, model: modelOf(plan), windows: corpus.windows },
    { signal, onProgress: (progress) => onEvent({ ...progress, kind: 'calibration' }) },
  );
  return { entries, corpus: factsOf(corpus, options, gemm), warnings: corpus.warnings };
}

/** Share of the values that the method `percentile` keeps in range, in percent. */
const DEFAULT_PERCENTILE = 99.99;

/**
 * Ranges of the inputs of every matrix over a text, for static quantization of activations (docs/activations.md): by every rule,
 * for 8 and 4 bits, symmetric and asymmetric. Without `calibration` the bundled text. When the signal aborts, the promise
 * rejects with its reason.
 *
 * @throws UsageError, and the errors of reading the model and the text and of its forward pass
 */
export async function collectActivations(
  options: ActivationOptions,
  onEvent: Listener = () => {},
): Promise<ActivationRun> {
  const { threads } = resolveResources(options);
  const { memory, percentile = DEFAULT_PERCENTILE, signal } = options;
  const gemm = openGemm(options.gemm ?? 'auto');
  if (!(percentile > 0 && percentile <= 100)) {
    throw new UsageError('--percentile is out of range', {
      expected: 'more than 0, up to 100',
      got: String(percentile),
    });
  }
  const plan = planOf(options.input);
  const corpus = corpusOf(plan, options, '--tokens');
  const groups = await conduct(
    {
      ...{ kind: 'activations', threads, memory, gemm, percentile },
      ...{ model: modelOf(plan), windows: corpus.windows },
    },
    { signal, onProgress: (progress) => onEvent({ ...progress, kind: 'calibration' }) },
  );
  const { gemm: _, withoutBlas: __, ...facts } = factsOf(corpus, options, gemm);
  const statistics: ActivationStatistics = { corpus: facts, percentile, groups };
  return { statistics, ...gemmFacts(gemm), warnings: corpus.warnings };
}

/**
 * Perplexity of a model on a text, and with `base` the distance of its predictions from those of that model. When the
 * signal aborts, the promise rejects with its reason.
 *
 * @throws UsageError, and the errors of reading the models and the text and of their forward passes
 */
export async function evaluate(
  options: EvaluationOptions,
  onEvent: Listener = () => {},
): Promise<EvaluationRun> {
  requireStatsRead(options);
  const plan = planOf(options.input);
  return evaluateOn(modelOf(plan), evaluationWindows(plan, options), options, onEvent);
}

/**
 * Under which of the schemes each of some models in files can be evaluated, by their headers.
 *
 * @throws UsageError for a scheme that means nothing for any of them, and the errors of reading the models
 */
export const schemesForFiles = (
  inputs: readonly string[],
  schemes: readonly ActivationScheme[],
): SchemesOfModel[] =>
  schemesFor(
    inputs.map((input) => typesOf(modelIn(input))),
    schemes,
  );

/** The same on a text that `evaluationWindows` has read, and a model that is known. */
export async function evaluateOn(
  model: ForwardModel,
  windows: readonly Int32Array[],
  options: Omit<EvaluationOptions, 'input'>,
  onEvent: Listener,
): Promise<EvaluationRun> {
  const { threads } = resolveResources(options);
  const { text, memory, signal, windows: most = Number.POSITIVE_INFINITY } = options;
  const { activations, layers } = options;
  const statistics = statisticsFor(model.tensors, options);
  const base = options.base === undefined ? null : modelIn(options.base);
  const gemm = openGemm(options.gemm ?? 'auto');
  const found = await conduct(
    {
      ...{ kind: 'evaluation', threads, memory, gemm, base, model, statistics },
      windows: windows.slice(0, most),
      ...(activations && { activations }),
      ...(layers && { layers }),
    },
    { signal, onProgress: (progress) => onEvent({ ...progress, kind: 'calibration' }) },
  );
  return {
    ...{ text, ...found },
    ...(statistics && { activationsFrom: sourceOf(statistics) }),
    ...gemmFacts(gemm),
  };
}

/**
 * All of a text, in tokens of a plan's model. Refuses a model that could not be evaluated on it, so that this is known before
 * the model is made.
 *
 * @throws the errors of modelShape, openTokenizer and readCorpus
 */
export function evaluationWindows(
  plan: Plan,
  { text, context }: Pick<EvaluationOptions, 'text' | 'context'>,
): readonly Int32Array[] {
  modelShape(modelOf(plan));
  const { metadata, checkpoint } = plan;
  const options = { sources: [text], field: null, tokens: null, seed: 0, context: context ?? null };
  return readCorpus(metadata, openTokenizer(metadata, checkpoint.path), options).windows;
}

/** A model in a file, of any kind, as a forward pass takes it. */
export const modelIn = (input: string): ForwardModel => modelOf(planOf(input));

/** A model of any kind as it is: what its tensors are called, where their values lie, what its metadata says. */
const planOf = (input: string): Plan => planQuantization({ input, type: 'F32', allowRequantize: true }).plan;
