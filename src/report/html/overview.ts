import { basename } from 'node:path';
import { withError } from '../evaluation.ts';
import { formatBytes, formatCount, formatError } from '../format.ts';
import { rangeChoice, ruleText } from '../ranges.ts';
import type { Report } from '../report.ts';
import { sqnr } from '../summary.ts';
import { html, type Markup } from './markup.ts';
import { bar, scrolling } from './page.ts';

/** What the run is called: the model by the name of its directory or file. */
export const runName = ({ run }: Report): string => basename(run.input) || run.input;

/** What was done, in a sentence, and what it gave, in a few figures. */
export function renderOverview(report: Report): Markup {
  const { model } = report;
  const { weights, quantizedTensors, tensors, evaluation, metrics } = model;
  const under = model.importanceTensors > 0 ? `, ${model.importanceTensors} of them under importance` : '';
  const calibrated = model.calibration
    ? `, calibrated on ${formatCount(model.calibration.tokens)} tokens,`
    : '';
  const choice = rangeChoice(report.tensors);
  const ranges =
    choice === null
      ? null
      : html` with ranges <b>${ruleText(choice)}</b>, one a <b>${choice.granularity}</b>${calibrated === '' ? ',' : null}`;
  return html`<header>
<p class="kicker">Quantization report</p>
<h1>${runName(report)} as ${model.fileType}</h1>
<p class="lead"><b>${model.method}</b>${ranges}${calibrated} coded ${quantizedTensors} of ${tensors} tensors onto coarser grids${under}: the ${formatCount(weights)} weights take <b>${formatBytes(model.bytesAfter)}</b> instead of ${formatBytes(model.bytesBefore)}, ${metrics.mse === 0 ? html`and are <b>exact</b>` : html`with noise <b>${sqnr(metrics)} below them</b>`}.</p>
${model.notRunnableReason === null ? null : html`<p class="warn">llama.cpp cannot run this file: ${model.notRunnableReason}</p>`}
<dl class="cards">
${card('File', formatBytes(model.fileBytes), `${model.compressionRatio.toFixed(2)} times smaller than its input`)}
${card('Bits per weight', model.bitsPerWeight.toFixed(2), 'scales included')}
${card('Signal to noise', sqnr(metrics), html`relative error <span class="num">${formatError(metrics.relativeError)}</span>`)}
${card('Largest error', formatError(metrics.maxError.value), `in ${metrics.maxError.tensor}`)}
${
  evaluation === null
    ? null
    : card(
        'Perplexity',
        withError(evaluation.perplexity, evaluation.standardError, 3),
        evaluation.base === null ? 'of this file' : `${evaluation.base.perplexity.toFixed(3)} before`,
      )
}
${
  evaluation?.base
    ? card(
        'KL divergence',
        `${formatError(evaluation.base.divergence.mean)} nat`,
        `same top token in ${(100 * evaluation.base.topAgreement).toFixed(1)} %`,
      )
    : null
}
</dl>
</header>`;
}

/** A figure that stands out, with its unit and what it is about. */
export function card(name: string, value: string, note: string | Markup): Markup {
  const [number, ...unit] = value.split(' ');
  return html`<div class="card"><dt>${name}</dt><dd class="big">${number}${unit.length > 0 ? html` <small>${unit.join(' ')}</small>` : null}</dd><dd class="note">${note}</dd></div>`;
}

/** Bytes of the weights in plain formats, and in this file. */
export function renderMemory({ model }: Report): Markup {
  const { weights } = model;
  const rows = [
    ['FP32', 32, 4 * weights],
    ['FP16', 16, 2 * weights],
    ['BF16', 16, 2 * weights],
    ['INT8', 8, weights],
    ['this file', model.bitsPerWeight, model.bytesAfter],
  ] as const;
  const most = Math.max(...rows.map(([, , bytes]) => bytes), 1);
  return scrolling(
    'Memory for the weights',
    html`<table class="list"><thead><tr><th scope="col">format</th><th scope="col" class="num">bits a weight</th><th scope="col" class="num">size</th><th scope="col" colspan="2">share of FP32</th></tr></thead>
<tbody>${rows.map(
      (
        [name, bits, bytes],
        i,
      ) => html`<tr${i === rows.length - 1 ? html` class="this"` : null}><th scope="row">${name}</th><td class="num">${bits.toFixed(2)}</td><td class="num">${formatBytes(bytes)}</td><td class="num">${((100 * bytes) / (4 * weights || 1)).toFixed(1)} %</td><td>${bar(bytes / most)}</td></tr>
`,
    )}</tbody></table>`,
  );
}
