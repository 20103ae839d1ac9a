import { writeFileSync } from 'node:fs';
import type { GemmKind, ImportanceRun } from '../core/calibration.ts';
import { UsageError } from '../core/errors.ts';
import type { collectImportance } from '../model-runs.ts';
import { formatBytes, formatCount, formatSeconds, printable } from '../report/format.ts';
import type { Layout } from '../write/gguf.ts';
import { imatrixFile } from '../write/imatrix.ts';
import { resolveTargets } from '../write/target.ts';
import { isStandardOutput, replaceFile, requireInput } from './files.ts';
import { hasColor, type Io, jsonText, styles } from './io.ts';
import { createProgress } from './progress.ts';

/** Options of `quantize imatrix`, as commander hands them over. */
export interface ImatrixFlags {
  output: string;
  text?: string[];
  tokens?: number;
  context?: number;
  seed?: number;
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
 * `quantize imatrix MODEL`: the importance of every matrix over a text, in llama.cpp's form.
 *
 * @throws UsageError, the errors of where a file may be written, and those of collecting
 */
export async function imatrixCommand(
  input: string,
  flags: ImatrixFlags,
  io: Io,
  collect: typeof collectImportance,
): Promise<void> {
  const { output, text = [], tokens, context, seed, threads, memory, gemm, force = false } = flags;
  for (const path of [input, ...text]) requireInput(path);
  const toStdout = output === '-' || output === '/dev/stdout' || isStandardOutput(output);
  if (flags.json && toStdout) {
    throw new UsageError('the importance matrix and JSON cannot both go to standard output', {
      advice: 'write the matrix to a file: -o imatrix.gguf',
    });
  }
  const target = resolveTargets(output, oneFile, [input, ...text], { force, resume: false });

  const progress = await createProgress(io, flags.quiet === true);
  const started = io.now();
  let run: ImportanceRun;
  try {
    run = await collect(
      {
        input,
        ...(text.length > 0 && { calibration: text }),
        ...(tokens !== undefined && { calibrationTokens: tokens }),
        ...(context !== undefined && { context }),
        ...(seed !== undefined && { seed }),
        ...(threads !== undefined && { threads }),
        ...(memory !== undefined && { memory }),
        ...(gemm !== undefined && { gemm }),
        signal: io.interruptible(),
      },
      (event) => progress.handle(event),
    );
  } finally {
    progress.stop();
  }

  const { entries, corpus } = run;
  const bytes = imatrixFile(entries, {
    datasets: text.length > 0 ? text : [corpus.corpus],
    chunks: corpus.windows,
    chunkSize: corpus.context,
  });
  if (target.kind === 'files') replaceFile(target.paths[0], bytes);
  else writeFileSync(target.descriptor ?? target.path, bytes);

  const seconds = (io.now() - started) / 1000;
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
  const { gemm, ...facts } = corpus;
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
    run: { output, seconds, gemm },
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
