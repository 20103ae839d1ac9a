import type { ImportanceRun } from '../core/calibration.ts';
import { UsageError } from '../core/errors.ts';
import type { collectImportance } from '../model-runs.ts';
import { formatBytes, formatCount, formatSeconds, printable } from '../report/format.ts';
import { imatrixFile } from '../write/imatrix.ts';
import { isStandardOutput } from './files.ts';
import { hasColor, type Io, jsonText, styles } from './io.ts';
import { runOverText, type TextRunFlags, targetOf, writeTo } from './text-run.ts';

/**
 * `quantize imatrix MODEL`: the importance of every matrix over a text, in llama.cpp's form.
 *
 * @throws UsageError, the errors of where a file may be written, and those of collecting
 */
export async function imatrixCommand(
  input: string,
  flags: TextRunFlags,
  io: Io,
  collect: typeof collectImportance,
): Promise<void> {
  const { output, text = [] } = flags;
  const toStdout = output === '-' || output === '/dev/stdout' || isStandardOutput(output);
  if (flags.json && toStdout) {
    throw new UsageError('the importance matrix and JSON cannot both go to standard output', {
      advice: 'write the matrix to a file: -o imatrix.gguf',
    });
  }
  const target = targetOf(input, flags);
  const { result: run, seconds } = await runOverText(input, flags, io, collect);
  const { entries, corpus } = run;
  const bytes = imatrixFile(entries, {
    datasets: text.length > 0 ? text : [corpus.corpus],
    chunks: corpus.windows,
    chunkSize: corpus.context,
  });
  writeTo(target, bytes);

  if (flags.json) io.stdout.write(jsonText(asJson(output, bytes.length, run, seconds)));
  if (flags.quiet) return;
  const { yellow, bold } = styles(hasColor(io.stderr, io.env));
  const warnings = [...run.warnings, ...unseenExperts(run)];
  for (const warning of warnings) io.stderr.write(`${yellow('warning:')} ${printable(warning)}\n`);
  io.stderr.write(
    `${bold('wrote')} ${toStdout ? 'to standard output' : printable(output)}: ${formatBytes(bytes.length)}, ` +
      `importance of ${entries.length} matrices over ${formatCount(corpus.tokens)} tokens ` +
      `(${printable(corpus.corpus)}, ${corpus.windows} windows of ${corpus.context}), in ${formatSeconds(seconds)}\n`,
  );
}

const asJson = (
  output: string,
  fileBytes: number,
  { entries, corpus, warnings }: ImportanceRun,
  seconds: number,
) => {
  const { gemm, withoutBlas, ...facts } = corpus;
  return {
    schema: 'gguf-quantize/imatrix',
    version: 1,
    fileBytes,
    corpus: facts,
    entries: entries.map(({ name, sums, counts }) => ({
      name,
      columns: sums.length / counts.length,
      counts,
    })),
    warnings,
    run: { output, seconds, gemm, ...(withoutBlas !== undefined && { withoutBlas }) },
  };
};

/** Stacks of experts some of which no token reached: llama.cpp then counts all their columns the same. */
function unseenExperts({ entries }: ImportanceRun): string[] {
  const unseen = entries.filter(({ counts }) => counts.some((count) => count === 0));
  if (unseen.length === 0) return [];
  const experts = unseen.reduce((sum, { counts }) => sum + counts.filter((count) => count === 0).length, 0);
  return [
    `no token reached ${experts} experts in ${unseen.length} tensors (${unseen[0].name}, ...): ` +
      'use more text (--tokens), of more kinds',
  ];
}
