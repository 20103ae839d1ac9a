import type { Evaluation } from '../core/evaluation.ts';
import { formatCount, formatError, printable } from './format.ts';

/** "12.34 ± 0.21". */
export const withError = (value: number, error: number, digits: number): string =>
  `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;

export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

/** Perplexity in a line; against a base one more. */
export function renderEvaluation({
  text,
  tokens,
  perplexity,
  standardError,
  base,
}: Evaluation): readonly string[] {
  return [
    `eval   perplexity ${withError(perplexity, standardError, 3)} over ${formatCount(tokens)} tokens of ${printable(text)}` +
      (base === null ? '' : `; ${base.perplexity.toFixed(3)} before`),
    ...(base === null
      ? []
      : [
          `       KL divergence ${formatError(base.divergence.mean)} ± ${formatError(base.divergence.standardError)}, ` +
            `median ${formatError(base.divergence.median)}, 99 % ${formatError(base.divergence.p99)}; ` +
            `same top token ${percent(base.topAgreement)}`,
        ]),
  ];
}
