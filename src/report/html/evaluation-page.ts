import { basename } from 'node:path';
import type { EvaluatedModel, Evaluation, LayerError } from '../../core/evaluation.ts';
import type { RunFacts } from '../../core/result.ts';
import { percent } from '../evaluation.ts';
import { formatCount, formatError, formatSeconds } from '../format.ts';
import { errorNames, errorsOf, largestError, matrixName, meansByLayer } from '../layers.ts';
import { WORST_TENSORS } from '../table.ts';
import { renderLayerChart, renderLayerMap } from './layer-chart.ts';
import { html, type Markup } from './markup.ts';
import { card } from './overview.ts';
import { facts, folded, renderPage, section, table } from './page.ts';
import { predictionsIntro, renderPredictions } from './predictions.ts';
import { shellQuote } from './shell.ts';
import { factsOfRanges, mono } from './tables.ts';

/** What is known of the run beside its figures. */
export interface EvaluationFacts {
  /** The command line's words behind `quantize`. */
  readonly command: readonly string[];
  readonly host: RunFacts['host'];
}

/** A model, and what the reader calls it. */
interface Named extends EvaluatedModel {
  readonly name: string;
}

/** Models, one at least, evaluated on one text, as a page. Pure. */
export function renderEvaluationPage(
  models: readonly EvaluatedModel[],
  { command, host }: EvaluationFacts,
): string {
  const named = models.map((model) => ({ ...model, name: nameOf(model, models) }));
  const [{ evaluation, run }] = models;
  const title =
    named.length === 1
      ? `${named[0].name} on ${basename(evaluation.text)}`
      : `${named.length} models on ${basename(evaluation.text)}`;
  const same = haveSameTokens(models);
  const layered = named.filter(({ evaluation: { layers } }) => layers && layers.length > 0);
  const body = html`<header>
<p class="kicker">Evaluation</p>
<h1>${title}</h1>
<p class="lead">How well ${named.length === 1 ? 'the model predicts' : 'the models predict'} ${
    same
      ? html`<b>${formatCount(evaluation.tokens)}</b> tokens of a text`
      : 'a text, each in tokens of its own'
  }${run.base === null ? null : html`, and how far that is from <b>${basename(run.base)}</b>`}.</p>
${named.length === 1 ? renderCards(evaluation) : null}
</header>
${section(
  'Predictions',
  predictionsIntro(models.map((model) => model.evaluation)),
  html`${renderPredictions(named)}${
    same
      ? null
      : html`<p class="warn">The models did not predict the same tokens: their perplexities cannot be compared.</p>`
  }`,
)}
${layered.map((model) =>
  section(
    named.length === 1 ? 'Layer by layer' : `Layer by layer: ${model.name}`,
    'What becomes of the outputs of each matrix, as a share of their energy: ‖XWᵀ − X′W′ᵀ‖² / ‖XWᵀ‖². X are the inputs that the ' +
      'base gives it and W the base’s weights, W′ are the weights of this file and X′ what a scheme makes of X; ' +
      '“weights only” leaves X as it is. Of a layer the mean over its matrices.',
    renderLayers(model.evaluation.layers!),
  ),
)}
${section('Text', null, renderText(named, same))}
${section('Reproduce', null, renderReproduce(named, same, { command, host }))}`;
  return renderPage(title, body, host.version);
}

/** The name of a model's file, or its path where another has the same. */
function nameOf({ run: { input } }: EvaluatedModel, models: readonly EvaluatedModel[]): string {
  const name = basename(input);
  return models.filter(({ run }) => basename(run.input) === name).length > 1 ? input : name;
}

const renderCards = ({ perplexity, standardError, base, weightBits }: Evaluation): Markup =>
  html`<dl class="cards">
${card('Perplexity', perplexity.toFixed(3), `± ${standardError.toFixed(3)}, with float activations`)}
${
  base === null
    ? null
    : html`${card('Perplexity of the base', base.perplexity.toFixed(3), 'on the same tokens')}
