import type { ActivationSource } from './activations.ts';
import type { GemmFacts } from './calibration.ts';

/** What `quantize eval` says of one model. */
export interface EvaluatedModel {
  readonly schema: 'gguf-quantize/eval';
  readonly version: 1;
  readonly evaluation: Evaluation;
  readonly run: GemmFacts & {
    readonly input: string;
    readonly base: string | null;
    readonly seconds: number;
  };
}

/** What `evaluateModel` gives. */
export interface EvaluationRun extends Evaluation, GemmFacts {}

/** How well a model predicts a text, by our own forward pass. */
export interface Evaluation {
  /** Path of the text. */
  readonly text: string;
  /** SHA-256, in hex, of the token ids of all windows as little-endian int32. */
  readonly sha256: string;
  /** Tokens in a window; the second half of each is predicted. */
  readonly context: number;
  readonly windows: number;
  /** Predicted tokens. */
  readonly tokens: number;
  /** exp of the mean negative log-likelihood. */
  readonly perplexity: number;
  /** Standard error of the perplexity. */
  readonly standardError: number;
  /** The same against another model; null without one. */
  readonly base: EvaluationBase | null;
  /** Mean bits of a weight of the model, scales included. Set with `activations`. */
  readonly weightBits?: number;
  /** The same with quantized activations, as they were asked for. */
  readonly activations?: readonly ActivationEvaluation[];
  /** Those that were asked for and mean nothing for this model, where they do for another beside it. */
  readonly notApplied?: readonly NotApplied[];
  /** The text that the ranges of static ones are from. */
  readonly activationsFrom?: ActivationSource;
  /** How far the outputs of each matrix are from the base's, where that was asked for. */
  readonly layers?: readonly LayerError[];
}

/** A quantization of activations that a model cannot be run under. */
export interface NotApplied {
  /** As the command line names it. */
  readonly scheme: string;
  /** "no matrix has ternary weights (TQ1_0, TQ2_0 or Q1_0)". */
  readonly reason: string;
}

/** How a model predicts when the inputs of its products are quantized. */
export interface ActivationEvaluation extends Pick<Evaluation, 'perplexity' | 'standardError' | 'base'> {
  /** As the command line names it: "static:8:mse". */
  readonly scheme: string;
  /** Of an activation; 16 where the scheme left those of all matrices in floats. */
  readonly bits: number;
  /** Set where it left some in floats: of so many matrices, of how many. */
  readonly floatInputs?: { readonly matrices: number; readonly of: number };
  /** Set for a BitLinear forward pass. */
  readonly operations?: Operations;
}

/**
 * Relative error ||X W^T - X' W'^T||^2 / ||X W^T||^2 of a matrix: X are the inputs that the base gives it, W the base's
 * weights, W' the model's, X' the inputs as the scheme quantizes them.
 */
export interface LayerError {
  readonly tensor: string;
  /** Null behind the last layer. */
  readonly layer: number | null;
  /** Of stacked ones; null where they are not stacked. */
  readonly expert: number | null;
  /** Type of W'. */
  readonly type: string;
  readonly rows: number;
  readonly columns: number;
  /** Inputs seen. */
  readonly inputs: number;
  /** X' = X; null where all outputs of the base are 0, or there was no input. */
  readonly weightsOnly: number | null;
  /** In the order in which the schemes were given. */
  readonly activations: readonly { readonly scheme: string; readonly error: number | null }[];
}

/** What the products of a BitLinear forward pass took, over all tokens. */
export interface Operations {
  /** Matrices of ternary weights, and those multiplied in float32 because theirs are not. */
  readonly ternaryMatrices: number;
  readonly otherMatrices: number;
  /** Of ternary matrices: int8 values added or subtracted, and those left out because the weight is 0. */
  readonly additions: number;
  readonly skippedZeros: number;
  /** By scales, and how many fewer than a float product takes. */
  readonly multiplications: number;
  readonly multiplicationsSaved: number;
  /** Of the other matrices. */
  readonly otherMultiplications: number;
}

/** The reference, and how far the model's next-token distributions are from its own. */
export interface EvaluationBase {
  readonly perplexity: number;
  /** Kullback-Leibler divergence from the base to the model, in nats, over the predicted tokens. */
  readonly divergence: {
    readonly mean: number;
    readonly standardError: number;
    readonly median: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
  };
  /** Share of predicted tokens whose most probable token is the same. */
  readonly topAgreement: number;
}
