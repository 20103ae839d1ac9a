import { QuantizeError, UsageError } from '../core/errors.ts';

/** The output path exists and --force was not given. */
export class OutputExistsError extends UsageError {}

/** The output exists, and nobody has said that it may be replaced. */
export const outputExists = (path: string): OutputExistsError =>
  new OutputExistsError('the output already exists', {
    file: path,
    advice: 'choose another -o, or pass --force to replace it',
  });

/** The output path cannot be written: no such directory, a directory itself, no permission. */
export class OutputPathError extends UsageError {}

/** The output is one of the files the run reads, perhaps through a link. */
export class OutputIsInputError extends UsageError {}

/** Another run is writing the same output. */
export class OutputLockedError extends QuantizeError {}

/** The disk has less room than the output needs, or filled up during the run. */
export class DiskFullError extends QuantizeError {}

/** Writing failed for another reason. */
export class WriteError extends QuantizeError {}

/** The reader of a pipe went away before it had the whole file. */
export class BrokenPipeError extends QuantizeError {}
