import { writeFileSync } from 'node:fs';
import type { GemmKind } from '../core/calibration.ts';
import type { ActivationOptions, CalibrationEvent } from '../model-runs.ts';
import type { Layout } from '../write/gguf.ts';
import { type OutputTargets, resolveTargets } from '../write/target.ts';
import { replaceFile, requireInput } from './files.ts';
import type { Io } from './io.ts';
import { createProgress } from './progress.ts';

/** Options of a command that runs a model over a text and writes one file, as commander hands them over. */
export interface TextRunFlags {
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
 * Where the file goes, checked before any work; the model and the texts are there, and none of them is replaced.
 *
 * @throws InputNotFoundError, and the errors of resolveTargets
 */
export function targetOf(input: string, { output, text = [], force = false }: TextRunFlags): OutputTargets {
  for (const path of [input, ...text]) requireInput(path);
  return resolveTargets(output, oneFile, [input, ...text], { force, resume: false });
}

/** Writes the file, whole or not at all; a pipe or device directly. */
export function writeTo(target: OutputTargets, content: string | Uint8Array): void {
  if (target.kind === 'files') replaceFile(target.paths[0], content);
  else writeFileSync(target.descriptor ?? target.path, content);
}

/** Runs the model over the text, with progress; what that gave, and the seconds it took. */
export async function runOverText<Result>(
  input: string,
  flags: TextRunFlags & Pick<ActivationOptions, 'percentile'>,
  io: Io,
  collect: (options: ActivationOptions, onEvent: (event: CalibrationEvent) => void) => Promise<Result>,
): Promise<{ result: Result; seconds: number }> {
  const { output: _o, text = [], tokens, json: _j, force: _f, quiet = false, ...options } = flags;
  const progress = await createProgress(io, quiet);
  const started = io.now();
  try {
    const result = await collect(
      {
        ...{ input, ...options, signal: io.interruptible() },
        ...(text.length > 0 && { calibration: text }),
        ...(tokens !== undefined && { calibrationTokens: tokens }),
      },
      (event) => progress.handle(event),
    );
    return { result, seconds: (io.now() - started) / 1000 };
  } finally {
    progress.stop();
  }
}
