import { QuantizeError } from '../core/errors.ts';
import { formatError, printable } from '../report/format.ts';
import { worstFirst } from '../report/rank.ts';
import type { ReportedTensor } from '../report/report.ts';
import { sqnr } from '../report/summary.ts';

/** Limits a finished run is held to, tensor by tensor. */
export interface QualityBars {
  /** Largest relative error ||W - Q||^2 / ||W||^2. */
  readonly maxError?: number | undefined;
  /** Smallest SQNR in dB. */
  readonly minSqnr?: number | undefined;
}

/** At least one tensor is worse than the user allows. The output file is kept. */
export class QualityError extends QuantizeError {
  override readonly exitCode = 3;
}

const NAMED = 10;

/**
 * Holds every quantized tensor to the bars; tensors kept as plain floats do not count.
 *
 * @throws QualityError naming the worst tensors.
 */
export function requireQuality(tensors: readonly ReportedTensor[], bars: QualityBars): void {
  const quantized = tensors.filter((tensor) => tensor.quantized);
  const missed = worstFirst(quantized.filter((tensor) => misses(tensor, bars)));
  if (missed.length === 0) return;
  const limits = [
    ...(bars.maxError === undefined ? [] : [`relative error at most ${bars.maxError}`]),
    ...(bars.minSqnr === undefined ? [] : [`SQNR at least ${bars.minSqnr} dB`]),
  ];
  const lines = missed.slice(0, NAMED).map(({ name, type, metrics }) => {
    return `  ${printable(name)} (${type}): relative error ${formatError(metrics.relativeError)}, SQNR ${sqnr(metrics)}`;
  });
  if (missed.length > NAMED) lines.push(`  and ${missed.length - NAMED} more`);
  throw new QualityError(
    `${missed.length} of ${quantized.length} quantized tensors miss${missed.length === 1 ? 'es' : ''} the quality bar, ` +
      `the worst first:\n${lines.join('\n')}`,
    {
      expected: limits.join(', '),
      advice:
        'the file is kept; use a type with more bits for these tensors (--tensor-type), or relax the bar',
    },
  );
}

function misses({ metrics }: ReportedTensor, { maxError, minSqnr }: QualityBars): boolean {
  if (metrics.mse === 0) return false; // exact: no bar is too high
  const relativeError = metrics.relativeError ?? Number.POSITIVE_INFINITY;
  const sqnrDb = metrics.sqnrDb ?? Number.NEGATIVE_INFINITY;
  return (maxError !== undefined && relativeError > maxError) || (minSqnr !== undefined && sqnrDb < minSqnr);
}
