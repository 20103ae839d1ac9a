import { QuantizeError } from './errors.ts';
import type { StoredFailure } from './stored-files.ts';

/** A weight is NaN or infinite. */
export class NotFiniteWeightError extends QuantizeError {}

/** Reading tensor data failed. */
export class ReadError extends QuantizeError {}

/** A file became shorter while it was read. */
export class InputChangedError extends QuantizeError {}

/** A block's scale went beyond what its type can store, so the block decodes to values that are not finite. */
export class ScaleOverflowError extends QuantizeError {}

/** Stored values of a tensor that could not be read, in words. `file`: the path of the file that `failure` is about. */
export const unreadable = (
  { cause, message }: { readonly cause: StoredFailure['cause']; readonly message?: string | undefined },
  file: string | undefined,
  tensor: string,
): QuantizeError =>
  cause === 'read'
    ? new ReadError('reading the weights failed', { file, tensor, got: message })
    : new InputChangedError('an input file ended early', {
        file,
        tensor,
        expected: 'the size it had when the run began',
        advice: 'something changed the file while it was read; run again when it is complete',
      });
