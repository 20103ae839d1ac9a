import type { GemmKind } from '../core/calibration.ts';
import type { Evaluation } from '../core/evaluation.ts';
import type { evaluate } from '../model-runs.ts';
import { renderEvaluation } from '../report/evaluation.ts';
import { requireInput } from './files.ts';
import { type Io, jsonText, tableStyle } from './io.ts';
import { createProgress } from './progress.ts';

/** Options of `quantize eval`, as commander hands them over. */
export interface EvalFlags {
  text: string;
  base?: string;
  context?: number;
  windows?: number;
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
  const { json, quiet = false, ...options } = flags;
  for (const path of [input, options.text, ...(options.base === undefined ? [] : [options.base])]) {
    requireInput(path);
  }
  const progress = await createProgress(io, quiet);
  const started = io.now();
  let evaluation: Evaluation;
  try {
    evaluation = await evaluateModel({ input, ...options, signal: io.interruptible() }, (event) =>
      progress.handle(event),
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
  const { base } = evaluation;
  if (base === null) {
    io.stdout.write(`${renderEvaluation(evaluation).join('\n')}\n`);
    return;
  }
  const { renderDivergence } = await import('../report/table.ts');
  const [first] = renderEvaluation({ ...evaluation, base: null });
  io.stdout.write(`${renderDivergence(evaluation, base, tableStyle(io.stdout, io.env))}\n\n${first}\n`);
}
