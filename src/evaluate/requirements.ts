import { isTernary } from '../calibrate/forward/activations.ts';
import type { ForwardModel, ModelShape } from '../calibrate/forward/shape.ts';
import {
  type ActivationScheme,
  type ActivationStatistics,
  activationsName,
  type StaticRange,
  staticRanges,
} from '../core/activations.ts';
import { UsageError } from '../core/errors.ts';
import { storedType } from '../core/plan.ts';

interface Asked {
  readonly model: ForwardModel;
  readonly base: ForwardModel | null;
  readonly activations?: readonly ActivationScheme[];
  readonly statistics?: ActivationStatistics | null;
  readonly layers?: boolean;
}

/**
 * Refuses what cannot be calculated from what is there.
 *
 * @throws UsageError
 */
export function requirePossible({ model, base, activations = [], statistics, layers }: Asked): void {
  if (layers && base === null) {
    throw new UsageError(
      'the outputs of matrices are compared with those of another model, and there is none',
      {
        expected: '--base FILE with --layers',
        advice: 'pass the unquantized model by --base',
      },
    );
  }
  for (const scheme of activations) {
    if (scheme.kind === 'static' && !statistics) {
      throw new UsageError('static activations need ranges from a calibration text', {
        expected: `--stats FILE with --activations ${activationsName(scheme)}`,
        advice: 'make the file first: quantize calibrate MODEL -o stats.json',
      });
    }
    if (scheme.kind === 'bitlinear' && !model.tensors.some(({ source }) => isTernary(storedType(source)))) {
      throw new UsageError('BitLinear needs ternary weights', {
        file: model.path,
        expected: 'matrices of type TQ1_0, TQ2_0 or Q1_0',
        got: 'none',
        advice: 'quantize the model by --method ternary first, or choose another --activations',
      });
    }
  }
}

/** Ranges of the inputs of each matrix; null for a scheme that has none from outside. */
export const rangesFor = (
  scheme: ActivationScheme,
  statistics: ActivationStatistics | null,
): ReadonlyMap<string, StaticRange> | null =>
  scheme.kind === 'static' && statistics !== null ? staticRanges(statistics, scheme, scheme.range) : null;

/**
 * `file`: of the statistics.
 *
 * @throws UsageError where a matrix has inputs of another width than the statistics
 */
export function requireWidths(
  { groups }: ActivationStatistics,
  file: string,
  { tensors }: ForwardModel,
): void {
  const widths = new Map(tensors.map(({ name, shape }) => [name, shape[0]]));
  for (const group of groups) {
    const tensor = group.tensors.find((name) => widths.has(name) && widths.get(name) !== group.columns);
    if (tensor === undefined) continue;
    throw new UsageError('the statistics are not of this model', {
      file,
      tensor,
      expected: `inputs of ${widths.get(tensor)} values`,
      got: `inputs of ${group.columns} values`,
      advice: 'make them from this model: quantize calibrate MODEL -o stats.json',
    });
  }
}

/** @throws UsageError */
export function requireSameVocabulary(
  model: ForwardModel,
  { vocabulary }: ModelShape,
  base: ForwardModel,
  { vocabulary: expected }: ModelShape,
): void {
  if (vocabulary === expected) return;
  throw new UsageError('the model and its base have different vocabularies', {
    file: model.path,
    expected: `${expected} tokens, as ${base.path}`,
    got: `${vocabulary} tokens`,
    advice: 'compare a model with the one it was made from',
  });
}
