import type { GemmKind } from '../core/calibration.ts';
import { UsageError } from '../core/errors.ts';
import type { EvaluatedModel, Evaluation } from '../core/evaluation.ts';
import type { evaluate, schemesForFiles } from '../model-runs.ts';
import { renderEvaluation } from '../report/evaluation.ts';
import { printable } from '../report/format.ts';
import type { TableStyle } from '../report/table.ts';
import { hostFacts } from '../run-result.ts';
import { type ReportTarget, reportTarget, requireInput } from './files.ts';
import { type Io, jsonText, styles, tableStyle } from './io.ts';
import { parseSchemes } from './options.ts';
import { createProgress } from './progress.ts';
import { isPage } from './reports.ts';

/** Options of `quantize eval`, as commander hands them over. */
export interface EvalFlags {
  text: string;
  base?: string;
  context?: number;
  windows?: number;
  activations?: string[];
  stats?: string;
  layers?: boolean;
  threads?: number;
  memory?: number;
  gemm?: GemmKind;
  json?: boolean;
  report?: string;
  force?: boolean;
  /** The words of the command line, for the page. */
  command: readonly string[];
  quiet?: boolean;
}

/** What the command needs of the stages. */
export interface EvalStages {
  evaluate: typeof evaluate;
  schemesForFiles: typeof schemesForFiles;
}

/** `quantize eval FILE...`: perplexity on a text, and against a base how far the predictions moved. On standard output. */
export async function evalCommand(
  inputs: readonly string[],
  flags: EvalFlags,
  io: Io,
  stages: EvalStages,
): Promise<void> {
  const { json, report, force = false, command, quiet = false, activations, ...options } = flags;
  const { text, base: reference, stats } = options;
  for (const path of [...inputs, reference]) if (path !== undefined) requireInput(path);
  requireInput(text, '--text is a file of plain text');
  if (stats !== undefined)
    requireInput(stats, 'statistics are made by: quantize calibrate MODEL -o stats.json');
  const page = report === undefined ? null : pageTarget(report, inputs, options, force);
  const schemes = activations && parseSchemes(activations);
  const ofFiles = schemes && stages.schemesForFiles(inputs, schemes);
  const found: EvaluatedModel[] = [];
  for (const [i, input] of inputs.entries()) {
    const own = ofFiles?.[i];
    const progress = await createProgress(io, quiet);
    const started = io.now();
    try {
      const evaluated = await stages.evaluate(
        {
          ...{ input, ...options, signal: io.interruptible() },
          ...(own && { activations: own.activations }),
        },
        (event) => progress.handle(event),
      );
      const notApplied = own?.notApplied ?? [];
      const evaluation = { ...evaluated, ...(notApplied.length > 0 && { notApplied }) };
      const run = { input, base: reference ?? null, seconds: (io.now() - started) / 1000 };
      found.push({ schema: 'gguf-quantize/eval', version: 1, evaluation, run });
    } finally {
      progress.stop();
    }
  }
  if (page !== null) {
    const { renderEvaluationPage } = await import('../report/html/evaluation-page.ts');
    page.write(renderEvaluationPage(found, { command, host: hostFacts() }));
  }
  if (json) {
    io.stdout.write(jsonText(found.length === 1 ? found[0] : found));
    return;
  }
  const style = tableStyle(io.stdout, io.env);
  const { bold } = styles(style.color);
  for (const [i, { evaluation, run }] of found.entries()) {
    if (found.length > 1) io.stdout.write(`${i > 0 ? '\n' : ''}${bold(printable(run.input))}\n`);
    io.stdout.write(`${(await describeEvaluation(evaluation, style)).join('\n\n')}\n`);
  }
}

/**
 * Where the page goes, checked before any work; it replaces nothing that is read.
 *
 * @throws UsageError, ReportPathError
 */
function pageTarget(
  report: string,
  inputs: readonly string[],
  { text, base, stats }: Pick<EvalFlags, 'text' | 'base' | 'stats'>,
  force: boolean,
): ReportTarget {
  if (!isPage(report)) {
    throw new UsageError(`--report ${report} is not the name of a page`, {
      advice: 'name it .html; JSON is printed by --json',
    });
  }
  const texts = [text, stats].filter((path) => path !== undefined);
  const models = [...inputs, base].filter((path) => path !== undefined);
  const [target] = models.map((input) => reportTarget(report, { input, texts }, force));
  return target;
}

/** Tables of what was asked for, and the perplexity in a line. */
async function describeEvaluation(evaluation: Evaluation, style: TableStyle): Promise<string[]> {
  const { base, activations, layers } = evaluation;
  if (base === null && activations === undefined) return [renderEvaluation(evaluation).join('\n')];
  const [{ renderDivergence }, of] = await Promise.all([
    import('../report/table.ts'),
    import('../report/activations.ts'),
  ]);
  return [
    ...(layers && layers.length > 0 ? [of.renderLayers(layers, style)] : []),
    ...(base === null ? [] : [renderDivergence(evaluation, base, style)]),
    ...(activations === undefined ? [] : of.describeActivations(evaluation, activations, style)),
    ...renderEvaluation({ ...evaluation, base: null }),
  ];
}
