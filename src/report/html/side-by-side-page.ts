import { formatBytes, formatError } from '../format.ts';
import {
  anyEvaluated,
  anyRanged,
  type ComparedRun,
  type Comparison,
  figuresOf,
  rangesOfRun,
} from '../side-by-side.ts';
import { html, type Markup } from './markup.ts';
import { renderPage, scrolling, section } from './page.ts';
import { logAxis, percentOf, scaleOf } from './plot.ts';

/** Runs side by side as a page: size against quality, and a table. Pure. */
export function renderSideBySidePage(comparison: Comparison, version: string): string {
  const { runs, measure, warnings } = comparison;
  const best = runs.filter((run) => run.best);
  const title = `${runs.length} runs side by side`;
  const body = html`<header>
<p class="kicker">Quantization report</p>
<h1>${title}</h1>
<p class="lead">Of ${runs.length} runs <b>${best.length}</b> ${best.length === 1 ? 'is' : 'are'} on the Pareto front: no other is as small and as good. Quality is the ${measure === 'KL divergence' ? 'KL divergence from the unquantized model, in nat' : 'relative error of the weights'}.</p>
${warnings.map((text) => html`<p class="warn">${text}</p>`)}
</header>
${section('Size against quality', 'Lower left is better. The line joins the runs on the front; numbers are those of the table.', renderPlot(comparison))}
${section('Runs', null, renderRuns(comparison))}`;
  return renderPage(title, body, version);
}

/** Runs by file size and, on a logarithmic scale, error. An error of 0 lies on the lowest line. */
function renderPlot({ runs, measure }: Comparison): Markup {
  const sizes = runs.map(({ report }) => report.model.fileBytes);
  const x = scaleOf(Math.min(...sizes), Math.max(...sizes));
  const y = logAxis(runs.map(({ error }) => error));
  const places = runs.map((run, i) => ({
    run,
    number: i + 1,
    left: x(run.report.model.fileBytes),
    bottom: y.at(run.error),
  }));
  const front = places.filter(({ run }) => run.best);
  const line = front.map(({ left, bottom }) => `${left} ${percentOf(100 - bottom)}`).join('L');
  return html`<figure>
<p class="soft">${measure}</p>
<div class="plot" role="group" aria-label="File size against ${measure}; the table below has the figures">
${y.lines}
<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><path class="front" d="M${line}"/></svg>
${places.map(
  ({ run, number, left, bottom }) =>
    html`<a class="dot${run.best ? ' best' : ''}" href="#run${number}" style="left:${left}%;bottom:${bottom}%" title="${describe(run)}" aria-label="${describe(run)}">${number}</a>
`,
)}</div>
<div class="axis" aria-hidden="true">${[...new Set([Math.min(...sizes), Math.max(...sizes)])].map((size) => html`<i style="left:${x(size)}%">${formatBytes(size)}</i>`)}<span class="middle">file size</span></div>
</figure>`;
}

const describe = ({ name, report, error }: ComparedRun): string =>
  `${name}: ${report.model.fileType}, ${formatBytes(report.model.fileBytes)}, ${formatError(error)}`;

function renderRuns(comparison: Comparison): Markup {
  const { runs } = comparison;
  const evaluated = anyEvaluated(comparison);
  const ranged = anyRanged(comparison);
  const names = ['run', 'type', 'method', ...(ranged ? ['range', 'one a'] : [])];
  const heads = [
    ...['bits a weight', 'file', 'relative error', 'SQNR'],
    ...(evaluated ? ['perplexity', 'KL divergence, nat'] : []),
  ];
  return scrolling(
    'Runs',
    html`<table class="list"><thead><tr><th scope="col" class="num">no.</th>${names.map((name) => html`<th scope="col">${name}</th>`)}${heads.map((head) => html`<th scope="col" class="num">${head}</th>`)}<th scope="col">front</th></tr></thead>
<tbody>${runs.map((run, i) => {
      const { name, report, best } = run;
      const { model } = report;
      const figures = figuresOf(run, evaluated, '–');
      const texts = [...[model.fileType, model.method], ...(ranged ? rangesOfRun(run, '–') : [])];
      return html`<tr id="run${i + 1}"><td class="num">${i + 1}</td><th scope="row">${name}</th>${texts.map((text) => html`<td>${text}</td>`)}${figures.map((figure) => html`<td class="num">${figure}</td>`)}<td>${best ? html`<span class="yes">front</span>` : null}</td></tr>
`;
    })}</tbody></table>`,
  );
}
