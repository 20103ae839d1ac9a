import type { ForwardTensor } from './calibrate/forward/shape.ts';
import type { ActivationScheme, ActivationStatistics } from './core/activations.ts';
import { UsageError } from './core/errors.ts';
import type { PlannedTensor } from './core/plan.ts';
import { requirePossible, requireRanges, requireSameInputs } from './evaluate/requirements.ts';
import { readActivationStatistics } from './read/activation-statistics.ts';

/** Under what a model is evaluated too. */
export interface ActivationChoice {
  /** Quantizations of activations. */
  readonly activations?: readonly ActivationScheme[];
  /** File of `quantize calibrate`, with the ranges of static ones. */
  readonly stats?: string;
}

/**
 * Refuses statistics that no scheme reads.
 *
 * @throws UsageError
 */
export function requireStatsRead({ activations = [], stats }: ActivationChoice): void {
  if (stats === undefined || activations.some(({ kind }) => kind === 'static')) return;
  throw new UsageError('--stats holds ranges of static activations, and none were asked for', {
    expected: '--activations static with --stats',
    advice: 'pass --activations static too, or leave out --stats',
  });
}

/**
 * What a file of statistics holds for a model; null without a file.
 *
 * @throws UsageError where the statistics are not of this model or lack a range that is needed; the errors of the reader
 */
export function statisticsFor(
  tensors: readonly Pick<ForwardTensor, 'name' | 'shape'>[],
  { activations = [], stats }: ActivationChoice,
): ActivationStatistics | null {
  if (stats === undefined) return null;
  const statistics = readActivationStatistics(stats);
  requireSameInputs(statistics, stats, tensors);
  requireRanges(statistics, stats, tensors, activations);
  return statistics;
}

/**
 * Refuses, before the tensors of a plan are made, quantizations of activations that they could not be evaluated under. `path`:
 * of their file.
 *
 * @throws UsageError, and the errors of reading the statistics
 */
export function requireSchemes(
  tensors: readonly PlannedTensor[],
  path: string,
  choice: ActivationChoice,
): void {
  const statistics = statisticsFor(tensors, choice);
  const model = { path, types: tensors.map(({ type }) => type) };
  requirePossible({ model, base: null, activations: choice.activations ?? [], statistics });
}
