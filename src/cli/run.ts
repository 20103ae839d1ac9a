import { CommanderError } from 'commander';
import { QuantizeError } from '../core/errors.ts';
import { printable } from '../report/format.ts';
import { hasColor, Interrupted, type Io, signalNumbers, styles } from './io.ts';
import { createProgram } from './program.ts';

/** As of a process that SIGPIPE ended. */
const SIGPIPE_STATUS = 141;

/** Runs a command line (without node and script) to its exit status. Never throws. */
export async function run(argv: readonly string[], io: Io, interrupted?: AbortSignal): Promise<number> {
  try {
    await createProgram(io, argv).parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    return reportFailure(error, io, interrupted);
  }
}

/** Tells the user what went wrong, and returns the exit status that says it to scripts. */
export function reportFailure(error: unknown, io: Io, interrupted?: AbortSignal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has printed its message
  if (brokenPipe(error)) return SIGPIPE_STATUS; // who reads our text has stopped: nobody is left to tell
  io.stderr.write(`${describeFailure(error, io, interrupted)}\n`);
  if (interrupted?.reason instanceof Interrupted) return 128 + signalNumbers[interrupted.reason.signal];
  return error instanceof QuantizeError ? error.exitCode : 1;
}

function describeFailure(error: unknown, io: Io, interrupted?: AbortSignal): string {
  const { red } = styles(hasColor(io.stderr, io.env));
  const title = red('error:');
  if (error instanceof QuantizeError) return `${title} ${printableLines(error.message)}`;
  if (interrupted?.aborted) return `${title} ${(interrupted.reason as Error).message}`;
  if (isSystemError(error)) return `${title} ${printable(error.message)}`;
  const text = error instanceof Error ? withCauses(error) : String(error);
  return `${text}\n${title} this is a bug in quantize; please report it with the lines above and the command line`;
}

/** Messages quote names found in files: their line breaks are ours, other control characters are not. */
const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');

/** What the operating system refused: no bug, and its message names the call and the path. */
const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'code' in error;

function withCauses(error: Error): string {
  const stack = error.stack ?? String(error);
  return error.cause instanceof Error ? `${stack}\ncaused by ${withCauses(error.cause)}` : stack;
}

/** Not the error of a GGUF that was cut off, which is a failed run. */
const brokenPipe = (error: unknown): boolean => isSystemError(error) && error.code === 'EPIPE';
