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
