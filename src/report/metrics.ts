import type { ErrorSums } from '../core/error-sums.ts';

/**
 * Error figures of quantized weights Q against their source W, both as float32 values, computed in float64 from sums
 * over all weights. Where a definition divides by zero the value that keeps its meaning is taken, as noted.
 */
export interface Metrics {
  /** Mean squared error, sum (w - q)^2 / n, in squared weight units; 0 for no weights. */
  readonly mse: number;
  /** Square root of the mean squared error, in weight units. */
  readonly rmse: number;
  /** ||W - Q||^2 / ||W||^2, without unit. W = 0: 0 when Q = 0 too, else Infinity. */
  readonly relativeError: number;
  /** Signal to quantization noise, 10 log10(||W||^2 / ||W - Q||^2), in dB. Infinity when Q = W. */
  readonly sqnrDb: number;
  /** <W, Q> / (||W|| ||Q||), in [-1, 1]. 1 when Q = W, all zeros included; 0 when only one is zero. */
  readonly cosine: number;
  /** Largest |w - q|, in weight units, and the first place that has it. */
  readonly maxError: ErrorPlace;
}

/** An error and its place in a tensor in GGUF order. */
export interface ErrorPlace {
  readonly value: number;
  /** Position in the tensor's values. */
  readonly index: number;
  /** index divided by the row length; further axes count on. */
  readonly row: number;
  readonly column: number;
}

/** The figures of one tensor, whose rows hold `rowLength` weights. */
export function metricsOf(sums: ErrorSums, rowLength: number): Metrics {
  const { count, sumX2, sumQ2, sumXQ, sumE2, maxError, maxErrorAt } = sums;
  const mse = count === 0 ? 0 : sumE2 / count;
  return {
    mse,
    rmse: Math.sqrt(mse),
    relativeError: sumE2 === 0 ? 0 : sumE2 / sumX2,
    sqnrDb: sumE2 === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(sumX2 / sumE2),
    cosine: sumE2 === 0 ? 1 : cosine(sumX2, sumQ2, sumXQ),
    maxError: {
      value: maxError,
      index: maxErrorAt,
      row: Math.floor(maxErrorAt / rowLength),
      column: maxErrorAt % rowLength,
    },
  };
}

function cosine(sumX2: number, sumQ2: number, sumXQ: number): number {
  if (sumX2 === 0 || sumQ2 === 0) return 0;
  // Two roots: the product of the sums may leave float64's range. Rounding may pass 1.
  return Math.max(-1, Math.min(1, sumXQ / (Math.sqrt(sumX2) * Math.sqrt(sumQ2))));
}
