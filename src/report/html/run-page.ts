import { stages } from '../../core/result.ts';
import { formatBytes, formatSeconds } from '../format.ts';
import type { Report } from '../report.ts';
import { renderCalibrated } from './calibrated.ts';
import { layerGrid, renderHeatMaps } from './heat-map.ts';
import { renderHistograms } from './histogram.ts';
import { html, type Markup } from './markup.ts';
import { renderMemory, renderOverview, runName } from './overview.ts';
import { facts, renderPage, section, table } from './page.ts';
import { predictionsIntro, renderPredictions } from './predictions.ts';
import { renderRangeSection } from './ranges.ts';
import { shellQuote } from './shell.ts';
import { factsOfRanges, mono, renderActivations, renderFallbackTable, renderWorst } from './tables.ts';

/** The report of one run as a page. Pure. */
export function renderRunPage(report: Report): string {
  const { model, tensors, fallbacks, notes, warnings, activations, run } = report;
  const { evaluation } = model;
  const ranges = renderRangeSection(report);
  const drawn = tensors.some(({ histogram }) => histogram !== undefined);
  const sections = [
    ...(warnings.length + notes.length > 0
      ? [
          section(
            'What to know',
            null,
            html`${warnings.map((text) => html`<p class="warn">${text}</p>`)}${notes.map((text) => html`<p>${text}</p>`)}`,
          ),
        ]
      : []),
    ...(model.quantizedTensors > 0
      ? [
          section(
            'Layer by layer',
            `How much noise each quantized tensor got, and how many bits it was given.${drawn ? ' A figure leads to the tensor’s histogram.' : ''}`,
            renderHeatMaps(layerGrid(tensors), drawn),
          ),
          section(
            'The worst tensors',
            'By relative error: the share of a tensor’s energy that became noise.',
            renderWorst(tensors),
          ),
        ]
      : []),
    ...(ranges !== null
      ? [
          section(
            'Ranges',
            'Which weights the codes reach: a weight is clipped beyond the ends of its range by more than half a step. ' +
              'Outliers are beyond 6 times the root mean square of their tensor, the bulk is all others; ' +
              'of both the relative error.',
            ranges,
          ),
        ]
      : []),
    ...(tensors.some(({ calibration }) => calibration !== null)
      ? [
          section(
            'Calibration',
            'Output error is what the noise does to the product with the calibration text’s inputs: tr(E H Eᵀ) / tr(W H Wᵀ).',
            renderCalibrated(report),
          ),
        ]
      : []),
    ...(evaluation?.activations
      ? [
          section(
            'Quantized activations',
            predictionsIntro([evaluation]),
            html`${renderPredictions([{ name: model.fileType, evaluation }])}${
              evaluation.activationsFrom
                ? html`<h3>Ranges of static activations</h3>
${factsOfRanges(evaluation.activationsFrom)}`
                : null
            }`,
          ),
        ]
      : []),
    ...(activations
      ? [
          section(
            'Activation ranges',
            'Where the inputs of each tensor would be clipped.',
            renderActivations(activations, report.activationsFrom),
          ),
        ]
      : []),
    section('Memory for the weights', null, renderMemory(report)),
    ...(fallbacks.length > 0
      ? [
          section(
            'Fallbacks',
            'Rows of these tensors do not divide into blocks of the type that was wanted.',
            renderFallbackTable(report),
          ),
        ]
      : []),
    ...(drawn
      ? [
          section(
            'Histograms',
            'The weights of each quantized tensor, before and after.',
            renderHistograms(tensors),
          ),
        ]
      : []),
    section('Reproduce', null, renderReproduce(report)),
  ];
  return renderPage(
    `${runName(report)} as ${model.fileType}`,
    html`${renderOverview(report)}\n${sections}`,
    run.host.version,
  );
}

/** Command, versions and hashes, and how the run went. */
function renderReproduce({ run, hashes, model, activationsFrom }: Report): Markup {
  const { host } = run;
  // Of --input-scales and of --stats, which may be one text.
  const sources = [activationsFrom, model.evaluation?.activationsFrom];
  const ranged = new Set(sources.flatMap((source) => (source ? [source.corpus.sha256] : [])));
  return html`${run.command === null ? null : html`<pre>${['quantize', ...run.command].map(shellQuote).join(' ')}</pre>`}
${facts([
  [
    'Version',
    `gguf-quantize ${host.version}, Node ${host.node}, ${host.platform} ${host.arch}, ${run.kernels} kernels`,
  ],
  ['Machine', `${host.processor}, ${host.cpus} processors; ${run.threads} threads`],
  ['Started', run.startedAt],
  [
    'Took',
    `${formatSeconds(run.seconds.total)}: ${stages.map((stage) => `${stage} ${formatSeconds(run.seconds[stage])}`).join(', ')}; ${formatBytes(run.peakRssBytes)} of memory at most`,
  ],
  ['Plan', html`SHA-256 ${mono(hashes.planSha256)}`],
  ...(model.calibration
    ? [['Calibration tokens', html`SHA-256 ${mono(model.calibration.sha256)}`] as const]
    : []),
  ...[...ranged].map((sha256) => ['Activation tokens', html`SHA-256 ${mono(sha256)}`] as const),
  ...(model.evaluation
    ? [
        [
          'Evaluation',
          html`${model.evaluation.text}, tokens’ SHA-256 ${mono(model.evaluation.sha256)}`,
        ] as const,
      ]
    : []),
])}
<h3>Files</h3>
${table(
  'Files and their hashes',
  [{ head: 'file' }, { head: 'size', number: true }, { head: 'hash of' }, { head: 'SHA-256' }],
  [
    ...hashes.inputs.map(({ name, bytes, headerSha256, sha256 }) => [
      `in: ${name}`,
      formatBytes(bytes),
      headerSha256 === null ? 'file' : 'header',
      mono(headerSha256 ?? sha256 ?? ''),
    ]),
    ...hashes.outputs.flatMap(({ bytes, headerSha256, sha256 }, i) => {
      const name = hashes.outputs.length === 1 ? 'out' : `out: part ${i + 1}`;
      return [
        [name, formatBytes(bytes), 'header', mono(headerSha256)],
        ...(sha256 === null ? [] : [[name, formatBytes(bytes), 'file', mono(sha256)]]),
      ];
    }),
  ],
)}`;
}
