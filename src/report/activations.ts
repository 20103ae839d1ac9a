import type { ActivationStatistics } from '../core/activations.ts';
import type { ActivationEvaluation, Evaluation, LayerError, NotApplied } from '../core/evaluation.ts';
import { percent, withError } from './evaluation.ts';
import { formatCount, formatError } from './format.ts';
import { errorNames, errorsOf, matrixName } from './layers.ts';
import { type Column, renderTable, type TableStyle, tensorColumn } from './table.ts';

/** Ranges of the inputs of each matrix, for 8 bits: thresholds of symmetric codes, and what the best of them loses. */
export function renderActivationRanges({ groups }: ActivationStatistics, style: TableStyle): string {
  const right = (head: string, drop?: number): Column => ({
    head,
    align: 'right',
    ...(drop !== undefined && { drop }),
  });
  const number = (value: number | undefined) => (value === undefined ? '' : value.toPrecision(4));
  return renderTable(
    [
      { ...tensorColumn, head: 'inputs of' },
      ...[right('min', 1), right('max', 2), right('percentile', 3), right('mse', 5), right('entropy', 4)],
      right('error (mse)', 6),
    ],
    groups.map(({ tensors, expert, min, max, ranges }) => {
      const of = (method: string) =>
        ranges.find((each) => each.bits === 8 && each.symmetric && each.method === method)?.range;
      const name = tensors[0].replace(/\.weight$/, '');
      const shared = tensors.length > 1 ? ` +${tensors.length - 1}` : '';
      return [
        `${name}${shared}${expert === null ? '' : ` expert ${expert}`}`,
        number(min),
        number(max),
        ...['percentile', 'mse', 'entropy'].map((method) => number(of(method)?.high)),
        formatError(of('mse')?.relativeError ?? null),
      ];
    }),
    style,
  );
}

/** A model under quantized activations: a table, and what is to be said of them. */
export const describeActivations = (
  evaluation: Evaluation,
  activations: readonly ActivationEvaluation[],
  style: TableStyle,
): string[] => [renderActivations(evaluation, activations, style), ...activationNotes(evaluation)];

/** Schemes that mean nothing for a model, those that left inputs in floats, and what BitLinear took. */
export const activationNotes = ({ activations = [], notApplied = [] }: Evaluation): string[] => [
  ...renderNotApplied(notApplied),
  ...renderFloatInputs(activations),
  ...renderOperations(activations),
];

/** A model as it is, and with quantized activations, side by side. */
function renderActivations(
  evaluation: Evaluation,
  activations: readonly ActivationEvaluation[],
  style: TableStyle,
): string {
  const rows = [{ ...evaluation, scheme: 'none', bits: 16 }, ...activations];
  return renderTable(
    [
      { head: 'activations' },
      { head: 'bits W/A', align: 'right' },
      { head: 'perplexity', align: 'right' },
      ...(evaluation.base === null
        ? []
        : ([
            { head: 'KL mean', align: 'right' },
            { head: 'KL 99 %', align: 'right', drop: 1 },
            { head: 'same top', align: 'right', drop: 2 },
          ] as const)),
    ],
    [
      ...rows.map(({ scheme, bits, perplexity, standardError, base }) => [
        scheme,
        `${evaluation.weightBits!.toFixed(1)}/${bits}`,
        withError(perplexity, standardError, 3),
        ...(base === null
          ? []
          : [
              formatError(base.divergence.mean),
              formatError(base.divergence.p99),
              percent(base.topAgreement),
            ]),
      ]),
      ...(evaluation.notApplied ?? []).map(({ scheme }) => [
        ...[scheme, '', 'does not apply'],
        ...(evaluation.base === null ? [] : ['', '', '']),
      ]),
    ],
    style,
  );
}

/** Relative output errors of each matrix: by its weights alone, and with quantized inputs. */
export function renderLayers(layers: readonly LayerError[], style: TableStyle): string {
  return renderTable(
    [
      tensorColumn,
      { head: 'type' },
      // Where there is no room, the last that were asked for are left out, but never the first, of weights only.
      ...errorNames(layers).map(
        (head, i, all): Column => ({ head, align: 'right', ...(i > 0 && { drop: all.length - i }) }),
      ),
    ],
    layers.map((matrix) => [matrixName(matrix), matrix.type, ...errorsOf(matrix).map(formatError)]),
    style,
  );
}

/** Schemes that mean nothing for a model. */
const renderNotApplied = (notApplied: readonly NotApplied[]): string[] =>
  notApplied.map(({ scheme, reason }) => `${scheme}: does not apply, as ${reason}`);

/** Schemes that left inputs in floats. */
const renderFloatInputs = (activations: readonly ActivationEvaluation[]): string[] =>
  activations.flatMap(({ scheme, floatInputs }) =>
    floatInputs === undefined
      ? []
      : [
          `${scheme}: inputs of ${floatInputs.matrices} of ${floatInputs.of} matrices, whose weights have 16 or 32 bits, ` +
            'kept as floats, as llama.cpp does',
        ],
  );

/** What a BitLinear forward pass took. */
const renderOperations = (activations: readonly ActivationEvaluation[]): string[] =>
  activations.flatMap(({ operations }) =>
    operations === undefined
      ? []
      : [
          `bitlinear: ${operations.ternaryMatrices} ternary matrices (${operations.otherMatrices} others in float32): ` +
            `${formatCount(operations.additions)} additions, ${formatCount(operations.skippedZeros)} left out as zeros, ` +
            `${formatCount(operations.multiplications)} multiplications by scales; ` +
            `${formatCount(operations.multiplicationsSaved)} multiplications saved`,
        ],
  );
