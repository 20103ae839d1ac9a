import { writeFileSync } from 'node:fs';
import type { ActivationStatistics } from '../core/activations.ts';
import type { GemmKind } from '../core/calibration.ts';
import type { collectActivations } from '../model-runs.ts';
import { STATISTICS } from '../read/activation-statistics.ts';
import { renderActivationRanges } from '../report/activations.ts';
import { formatCount, formatSeconds, printable } from '../report/format.ts';
import type { Layout } from '../write/gguf.ts';
import { resolveTargets } from '../write/target.ts';
import { replaceFile, requireInput } from './files.ts';
import { hasColor, type Io, jsonText, styles, tableStyle } from './io.ts';
import { createProgress } from './progress.ts';

/** Options of `quantize calibrate`, as commander hands them over. */
export interface CalibrateFlags {
  output: string;
  text?: string[];
  tokens?: number;
  context?: number;
  seed?: number;
  percentile?: number;
  threads?: number;
  memory?: number;
  gemm?: GemmKind;
  json?: boolean;
  force?: boolean;
  quiet?: boolean;
}

/** One file, of which nothing is known but its name. */
const oneFile: Layout = { files: [], fileBytes: 0, split: null };

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
  const { output, text = [], tokens, json, force = false, quiet = false, ...options } = flags;
  for (const path of [input, ...text]) requireInput(path);
  const toStdout = output === '-';
  const target = toStdout
    ? null
    : resolveTargets(output, oneFile, [input, ...text], { force, resume: false });
  const progress = await createProgress(io, quiet);
  const started = io.now();
  let run: Awaited<ReturnType<typeof collect>>;
  try {
    run = await collect(
      {
        ...{ input, ...options, signal: io.interruptible() },
        ...(text.length > 0 && { calibration: text }),
        ...(tokens !== undefined && { calibrationTokens: tokens }),
      },
      (event) => progress.handle(event),
    );
  } finally {
    progress.stop();
  }
  const seconds = (io.now() - started) / 1000;
  const found = jsonText(fileOf(run.statistics, { input, seconds, gemm: run.gemm }));
  if (target?.kind === 'files') replaceFile(target.paths[0], found);
  else if (target !== null) writeFileSync(target.descriptor ?? target.path, found);
  if (json || toStdout) io.stdout.write(found);
  if (quiet) return;
  const { yellow, bold } = styles(hasColor(io.stderr, io.env));
  const { corpus, groups } = run.statistics;
  for (const warning of run.warnings) io.stderr.write(`${yellow('warning:')} ${printable(warning)}\n`);
  io.stderr.write(`${renderActivationRanges(run.statistics, tableStyle(io.stderr, io.env))}\n\n`);
  io.stderr.write(
    `${bold('wrote')} ${toStdout ? 'to standard output' : printable(output)}: ranges of ${groups.length} inputs over ` +
      `${formatCount(corpus.tokens)} tokens (${printable(corpus.corpus)}, ${corpus.windows} windows of ${corpus.context}), ` +
      `in ${formatSeconds(seconds)}\n`,
  );
}

const fileOf = (statistics: ActivationStatistics, run: object): object => ({
  ...STATISTICS,
  ...statistics,
  run,
});