${card('KL divergence', `${formatError(base.divergence.mean)} nat`, `± ${formatError(base.divergence.standardError)}`)}
${card('Same top token', percent(base.topAgreement), 'as the base')}`
}
${weightBits === undefined ? null : card('Bits per weight', weightBits.toFixed(2), 'scales included')}
</dl>`;

/** Chart and map of the layers, the worst matrices, and all of them folded. */
function renderLayers(layers: readonly LayerError[]): Markup {
  const names = errorNames(layers);
  const means = meansByLayer(layers);
  const worst = layers.toSorted((a, b) => largestError(b) - largestError(a)).slice(0, WORST_TENSORS);
  const matrices = (label: string, those: readonly LayerError[]) =>
    table(
      label,
      [{ head: 'matrix' }, { head: 'type' }, ...names.map((head) => ({ head, number: true }))],
      those.map((matrix) => [
        mono(matrixName(matrix)),
        matrix.type,
        ...errorsOf(matrix).map((error) => (error === null ? '–' : formatError(error))),
      ]),
    );
  return html`${renderLayerChart(means, names)}
${renderLayerMap(means, names)}
${
  layers.length > worst.length
    ? html`<h3>The ${worst.length} matrices of the largest error under any of them</h3>
${matrices('Matrices of the largest error', worst)}
${folded(`Every matrix: ${layers.length}`, matrices('Output errors of every matrix', layers))}`
    : html`<h3>Matrix by matrix</h3>
${matrices('Output errors of every matrix', layers)}`
}`;
}

/** Whether all models predicted the same tokens in the same windows: tokenizers may differ, and the contexts they were made for. */
const haveSameTokens = ([first, ...others]: readonly EvaluatedModel[]): boolean =>
  others.every(
    ({ evaluation: { sha256, context } }) =>
      sha256 === first.evaluation.sha256 && context === first.evaluation.context,
  );

/** A fact of the first model, which holds for all, or of each under its name. */
const eachOrAll = (
  name: string,
  models: readonly Named[],
  same: boolean,
  of: (evaluation: Evaluation) => string | Markup,
): (readonly [string, string | Markup])[] =>
  same
    ? [[name, of(models[0].evaluation)]]
    : models.map((model) => [`${name}, ${model.name}`, of(model.evaluation)]);

/** What was predicted, and where static ranges are from. */
function renderText(models: readonly Named[], same: boolean): Markup {
  const [{ evaluation, run }] = models;
  const { text, activationsFrom } = evaluation;
  return html`${facts([
    ['Text', text],
    ...eachOrAll(
      'Predicted',
      models,
      same,
      ({ tokens, windows, context }) =>
        `${formatCount(tokens)} tokens, the second halves of ${windows} windows of ${context}`,
    ),
    ...(run.base === null ? [] : [['Base', run.base] as const]),
  ])}
${
  activationsFrom === undefined
    ? null
    : html`<h3>Ranges of static activations</h3>
${factsOfRanges(activationsFrom)}`
}`;
}

/** Command, versions and hashes. */
const renderReproduce = (
  models: readonly Named[],
  same: boolean,
  { command, host }: EvaluationFacts,
): Markup => {
  const [{ evaluation, run: first }] = models;
  const { gemm, withoutBlas } = first;
  return html`<pre>${['quantize', ...command].map(shellQuote).join(' ')}</pre>
${facts([
  ['Version', `gguf-quantize ${host.version}, Node ${host.node}, ${host.platform} ${host.arch}`],
  ['Machine', `${host.processor}, ${host.cpus} processors`],
  ['Took', models.map(({ name, run }) => `${name} ${formatSeconds(run.seconds)}`).join(', ')],
  ['Matrix products', `${gemm}${withoutBlas === undefined ? '' : `; no BLAS: ${withoutBlas}`}`],
  ...eachOrAll('Tokens', models, same, ({ sha256 }) => html`SHA-256 ${mono(sha256)}`),
  ...(evaluation.activationsFrom
    ? [['Activation tokens', html`SHA-256 ${mono(evaluation.activationsFrom.corpus.sha256)}`] as const]
    : []),
])}`;
};
