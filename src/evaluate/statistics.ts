import type { Evaluation, EvaluationBase } from '../core/evaluation.ts';

/** Of each predicted token, in nats. */
export interface TokenFigures {
  /** Negative log-likelihood under the model. */
  readonly loss: Float64Array;
  /** Null without a base. */
  readonly base: {
    readonly loss: Float64Array;
    /** Kullback-Leibler divergence of the model from the base. */
    readonly divergence: Float64Array;
    /** Tokens whose most probable successor is the same for both. */
    readonly agreeing: number;
  } | null;
}

/** The figures of llama-perplexity: perplexity, its standard error, and with a base the distribution of the divergence. */
export function summarize({
  loss,
  base,
}: TokenFigures): Pick<Evaluation, 'tokens' | 'perplexity' | 'standardError' | 'base'> {
  const own = meanOf(loss);
  const perplexity = Math.exp(own.mean);
  return {
    tokens: loss.length,
    perplexity,
    standardError: perplexity * own.standardError,
    base: base && {
      perplexity: Math.exp(meanOf(base.loss).mean),
      divergence: distributionOf(base.divergence),
      topAgreement: base.agreeing / loss.length,
    },
  };
}

function distributionOf(values: Float64Array): EvaluationBase['divergence'] {
  const sorted = values.toSorted();
  const at = (fraction: number) => {
    const place = fraction * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  };
  const { mean, standardError } = meanOf(values);
  return {
    mean,
    standardError,
    median: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    p999: at(0.999),
    max: at(1),
  };
}

/** Mean and its standard error: sqrt((mean of squares - square of mean) / (n - 1)). 0 for a single value. */
function meanOf(values: Float64Array): { mean: number; standardError: number } {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
  return { mean, standardError: n > 1 ? Math.sqrt(variance / (n - 1)) : 0 };
}
