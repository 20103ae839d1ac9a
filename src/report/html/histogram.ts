import type { Distribution, Histogram } from '../../core/histogram.ts';
import { codesOf, gridOf, isRangedType } from '../../core/ranges.ts';
import { formatCount, formatDb, formatWeight } from '../format.ts';
import type { ReportedTensor } from '../report.ts';
import { anchorOf, type Placed } from './heat-map.ts';
import { html, Markup } from './markup.ts';

/** Units from the bottom to the top of a picture, in the SVG's own coordinates; a bin is one unit wide. */
const HEIGHT = 100;
/** Length of the marks of code points, below the bottom. */
const MARK = 7;
/** Code points of a whole grid that are drawn at most: more would be a bar. */
const MOST_POINTS = 40;

/** The histogram of each tensor that has one, folded. */
export function renderHistograms(tensors: readonly ReportedTensor[]): Markup {
  const placed = tensors.map((tensor, index) => ({ tensor, index }));
  return html`<ul class="keys" aria-label="legend">
<li>${key('b', 'M0 12V3H22V12')}before</li>
<li>${key('a', 'M0 10V4H11V8H22')}after</li>
<li>${key('t', 'M11 0V12')}smallest and largest decoded value</li>
<li>${key('g', 'M4 2V10M11 2V10M18 2V10')}code points</li>
</ul>
${placed.flatMap((each) => (each.tensor.histogram ? [renderDetails(each, each.tensor.histogram)] : []))}`;
}

const key = (name: string, path: string): Markup =>
  html`<svg viewBox="0 0 22 12" aria-hidden="true"><path class="${name}" d="${path}"/></svg>`;

const renderDetails = ({ tensor, index }: Placed, histogram: Histogram): Markup => html`<details>
<summary><span class="name mono">${tensor.name}</span><span>${tensor.type}</span><span>${formatDb(tensor.metrics)} dB</span></summary>
${renderHistogram(histogram, tensor, anchorOf(index))}
</details>
`;

/**
 * One picture: the weights before as an area, after as a line, counts on a logarithmic scale. Dashed lines are the
 * smallest and the largest decoded value, which is where the coding clips; short marks the code points: of a tensor with
 * one range all that lie in the picture, where they are few, else those that a group of weights with one scale takes.
 */
function renderHistogram(histogram: Histogram, tensor: ReportedTensor, anchor: string): Markup {
  const { binWidth, first, before, after, counted, group } = histogram;
  const bins = before.counts.length;
  const most = Math.max(...before.counts, ...after.counts, 2);
  const place = (value: number) => value / binWidth - first;
  const inside = (value: number) => place(value) >= 0 && place(value) <= bins;
  const marks = (values: readonly number[], top: number, length: number) =>
    values
      .filter(inside)
      .map((value) => `M${round(place(value))} ${top}v${length}`)
      .join('');
  const grid = gridPoints(tensor);
  const whole = grid !== null && grid.filter(inside).length <= MOST_POINTS;
  const taken = `${group.values.length} values taken by the ${group.weights} weights from ${group.start} on`;
  const points =
    grid === null
      ? `${taken}, which share one scale`
      : whole
        ? `all ${grid.length} of the range that the whole tensor shares`
        : `${taken}, of ${grid.length} of the range that the whole tensor shares`;
  const share = counted === tensor.weights ? '' : `, counted in ${formatCount(counted)} of them`;
  const name = `Histogram of the ${formatCount(tensor.weights)} weights of ${tensor.name}, before and after`;
  return html`<figure id="${anchor}">
<svg class="hist" viewBox="0 0 ${bins} ${HEIGHT + MARK}" preserveAspectRatio="none" role="img" aria-label="${name}">
<path class="x" d="M0 ${HEIGHT}h${bins}M${-first} 0v${HEIGHT}"/>
<path class="b" d="${new Markup(steps(before.counts, most, true))}"/>
<path class="a" d="${new Markup(steps(after.counts, most, false))}"/>
<path class="t" d="${marks([after.min, after.max], 0, HEIGHT)}"/>
<path class="g" d="${marks(whole ? grid : group.values, HEIGHT, MARK)}"/>
</svg>
<div class="axis" aria-hidden="true"><span>${formatWeight(first * binWidth)}</span><i style="left:${round((-100 * first) / bins)}%">0</i><span>${formatWeight((first + bins) * binWidth)}</span></div>
<figcaption>${formatCount(tensor.weights)} weights${share}, in bins of ${formatWeight(binWidth)}; height is the logarithm of the count, up to ${formatCount(most)}. Before: ${extent(before)}. After: ${extent(after)}; nothing decodes beyond. Code points: ${points}.</figcaption>
</figure>`;
}

/** What the codes of a tensor with one range stand for, from its low end to its high end; null for any other tensor. */
function gridPoints({ type, ranges }: ReportedTensor): number[] | null {
  if (ranges?.granularity !== 'tensor' || !isRangedType(type)) return null;
  const [low, high] = [ranges.low.least, ranges.high.most];
  const steps = codesOf(gridOf(type, ranges.symmetry)) - 1;
  return Array.from({ length: steps + 1 }, (_, i) => low + (i / steps) * (high - low));
}

/** A line of steps over the bins, one unit a bin; closed at the bottom for an area. */
function steps(counts: readonly number[], most: number, closed: boolean): string {
  const heightOf = (count: number) => Math.round((HEIGHT * Math.log1p(count)) / Math.log1p(most));
  let path = closed ? `M0 ${HEIGHT}` : `M0 ${HEIGHT - heightOf(counts[0])}`;
  let height = closed ? 0 : heightOf(counts[0]);
  let run = 0;
  for (const count of counts) {
    const next = heightOf(count);
    if (next !== height) {
      if (run > 0) path += `h${run}`;
      path += `v${height - next}`;
      [height, run] = [next, 0];
    }
    run++;
  }
  return `${path}h${run}${closed ? `V${HEIGHT}z` : ''}`;
}

/** "-0.213 to 0.198, 3 of them left of the picture". */
function extent({ min, max, below, above }: Distribution): string {
  const beyond = [
    ...(below > 0 ? [`${formatCount(below)} left`] : []),
    ...(above > 0 ? [`${formatCount(above)} right`] : []),
  ];
  return `${formatWeight(min)} to ${formatWeight(max)}${beyond.length > 0 ? `, ${beyond.join(' and ')} of the picture` : ''}`;
}

const round = (value: number): number => Math.round(100 * value) / 100;
