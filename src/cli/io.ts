/** A stream text goes to; what of it the commands use. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/**
 * What a command touches of the process, so that tests can stand in for it. People read stderr; stdout carries what
 * was asked for and nothing else.
 */
export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Monotonic, in milliseconds. */
  now(): number;
  /**
   * A signal that aborts on SIGINT, SIGTERM or SIGHUP. Commands that ask for it must end soon after; others die by the
   * signal as any process does.
   */
  interruptible(): AbortSignal;
  /** Gives back what planning leaves behind, where that is much: a large tokenizer's JSON (docs/memory.md). */
  collectGarbage(): void;
}

/** The signals that interrupt, with their numbers: a process that one of them ends has status 128 and the number. */
export const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
export type InterruptSignal = keyof typeof signalNumbers;

/** Why an interruptible command was aborted. */
export class Interrupted extends Error {
  readonly signal: InterruptSignal;

  constructor(signal: InterruptSignal) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** Whether to write ANSI colours: FORCE_COLOR, then NO_COLOR, then whether a capable terminal reads. */
export function hasColor(output: Output, env: Io['env']): boolean {
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false';
  if (env.NO_COLOR) return false;
  return isTerminal(output, env);
}

/** Whether the cursor can be moved, as a progress line needs: 0 columns is a terminal whose size nobody set. */
export const isTerminal = (output: Output, env: Io['env']): boolean =>
  output.isTTY === true && output.columns !== 0 && env.TERM !== 'dumb' && !env.CI;

/** How tables are drawn on a stream: as wide as the terminal; where there is none, nothing is cut. */
export const tableStyle = (output: Output, env: Io['env']): { color: boolean; width: number } => ({
  color: hasColor(output, env),
  width: output.isTTY ? output.columns || 100 : Number.POSITIVE_INFINITY,
});

/** ANSI styles, or the plain text. */
export const styles = (color: boolean) => {
  const style = (open: number, close: number) => (text: string) =>
    color ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return { bold: style(1, 22), red: style(31, 39), yellow: style(33, 39), green: style(32, 39) };
};

/** JSON as every command prints it: two spaces, one final newline, bigint as a number where it is exact. */
export const jsonText = (value: unknown): string =>
  `${JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? exactNumber(item) : item), 2)}\n`;

const exactNumber = (value: bigint): number | string =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
