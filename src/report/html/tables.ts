import type { ActivationRange, ActivationSource } from '../../core/activations.ts';
import { formatSignedBytes } from '../../core/units.ts';
import { formatBytes, formatCount, formatDb, formatError } from '../format.ts';
import { worstFirst } from '../rank.ts';
import type { Report, ReportedTensor } from '../report.ts';
import { WORST_TENSORS } from '../table.ts';
import { anchorOf } from './heat-map.ts';
import { html, type Markup } from './markup.ts';
import { facts, folded, table } from './page.ts';

export const mono = (text: string): Markup => html`<span class="mono">${text}</span>`;

/** "32.8 k in 128 windows of 256". */
export const tokensOf = ({
  tokens,
  windows,
  context,
}: Pick<ActivationSource['corpus'], 'tokens' | 'windows' | 'context'>): string =>
  `${formatCount(tokens)} in ${windows} windows of ${context}`;

/** The tensors with the largest relative errors. */
export function renderWorst(tensors: readonly ReportedTensor[]): Markup {
  const worst = worstFirst(
    tensors.map((tensor, index) => ({ ...tensor, index })).filter(({ quantized }) => quantized),
  );
  return table(
    'Worst tensors',
    [
      { head: 'tensor' },
      { head: 'type' },
      { head: 'bits', number: true },
      { head: 'size', number: true },
      { head: 'relative error', number: true },
      { head: 'SQNR, dB', number: true },
      { head: 'RMSE', number: true },
      { head: 'largest error', number: true },
    ],
    worst
      .slice(0, WORST_TENSORS)
      .map(({ name, index, type, bitsPerWeight, bytesAfter, metrics, histogram }) => [
        histogram ? html`<a class="mono" href="#${anchorOf(index)}">${name}</a>` : mono(name),
        type,
        bitsPerWeight.toFixed(2),
        formatBytes(bytesAfter),
        formatError(metrics.relativeError),
        formatDb(metrics),
        formatError(metrics.rmse),
        formatError(metrics.maxError.value),
      ]),
  );
}

/** Each tensor that got another type than the mixture wanted. */
export const renderFallbackTable = ({ fallbacks }: Report): Markup =>
  table(
    'Fallbacks',
    [
      { head: 'tensor' },
      { head: 'wanted' },
      { head: 'used' },
      { head: 'bits a weight', number: true },
      { head: 'size', number: true },
    ],
    fallbacks.map(({ tensor, from, to, extraBitsPerWeight, extraBytes }) => [
      mono(tensor),
      from,
      to,
      `${extraBitsPerWeight < 0 ? '' : '+'}${extraBitsPerWeight.toFixed(2)}`,
      formatSignedBytes(extraBytes),
    ]),
  );

/** The text that ranges of activations are from. */
export const factsOfRanges = ({ corpus, percentile }: ActivationSource): Markup =>
  facts([
    ['Text', corpus.corpus],
    ['Tokens', tokensOf(corpus)],
    ['Percentile', `holds ${percentile} % of the values`],
  ]);

/** Ranges of the inputs of each tensor, and the text that they are from. */
export const renderActivations = (
  ranges: readonly ActivationRange[],
  from: ActivationSource | undefined,
): Markup => html`${
  from === undefined // a report of a version that did not say it
    ? null
    : factsOfRanges(from)
}
${folded(
  `Inputs of ${ranges.length} tensors`,
  table(
    'Activation ranges',
    [
      { head: 'inputs of' },
      { head: 'absmax', number: true },
      { head: 'percentile', number: true },
      { head: 'MSE', number: true },
      { head: 'entropy', number: true },
    ],
    ranges.map(({ tensor, absmax, percentile, mse, entropy }) => [
      mono(tensor),
      ...[absmax, percentile, mse, entropy].map((value) => value.toPrecision(4)),
    ]),
  ),
)}`;
