import type { CheckpointFile } from './core/checkpoint.ts';
import { QuantizeError } from './core/errors.ts';
import type { PlannedTensor } from './core/plan.ts';
import { PoolFailure } from './quantize/pool.ts';
import { partialPath } from './write/journal.ts';
import { asWriteError } from './write/partial-file.ts';
import type { OutputTargets } from './write/target.ts';

/** A weight is NaN or infinite. */
export class NotFiniteWeightError extends QuantizeError {}

/** A block's scale went beyond what its type can store, so the block decodes to values that are not finite. */
export class ScaleOverflowError extends QuantizeError {}

/** Reading tensor data failed. */
export class ReadError extends QuantizeError {}

/** A file became shorter while it was read. */
export class InputChangedError extends QuantizeError {}

/** A signal ended the run. */
export class InterruptedError extends QuantizeError {
  override readonly exitCode: number;

  /** reason: the name of the signal (SIGINT, SIGTERM, ...), or anything else a caller aborted with. */
  constructor(target: OutputTargets, reason: unknown) {
    const path = target.kind === 'files' ? target.paths[0] : target.path;
    super(`interrupted${typeof reason === 'string' ? ` by ${reason}` : ''}`, {
      file: path,
      got:
        target.kind === 'files'
          ? `nothing was written there; what is finished stays in ${partialPath(path)}`
          : 'only the beginning of the file was written',
      advice: target.kind === 'files' ? 'run again with --resume' : 'run again',
    });
    this.exitCode = reason === 'SIGTERM' ? 143 : reason === 'SIGHUP' ? 129 : 130;
  }
}

/** A failed chunk as an error that names file, tensor and weight; any other error as it is. */
export function namedFailure(
  error: unknown,
  tensors: readonly PlannedTensor[],
  files: readonly CheckpointFile[],
  partialOf: (tensor: number) => string,
): unknown {
  if (!(error instanceof PoolFailure)) return error;
  const { cause, file: fileIndex, code, message, element = 0, value } = error.chunk;
  const index = tensors.findIndex(({ name }) => name === error.chunk.tensor);
  const tensor = tensors[index];
  const stored = tensor.source.kind === 'stored' ? tensor.source.parts : [];
  const file = files[fileIndex ?? stored[0]?.file ?? 0]?.path;
  const source = stored.map(({ name }) => name)[0];
  const name = source && source !== tensor.name ? `${tensor.name} (stored as ${source})` : tensor.name;
  const rowLength = tensor.shape[0] ?? 1;
  const place = `row ${Math.floor(element / rowLength)}, column ${element % rowLength}`;

  switch (cause) {
    case 'weight':
      return new NotFiniteWeightError('a weight is not a finite number', {
        file,
        tensor: name,
        expected: 'finite weights',
        got: `${value} at ${place}`,
        advice: 'the checkpoint is damaged or its training diverged: download it again or repair the tensor',
      });
    case 'scale':
      return new ScaleOverflowError(`a block of ${tensor.type} has a scale beyond the reach of its type`, {
        file,
        tensor: name,
        expected: 'weights whose block scale fits float16 (up to 65504)',
        got: `a block that decodes to a value that is not finite at ${place}, where the weight is ${value}`,
        advice: `keep this tensor in a wider type, for example --tensor-type '${tensor.name}=BF16'`,
      });
    case 'short-read':
      return new InputChangedError('an input file ended early', {
        file,
        tensor: name,
        expected: 'the size it had when the run began',
        advice: 'something changed the file while it was read; run again when it is complete',
      });
    case 'read':
      return new ReadError('reading the weights failed', { file, tensor: name, got: message });
    case 'write':
      return asWriteError(Object.assign(new Error(message), { code }), partialOf(index));
  }
}
