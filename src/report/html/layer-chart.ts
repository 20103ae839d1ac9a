import { formatError } from '../format.ts';
import type { LayerMeans } from '../layers.ts';
import { breakable } from './heat-map.ts';
import { html, type Markup } from './markup.ts';
import { scrolling } from './page.ts';
import { logAxis, percentOf, scaleOf } from './plot.ts';
import { CLASSES, classOf, colorClass } from './scale.ts';

/** Hues of lines, and dashes: what the first scheme has, weights only, stands apart in ink. */
const HUES = 3;
const DASHES = 4;
/** Layers named under the picture, at most. */
const NAMED = 12;

/** Classes of a scheme's line: its hue, and how it is dashed, so that it is known without its colour. */
const lineClass = (scheme: number): string =>
  scheme === 0
    ? 'line hue0'
    : `line hue${1 + ((scheme - 1) % HUES)} dash${Math.floor((scheme - 1) / HUES) % DASHES}`;

/** Errors by layer, a line for each scheme, on a logarithmic scale. `names`: of the schemes. */
export function renderLayerChart(means: readonly LayerMeans[], names: readonly string[]): Markup {
  const x = scaleOf(0, means.length - 1);
  const known = means.flatMap(({ errors }) => errors.filter((error) => error !== null));
  const y = logAxis(known);
  const every = Math.ceil(means.length / NAMED);
  const labelled = means
    .map(({ layer }, i) => ({ layer, i }))
    .filter(({ i }) => i === means.length - 1 || (i % every === 0 && means.length - 1 - i >= every));
  return html`<figure>
<p class="soft">mean relative output error${known.includes(0) ? '; 0 lies on the lowest line' : null}</p>
<div class="plot" role="img" aria-label="Relative output error of each layer, a line for each of: ${names.join(', ')}; the table below has the figures">
${y.lines}
<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">${names.map(
    (_, scheme) =>
      html`<path class="${lineClass(scheme)}" d="${pathOf(
        means.map(({ errors }, i) => {
          const error = errors[scheme];
          return error === null ? null : ([x(i), percentOf(100 - y.at(error))] as const);
        }),
      )}"/>
`,
  )}</svg>
</div>
<div class="axis" aria-hidden="true">${labelled.map(({ layer, i }) => html`<i style="left:${x(i)}%">${layer}</i>`)}<span>${'\u00a0'}</span></div>
<p class="soft">layer</p>
<ul class="keys" aria-label="legend">${names.map(
    (name, scheme) =>
      html`<li><svg viewBox="0 0 22 12" aria-hidden="true"><path class="${lineClass(scheme)}" d="M0 6H22"/></svg>${name}</li>
`,
  )}</ul>
</figure>`;
}

/** A line through points; broken where there is none, a dot where both neighbours of one are missing. */
function pathOf(points: readonly (readonly [x: number, y: number] | null)[]): string {
  let path = '';
  points.forEach((point, i) => {
    if (point === null) return;
    const joined = i > 0 && points[i - 1] !== null;
    path += `${joined ? 'L' : 'M'}${point[0]} ${point[1]}${joined || points[i + 1] ? '' : 'h0'}`;
  });
  return path;
}

/** The same figures as a map, layer by scheme. */
export function renderLayerMap(means: readonly LayerMeans[], names: readonly string[]): Markup {
  const known = means.flatMap(({ errors }) => errors.filter((error) => error !== null && error > 0));
  const logs = known.map((error) => Math.log(error!));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const level = (error: number) => (error === 0 ? 0 : classOf(Math.log(error), low, high));
  const bound = (i: number) => formatError(Math.exp(low + (i * (high - low)) / CLASSES));
  return html`${scrolling(
    'Mean relative output error, layer by scheme',
    html`<table class="map"><caption>Mean relative output error: deep is much</caption>
<thead><tr><th scope="col">layer</th>${names.map((name) => html`<th scope="col">${breakable(name)}</th>`)}<th scope="col">matrices</th></tr></thead>
<tbody>${means.map(
      ({ layer, matrices, errors }) =>
        html`<tr><th scope="row">${layer}</th>${errors.map((error, i) =>
          error === null
            ? html`<td>–</td>`
            : html`<td class="${colorClass('noise', level(error))}" title="layer ${layer}, ${names[i]}"><span>${formatError(error)}</span></td>`,
        )}<td>${matrices}</td></tr>
`,
    )}</tbody></table>`,
  )}
${
  high > low
    ? html`<ul class="legend" aria-label="legend">${Array.from(
        { length: CLASSES },
        (_, i) => html`<li class="${colorClass('noise', i)}">${bound(i)} to ${bound(i + 1)}</li>`,
      )}</ul>`
    : null
}`;
}
