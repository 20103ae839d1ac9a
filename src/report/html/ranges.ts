import { formatCount, formatError, formatShare, formatWeight } from '../format.ts';
import {
  type ReportedModelRanges,
  type ReportedPart,
  type ReportedTensorRanges,
  rangeChoice,
  ruleText,
} from '../ranges.ts';
import { worstFirst } from '../rank.ts';
import type { Report, ReportedTensor } from '../report.ts';
import { WORST_TENSORS } from '../table.ts';
import { html, type Markup } from './markup.ts';
import { type Column, facts, folded, table } from './page.ts';
import { mono } from './tables.ts';

/** A tensor whose ranges were chosen. */
type RangedTensor = ReportedTensor & { readonly ranges: ReportedTensorRanges };

/** What the chosen ranges came to, of the model and of each tensor; null where none were chosen. */
export function renderRangeSection({ model, tensors }: Report): Markup | null {
  const ranged = tensors.filter((tensor): tensor is RangedTensor => Boolean(tensor.ranges));
  const choice = rangeChoice(ranged);
  if (choice === null || !model.ranges) return null;
  const many = ranged.length > WORST_TENSORS;
  return html`${renderModel(model.ranges, choice, model.quantizedTensors)}
<h3>${many ? `The ${WORST_TENSORS} tensors of the largest relative error` : 'Tensor by tensor'}</h3>
${renderTable('Ranges', worstFirst(ranged).slice(0, WORST_TENSORS))}
${many ? folded(`Every tensor: ${ranged.length}`, renderTable('Ranges of every tensor', ranged)) : null}`;
}

function renderModel(
  { tensors, weights, clipped, zeros, bulk, outliers }: ReportedModelRanges,
  choice: ReportedTensorRanges,
  quantized: number,
): Markup {
  return facts([
    ['Chosen', `${ruleText(choice)}, one a ${choice.granularity}`],
    ['Of', `${formatCount(weights)} weights in ${tensors} of ${quantized} quantized tensors`],
    ['Clipped', formatShare(clipped)],
    ['Became 0', formatShare(zeros)],
    ['Bulk', `relative error ${formatError(bulk.relativeError)}`],
    [
      'Outliers',
      outliers.weights === 0
        ? 'none'
        : `relative error ${formatError(outliers.relativeError)} of ${formatCount(outliers.weights)} weights`,
    ],
  ]);
}

const columns: readonly Column[] = [
  { head: 'tensor' },
  { head: 'rule' },
  { head: 'one a' },
  { head: 'low end', number: true },
  { head: 'high end', number: true },
  { head: 'clipped', number: true },
  { head: 'became 0', number: true },
  { head: 'bulk', number: true },
  { head: 'outliers', number: true },
];

const renderTable = (label: string, tensors: readonly RangedTensor[]): Markup =>
  table(
    label,
    columns,
    tensors.map(({ name, ranges }) => [
      mono(name),
      ruleText(ranges),
      ranges.granularity,
      ends(ranges.low),
      ends(ranges.high),
      formatShare(ranges.clipped),
      formatShare(ranges.zeros),
      errorOf(ranges.bulk),
      errorOf(ranges.outliers),
    ]),
  );

/** "-0.213", or the extent of what differs from range to range: "-0.213 to -0.108". */
const ends = ({ least, most }: ReportedTensorRanges['low']): string =>
  least === most ? formatWeight(least) : `${formatWeight(least)} to ${formatWeight(most)}`;

/** A dash where there are no such weights. */
const errorOf = ({ weights, relativeError }: ReportedPart): string =>
  weights === 0 ? '–' : formatError(relativeError);
