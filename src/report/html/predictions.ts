import type { Evaluation } from '../../core/evaluation.ts';
import { activationNotes } from '../activations.ts';
import { percent, withError } from '../evaluation.ts';
import { formatError } from '../format.ts';
import { html, type Markup } from './markup.ts';
import { bar, table } from './page.ts';

/** Whether the bits of weights are known: where activations were quantized. */
const hasBits = (evaluations: readonly Evaluation[]): boolean =>
  evaluations.some(({ weightBits }) => weightBits !== undefined);

/** What the reader has to know of the table; null where it is plain. */
export function predictionsIntro(evaluations: readonly Evaluation[]): string | null {
  const sentences = [
    ...(hasBits(evaluations)
      ? [
          'Bits W/A are those of a weight, scales included, and of an activation, the input of a product with a matrix; 16 stands for a float.',
        ]
      : []),
    ...(evaluations[0].base !== null
      ? ['KL is the Kullback-Leibler divergence of the predictions from the base’s, in nat.']
      : []),
  ];
  return sentences.length === 0 ? null : sentences.join(' ');
}

/** A row for each model and scheme, the model as it is first. */
export function renderPredictions(
  models: readonly { readonly name: string; readonly evaluation: Evaluation }[],
): Markup {
  const several = models.length > 1;
  const compared = models[0].evaluation.base !== null;
  const withBits = hasBits(models.map(({ evaluation }) => evaluation));
  const rows = models.flatMap(({ name, evaluation }) => {
    const { weightBits, activations = [], notApplied = [] } = evaluation;
    return [
      ...[{ ...evaluation, scheme: 'none', bits: 16 }, ...activations].map((figures) => ({
        ...{ name, weightBits, scheme: figures.scheme, figures },
      })),
      ...notApplied.map(({ scheme }) => ({ name, weightBits, scheme, figures: null })),
    ];
  });
  const most = Math.max(
    ...rows.map(({ figures }) => figures?.base?.divergence.mean ?? 0),
    Number.MIN_VALUE, // a model and itself
  );
  const notes = models.flatMap(({ name, evaluation }) =>
    activationNotes(evaluation).map((text) => (several ? `${name}: ${text}` : text)),
  );
  return html`${table(
    'Predictions',
    [
      ...(several ? [{ head: 'model' }] : []),
      { head: 'activations' },
      ...(withBits ? [{ head: 'bits W/A', number: true }] : []),
      { head: 'perplexity', number: true },
      ...(compared
        ? [
            { head: 'KL mean', number: true },
            { head: 'of the largest' },
            { head: 'KL 99 %', number: true },
            { head: 'same top', number: true },
          ]
        : []),
    ],
    rows.map(({ name, weightBits, scheme, figures }) => {
      const names = several ? [name, scheme] : [scheme];
      if (figures === null)
        return [...names, '–', 'does not apply', ...(compared ? ['–', '', '–', '–'] : [])];
      const { bits, perplexity, standardError, base } = figures;
      return [
        ...names,
        ...(withBits ? [`${weightBits?.toFixed(1) ?? '–'}/${bits}`] : []),
        withError(perplexity, standardError, 3),
        ...(!compared || base === null
          ? []
          : [
              formatError(base.divergence.mean),
              bar(base.divergence.mean / most),
              formatError(base.divergence.p99),
              percent(base.topAgreement),
            ]),
      ];
    }),
  )}
${notes.map((text) => html`<p class="soft">${text}</p>`)}`;
}
