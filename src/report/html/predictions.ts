import type { Evaluation } from '../../core/evaluation.ts';
import { activationNotes } from '../activations.ts';
import { percent, withError } from '../evaluation.ts';
import { formatError } from '../format.ts';
import { html, type Markup } from './markup.ts';
import { bar, table } from './page.ts';

/** What the reader has to know of the table. */
export const predictionsIntro = (compared: boolean): string =>
  'Bits W/A are those of a weight, scales included, and of an activation, the input of a product with a matrix; 16 stands for a float.' +
  (compared ? ' KL is the Kullback-Leibler divergence of the predictions from the base’s, in nat.' : '');

/** A row for each model and scheme, the model as it is first. */
export function renderPredictions(
  models: readonly { readonly name: string; readonly evaluation: Evaluation }[],
): Markup {
  const several = models.length > 1;
  const compared = models[0].evaluation.base !== null;
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
      { head: 'bits W/A', number: true },
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
        `${weightBits?.toFixed(1) ?? '–'}/${bits}`,
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
