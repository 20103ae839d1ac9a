import { isTernary } from '../calibrate/forward/activations.ts';
import type { ForwardModel, ForwardTensor, ModelShape } from '../calibrate/forward/shape.ts';
import { multipliedMatrices } from '../calibrate/forward/tensors.ts';
import {
  type ActivationScheme,
  type ActivationStatistics,
  activationsName,
  inputKey,
  type StaticRange,
  staticRanges,
} from '../core/activations.ts';
import { listed, UsageError } from '../core/errors.ts';
import type { NotApplied } from '../core/evaluation.ts';
import { storedType } from '../core/plan.ts';
import type { TypeName } from '../core/types.ts';

/** A model by its file, and the types of its tensors. */
export interface ModelTypes {
  readonly path: string;
  readonly types: readonly TypeName[];
}

/** The types that a model has. */
export const typesOf = ({ path, tensors }: ForwardModel): ModelTypes => ({
  path,
  types: tensors.map(({ source }) => storedType(source)),
});

interface Asked {
  readonly model: ModelTypes;
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
  }
  schemesFor([model], activations);
}

/** The schemes that a model can be run under, and the others. */
export interface SchemesOfModel {
  readonly activations: readonly ActivationScheme[];
  readonly notApplied: readonly NotApplied[];
}

/**
 * Which of the schemes each of some models can be run under, in their order.
 *
 * @throws UsageError for a scheme that means nothing for any of them
 */
export function schemesFor(
  models: readonly ModelTypes[],
  schemes: readonly ActivationScheme[],
): SchemesOfModel[] {
  for (const scheme of schemes) {
    if (models.some((model) => whyNot(scheme, model) === null)) continue;
    throw new UsageError('BitLinear needs ternary weights', {
      file: listed(
        models.map(({ path }) => path),
        3,
      ),
      expected: `matrices of type ${TERNARY}`,
      got: 'none',
      advice: 'quantize the model by --method ternary first, or choose another --activations',
    });
  }
  return models.map((model) => ({
    activations: schemes.filter((scheme) => whyNot(scheme, model) === null),
    notApplied: schemes.flatMap((scheme) => {
      const reason = whyNot(scheme, model);
      return reason === null ? [] : [{ scheme: activationsName(scheme), reason }];
    }),
  }));
}

/** Types of ternary weights, for people: `isTernary`. */
const TERNARY = 'TQ1_0, TQ2_0 or Q1_0';

/** Why a scheme means nothing for a model; null where it means something. */
const whyNot = ({ kind }: ActivationScheme, { types }: ModelTypes): string | null =>
  kind !== 'bitlinear' || types.some(isTernary) ? null : `no matrix has ternary weights (${TERNARY})`;

/** Ranges of the inputs of each matrix; null for a scheme that has none from outside. */
export const rangesFor = (
  scheme: ActivationScheme,
  statistics: ActivationStatistics | null,
): ReadonlyMap<string, StaticRange> | null =>
  scheme.kind === 'static' && statistics !== null ? staticRanges(statistics, scheme, scheme.range) : null;

const FROM_THIS_MODEL = 'make them from this model: quantize calibrate MODEL -o stats.json';

/**
 * `file`: of the statistics.
 *
 * @throws UsageError where they name a matrix that the model does not have, or that has inputs of another width
 */
export function requireSameInputs(
  { groups }: ActivationStatistics,
  file: string,
  tensors: readonly Pick<ForwardTensor, 'name' | 'shape'>[],
): void {
  const widths = new Map(tensors.map(({ name, shape }) => [name, shape[0]]));
  for (const group of groups) {
    const tensor = group.tensors.find((name) => widths.get(name) !== group.columns);
    if (tensor === undefined) continue;
    const width = widths.get(tensor);
    throw new UsageError('the statistics are not of this model', {
      file,
      tensor,
      expected: width === undefined ? 'a matrix of the model' : `inputs of ${width} values`,
      got: width === undefined ? 'none of this name' : `inputs of ${group.columns} values`,
      advice: FROM_THIS_MODEL,
    });
  }
}

/**
 * `file`: of the statistics. Of stacked experts one with a range is enough: others may see no input of the evaluation either.
 *
 * @throws UsageError where they have no range for a matrix and a static scheme
 */
export function requireRanges(
  statistics: ActivationStatistics,
  file: string,
  tensors: readonly Pick<ForwardTensor, 'name'>[],
  schemes: readonly ActivationScheme[],
): void {
  for (const scheme of schemes) {
    const ranges = rangesFor(scheme, statistics);
    if (ranges === null) continue;
    const ranged = new Set(
      statistics.groups.flatMap(({ tensors, expert }) =>
        tensors.filter((tensor) => ranges.has(inputKey(tensor, expert))),
      ),
    );
    const tensor = multipliedMatrices(tensors).find((name) => !ranged.has(name));
    if (tensor === undefined) continue;
    throw new UsageError('the statistics have no range for the inputs of a matrix', {
      file,
      tensor,
      expected: `a range for ${activationsName(scheme)}`,
      got: 'none',
      advice: FROM_THIS_MODEL,
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
