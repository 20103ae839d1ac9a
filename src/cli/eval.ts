import type { GemmKind } from '../core/calibration.ts';
import { UsageError } from '../core/errors.ts';
import type { EvaluatedModel, Evaluation } from '../core/evaluation.ts';
import type { SchemesOfModel } from '../evaluate/requirements.ts';
import type { evaluate, schemesForFiles } from '../model-runs.ts';
import { renderEvaluation } from '../report/evaluation.ts';
import { printable } from '../report/format.ts';
import type { TableStyle } from '../report/table.ts';
import { hostFacts } from '../run-result.ts';
import { isPage, type ReportTarget, reportTarget, requireInput } from './files.ts';
import { type Io, jsonText, styles, tableStyle } from './io.ts';
import { parseSchemes } from './options.ts';
import { createProgress } from './progress.ts';

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
  const { json = false, report, force = false, command, quiet = false, activations, ...options } = flags;
  const { text, base: reference, stats } = options;
  for (const path of [...inputs, reference]) if (path !== undefined) requireInput(path);
  requireInput(text, '--text is a file of plain text');
  if (stats !== undefined)
    requireInput(stats, 'statistics are made by: quantize calibrate MODEL -o stats.json');
  const page = report === undefined ? null : pageTarget(report, inputs, options, force);
  const schemes = activations && parseSchemes(activations);
  const ofFiles = schemes && stages.schemesForFiles(inputs, schemes);
  const found: EvaluatedModel[] = [];
  try {
    for (const [i, input] of inputs.entries()) found.push(await evaluateOne(input, ofFiles?.[i]));
  } finally {
    // What there is when one of several fails, too.
    if (found.length > 0) await printModels(found, inputs.length > 1, json, io);
  }
  if (page === null) return;
  const { renderEvaluationPage } = await import('../report/html/evaluation-page.ts');
  page.write(renderEvaluationPage(found, { command, host: hostFacts() }));

  async function evaluateOne(input: string, own: SchemesOfModel | undefined): Promise<EvaluatedModel> {
    const progress = await createProgress(io, quiet);
    const started = io.now();
    try {
      const { gemm, withoutBlas, ...evaluated } = await stages.evaluate(
        {
          ...{ input, ...options, signal: io.interruptible() },
          ...(own && { activations: own.activations }),
        },
        (event) => progress.handle(event),
      );
      const notApplied = own?.notApplied ?? [];
      const evaluation = { ...evaluated, ...(notApplied.length > 0 && { notApplied }) };
      const run = {
        ...{ input, base: reference ?? null, seconds: (io.now() - started) / 1000, gemm },
        ...(withoutBlas !== undefined && { withoutBlas }),
      };
      return { schema: 'gguf-quantize/eval', version: 1, evaluation, run };
    } finally {
      progress.stop();
    }
  }
}

/** Prints what was found, of several models as a list. */
async function printModels(
  found: readonly EvaluatedModel[],
  several: boolean,
  json: boolean,
  io: Io,
): Promise<void> {
  if (json) {
    io.stdout.write(jsonText(several ? found : found[0]));
    return;
  }
  const style = tableStyle(io.stdout, io.env);
  const { bold } = styles(style.color);
  for (const [i, { evaluation, run }] of found.entries()) {
    if (several) io.stdout.write(`${i > 0 ? '\n' : ''}${bold(printable(run.input))}\n`);
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
  const read = { base, statistics: stats === undefined ? [] : [stats], texts: [text] };
  const [target] = inputs.map((input) => reportTarget(report, { input, ...read }, force));
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
