/** What an error message has to say; every part that is known is printed, in this order. */
export interface ErrorDetails {
  /** File the problem is in. */
  file?: string | undefined;
  /** Tensor the problem is in. */
  tensor?: string | undefined;
  expected?: string | undefined;
  got?: string | undefined;
  /** What the user can do about it. */
  advice?: string | undefined;
  cause?: unknown;
}

/**
 * Base of every error a user can cause or meet. Anything else that reaches the top is a bug and shows its stack.
 *
 * Each cause has its own subclass, declared beside the code that throws it, so that callers and tests can tell
 * causes apart without reading messages.
 */
export class QuantizeError extends Error {
  readonly details: ErrorDetails;
  /** Process exit status: 1 for bad input or a failed run, 2 for bad usage, 3 for a missed quality bar. */
  readonly exitCode: number = 1;

  constructor(summary: string, details: ErrorDetails = {}) {
    super(describe(summary, details), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.details = details;
  }
}

/** The command line or the options passed to the library contradict each other or are out of range. */
export class UsageError extends QuantizeError {
  override readonly exitCode = 2;
}

function describe(summary: string, details: ErrorDetails): string {
  const lines = [summary];
  if (details.file !== undefined) lines.push(`  file:     ${details.file}`);
  if (details.tensor !== undefined) lines.push(`  tensor:   ${details.tensor}`);
  if (details.expected !== undefined) lines.push(`  expected: ${details.expected}`);
  if (details.got !== undefined) lines.push(`  got:      ${details.got}`);
  if (details.advice !== undefined) lines.push(`  to do:    ${details.advice}`);
  return lines.join('\n');
}

/** The first so many names, and how many more there are: what an error or a warning can show of a long list. */
export const listed = (names: readonly string[], most: number): string =>
  names.slice(0, most).join(', ') + (names.length > most ? ` and ${names.length - most} more` : '');
