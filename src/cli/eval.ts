import { parseActivations } from '../core/activations.ts';
import type { GemmKind } from '../core/calibration.ts';
import type { Evaluation } from '../core/evaluation.ts';
import type { evaluate } from '../model-runs.ts';
import { renderEvaluation } from '../report/evaluation.ts';
import type { TableStyle } from '../report/table.ts';
import { requireInput } from './files.ts';
import { type Io, jsonText, tableStyle } from './io.ts';
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
  quiet?: boolean;
}

/** `quantize eval FILE`: perplexity on a text, and against a base how far the predictions moved. On standard output. */
export async function evalCommand(
  input: string,
  flags: EvalFlags,
  io: Io,
  evaluateModel: typeof evaluate,
): Promise<void> {
  const { json, quiet = false, activations, ...options } = flags;
  const { text, base: reference, stats } = options;
  for (const path of [input, text, reference, stats]) if (path !== undefined) requireInput(path);
  const schemes = activations?.map(parseActivations).filter(({ kind }) => kind !== 'none');
  const progress = await createProgress(io, quiet);
  const started = io.now();
  let evaluation: Evaluation;
  try {
    evaluation = await evaluateModel(
      { input, ...options, ...(schemes && { activations: schemes }), signal: io.interruptible() },
      (event) => progress.handle(event),
    );
  } finally {
    progress.stop();
  }
  if (json) {
    const seconds = (io.now() - started) / 1000;
    const run = { input, base: options.base ?? null, seconds };
    io.stdout.write(jsonText({ schema: 'gguf-quantize/eval', version: 1, evaluation, run }));
    return;
  }
  io.stdout.write(`${(await describeEvaluation(evaluation, tableStyle(io.stdout, io.env))).join('\n\n')}\n`);
}

/** Tables of what was asked for, and the perplexity in a line. */
async function describeEvaluation(evaluation: Evaluation, style: TableStyle): Promise<string[]> {
  const { base, activations, layers } = evaluation;
  if (base === null && activations === undefined) return [renderEvaluation(evaluation).join('\n')];
  const [{ renderDivergence }, { renderActivations, renderLayers, renderOperations }] = await Promise.all([
    import('../report/table.ts'),
    import('../report/activations.ts'),
  ]);
  return [
    ...(layers && layers.length > 0 ? [renderLayers(layers, style)] : []),
    ...(base === null ? [] : [renderDivergence(evaluation, base, style)]),
    ...(activations === undefined
      ? []
      : [renderActivations(evaluation, activations, style), ...renderOperations(activations)]),
    ...renderEvaluation({ ...evaluation, base: null }),
  ];
}
