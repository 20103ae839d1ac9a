import type { RangeSums } from './ranges.ts';

/**
 * Sums over a range of weights from which every error figure follows. x is the weight as float32, q what the
 * encoded block decodes to; all sums are float64.
 */
export interface ErrorSums {
  count: number;
  sumX2: number;
  sumQ2: number;
  sumXQ: number;
  /** Sum of (x - q)^2. */
  sumE2: number;
  /** Largest |x - q|, and the first element (output order) that has it. */
  maxError: number;
  maxErrorAt: number;
  /** Of weights coded over chosen ranges; null for others, and for no weights. */
  range: RangeSums | null;
}

/** Weights per partial sum. Partial sums are added in tensor order, so no figure depends on threads or chunks. */
export const SUM_RANGE = 32_768;

export const emptyErrorSums = (): ErrorSums => ({
  count: 0,
  sumX2: 0,
  sumQ2: 0,
  sumXQ: 0,
  sumE2: 0,
  maxError: 0,
  maxErrorAt: 0,
  range: null,
});

/** Adds the sums of the range that follows. */
export function addErrorSums(total: ErrorSums, next: ErrorSums): void {
  total.count += next.count;
  total.sumX2 += next.sumX2;
  total.sumQ2 += next.sumQ2;
  total.sumXQ += next.sumXQ;
  total.sumE2 += next.sumE2;
  if (next.maxError > total.maxError) {
    total.maxError = next.maxError;
    total.maxErrorAt = next.maxErrorAt;
  }
}
