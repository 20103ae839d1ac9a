import type { OutputErrors } from '../calibration.ts';
import { percent } from '../evaluation.ts';
import { formatCount, formatError } from '../format.ts';
import type { Report } from '../report.ts';
import { html, type Markup } from './markup.ts';
import { bar, facts as factList, folded, scrolling, table } from './page.ts';
import { mono, tokensOf } from './tables.ts';

/** What the calibration was, and output errors of each tensor. */
export function renderCalibrated({ model, tensors }: Report): Markup {
  const { calibration, outputErrors } = model;
  const calibrated = tensors.flatMap(({ name, calibration }) =>
    calibration === null ? [] : [{ name, facts: calibration }],
  );
  const optional = (value: number | null) => (value === null ? '–' : formatError(value));
  return html`${
    calibration === null
      ? null
      : factList([
          ['Text', calibration.corpus],
          ['Tokens', tokensOf(calibration)],
          [
            'Codes',
            `${calibration.rounding ?? 'none'}${calibration.actOrder ? ', columns by falling diagonal' : ''}; damping ${calibration.damping}`,
          ],
        ])
  }
${outputErrors === null ? null : renderOutputErrors(outputErrors)}
${folded(
  `Every tensor: ${calibrated.length}`,
  table(
    'Output errors',
    [
      { head: 'tensor' },
      { head: 'nearest', number: true },
      { head: 'importance', number: true },
      { head: 'as written', number: true },
      { head: 'codes' },
      { head: 'inputs', number: true },
      { head: 'dead', number: true },
      { head: 'damping', number: true },
      { head: 'condition', number: true },
    ],
    calibrated.map(({ name, facts }) => [
      mono(name),
      optional(facts.outputError.nearest),
      optional(facts.outputError.importance),
      formatError(facts.outputError.result),
      facts.rounding,
      formatCount(facts.tokens),
      String(facts.deadChannels),
      `${facts.damping}${facts.escalations > 0 ? `, raised ${facts.escalations} times` : ''}`,
      optional(facts.condition),
    ]),
  ),
)}`;
}

/** What each way of coding does to the outputs, all tensors together. */
function renderOutputErrors({ tensors, nearest, importance, result }: OutputErrors): Markup {
  const rows = [
    ['nearest rounding', nearest],
    ['under importance', importance],
    ['as written', result],
  ] as const;
  const most = Math.max(nearest, importance, result);
  return scrolling(
    'Output errors of all tensors',
    html`<table class="list"><caption>Geometric means over ${tensors} tensors; as written it is ${percent(result / nearest)} of that by nearest rounding</caption>
<thead><tr><th scope="col">coding</th><th scope="col" colspan="2">relative output error</th></tr></thead>
<tbody>${rows.map(
      ([name, error], i) =>
        html`<tr${i === rows.length - 1 ? html` class="this"` : null}><th scope="row">${name}</th><td class="num">${formatError(error)}</td><td>${bar(error / most)}</td></tr>
`,
    )}</tbody></table>`,
  );
}
