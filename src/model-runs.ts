import type { CorpusChoice, ForwardChoice, ImportanceRun } from './core/calibration.ts';
import { QuantizeError } from './core/errors.ts';
import type { Evaluation } from './core/evaluation.ts';

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

/** `quantize eval`. */
export interface EvaluationOptions extends ForwardChoice {
  readonly input: string;
  /** Path of the text. */
  readonly text: string;
  /** The reference. */
  readonly base?: string;
  /** Tokens in a window. */
  readonly context?: number;
  /** Windows at most, from the start of the text. */
  readonly windows?: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

type Listener = (event: CalibrationEvent) => void;

/** This version plans what needs a forward pass, and has none yet. */
export class NoEngineError extends QuantizeError {}

/** Refuses work that needs the model's forward pass. */
export const refuseForwardPass = (what: string): never => {
  throw new NoEngineError(`this version cannot ${what} yet`, {
    advice:
      'methods without calibration work: --method kquant, with --imatrix of llama-imatrix if you have one',
  });
};

/** Importance of every matrix that is multiplied, over a text. */
export async function collectImportance(
  _options: ImportanceOptions,
  _onEvent: Listener,
): Promise<ImportanceRun> {
  return refuseForwardPass('run a model over a text');
}

/** Perplexity of a model on a text, and its distance from a reference. */
export async function evaluate(_options: EvaluationOptions, _onEvent: Listener): Promise<Evaluation> {
  return refuseForwardPass('run a model over a text');
}
