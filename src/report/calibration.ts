import type { CalibrationFacts, GemmFacts, TensorCalibration } from '../core/calibration.ts';
import { listed } from '../core/errors.ts';
import type { RunResult } from '../core/result.ts';
import { formatCount, formatError, printable } from './format.ts';

/** Output errors of all calibrated tensors together. */
export interface OutputErrors {
  /** Tensors that count: those with an error by every coding, none of them 0. */
  readonly tensors: number;
  /** Geometric means of the tensors' relative output errors. */
  readonly nearest: number;
  /** A type that has no coding under importance counts as coded without. */
  readonly importance: number;
  readonly result: number;
}

/** Inputs that a tensor should have seen for each of its columns: below, its Hessian is mostly chance. */
const TOKENS_PER_COLUMN = 4;
/** Tensors a warning names. */
const NAMED = 3;

type Calibrated = { readonly name: string; readonly columns: number; readonly facts: TensorCalibration };

/**
 * What the user should know of the calibration, one sentence a cause: too few inputs for the width of a matrix, dead
 * channels, damping that had to be raised.
 */
export function calibrationWarnings({ tensors }: Pick<RunResult, 'tensors'>): string[] {
  const calibrated = tensors.flatMap(({ tensor, calibration }): Calibrated[] =>
    calibration === undefined
      ? []
      : [{ name: tensor.name, columns: tensor.shape[0] ?? 1, facts: calibration }],
  );
  const sentence = (
    those: readonly Calibrated[],
    what: (count: string) => string,
    detail: (tensor: Calibrated) => string,
  ): string[] => {
    if (those.length === 0) return [];
    const named = those.map((tensor) => `${tensor.name} (${detail(tensor)})`);
    return [`${what(`${those.length} tensor${those.length === 1 ? '' : 's'}`)}: ${listed(named, NAMED)}`];
  };
  return [
    ...sentence(
      calibrated.filter(({ facts, columns }) => facts.tokens < TOKENS_PER_COLUMN * columns),
      (count) =>
        `${count} saw fewer than ${TOKENS_PER_COLUMN} inputs for each column, too few to tell columns apart; ` +
        'calibrate on more text (--calibration-tokens)',
      ({ facts, columns }) => `${facts.tokens} inputs for ${columns} columns`,
    ),
    ...sentence(
      calibrated.filter(({ facts }) => facts.deadChannels > 0),
      (count) => `${count} had input channels that were 0 in the whole text; their weights count for nothing`,
      ({ facts, columns }) => `${facts.deadChannels} of ${columns}`,
    ),
    ...sentence(
      calibrated.filter(({ facts }) => facts.escalations > 0),
      (count) => `the Hessian of ${count} could be factored only with more damping`,
      ({ facts }) =>
        `${facts.damping} of the mean diagonal, raised ${facts.escalations} time${facts.escalations === 1 ? '' : 's'}`,
    ),
  ];
}

/** Means over the tensors that can be compared; null where there is none. */
export function outputErrorsOf(calibrations: readonly (TensorCalibration | null)[]): OutputErrors | null {
  const errors = calibrations.flatMap((calibration) => {
    if (calibration === null) return [];
    const { nearest, importance, result } = calibration.outputError;
    return nearest !== null && Math.min(nearest, importance ?? nearest, result) > 0
      ? [{ nearest, importance: importance ?? nearest, result }]
      : [];
  });
  if (errors.length === 0) return null;
  const mean = (of: 'nearest' | 'importance' | 'result') =>
    Math.exp(errors.reduce((sum, error) => sum + Math.log(error[of]), 0) / errors.length);
  return {
    tensors: errors.length,
    nearest: mean('nearest'),
    importance: mean('importance'),
    result: mean('result'),
  };
}

/** Text and method in a line, and what the method gained in another. */
export function renderCalibration(
  facts: Omit<CalibrationFacts, keyof GemmFacts>,
  errors: OutputErrors | null,
): string[] {
  const { corpus, tokens, windows, context, method, rounding, actOrder, damping } = facts;
  const how = [rounding === 'nearest' ? 'nearest rounding' : method, ...(actOrder ? ['act-order'] : [])];
  return [
    `text   ${printable(corpus)}: ${formatCount(tokens)} tokens in ${windows} windows of ${context}; ` +
      `${how.join(', ')}, damping ${damping}`,
    ...(errors === null
      ? []
      : [
          `output error ${formatError(errors.nearest)} nearest -> ${formatError(errors.importance)} importance -> ` +
            `${formatError(errors.result)} as written (geometric means over ${errors.tensors} tensors)`,
        ]),
  ];
}
