import type { collectActivations } from '../model-runs.ts';
import { renderActivationRanges } from '../report/activations.ts';
import { formatCount, formatSeconds, printable } from '../report/format.ts';
import { statisticsFile } from '../write/activation-statistics.ts';
import { hasColor, type Io, styles, tableStyle } from './io.ts';
import { runOverText, type TextRunFlags, targetOf, writeTo } from './text-run.ts';

/** Options of `quantize calibrate`, as commander hands them over. */
export interface CalibrateFlags extends TextRunFlags {
  percentile?: number;
}

/**
 * `quantize calibrate MODEL`: ranges of the inputs of every matrix over a text, into a JSON file; a table of them on standard
 * error.
 *
 * @throws UsageError, the errors of where a file may be written, and those of collecting
 */
export async function calibrateCommand(
  input: string,
  flags: CalibrateFlags,
  io: Io,
  collect: typeof collectActivations,
): Promise<void> {
  const { output, json, quiet } = flags;
  const toStdout = output === '-';
  const target = targetOf(input, flags);
  const { result, seconds } = await runOverText(input, flags, io, collect);
  const { statistics, warnings, ...gemm } = result;
  const found = statisticsFile(statistics, { input, seconds, ...gemm });
  if (!toStdout) writeTo(target, found);
  if (json || toStdout) io.stdout.write(found);
  if (quiet) return;
  const { yellow, bold } = styles(hasColor(io.stderr, io.env));
  const { corpus, groups } = statistics;
  for (const warning of warnings) io.stderr.write(`${yellow('warning:')} ${printable(warning)}\n`);
  io.stderr.write(`${renderActivationRanges(statistics, tableStyle(io.stderr, io.env))}\n\n`);
  io.stderr.write(
    `${bold('wrote')} ${toStdout ? 'to standard output' : printable(output)}: ranges of ${groups.length} inputs over ` +
      `${formatCount(corpus.tokens)} tokens (${printable(corpus.corpus)}, ${corpus.windows} windows of ${corpus.context}), ` +
      `in ${formatSeconds(seconds)}\n`,
  );
}
