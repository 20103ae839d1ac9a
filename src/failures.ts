import type { StoredTensor } from './core/checkpoint.ts';
import { QuantizeError } from './core/errors.ts';
import type { PlannedTensor } from './core/plan.ts';
import { segmentsOf } from './core/segments.ts';
import { dataTypes } from './core/types.ts';
import { NotFiniteWeightError, ScaleOverflowError, unreadable } from './core/weight-errors.ts';
import { OutOfMemoryError } from './core/worker-thread.ts';
import { type FailedChunk, PoolFailure } from './quantize/pool.ts';
import type { Run } from './run.ts';
import { partialPath } from './write/journal.ts';
import { asWriteError } from './write/partial-file.ts';
import type { OutputTargets } from './write/target.ts';

/** A signal ended the run. */
export class InterruptedError extends QuantizeError {
  /**
   * @param target null while nothing has been opened for writing
   * @param reason what the caller aborted with: an error, or the name of a signal
   */
  constructor(target: OutputTargets | null, reason: unknown) {
    const path = target?.kind === 'files' ? target.paths[0] : target?.path;
    super(reason instanceof Error ? reason.message : `interrupted by ${reason}`, {
      file: path === '-' ? 'standard output' : path,
      got: target === null ? 'nothing was written' : leftBehind[target.kind],
      advice: target?.kind === 'files' ? 'run again with --resume' : 'run again',
    });
  }
}

const leftBehind: Readonly<Record<OutputTargets['kind'], string>> = {
  files: 'this file is not there, or as it was before the run',
  stream: 'only the beginning of the GGUF was written',
};

/**
 * Why a run failed, in the user's terms: that it was interrupted, whatever came of that; a failed chunk by the names of file,
 * tensor and weight; any other error as it is.
 *
 * @param opened what has been opened for writing, if it has
 */
export function runFailure(error: unknown, run: Run, opened: OutputTargets | null): unknown {
  const { signal } = run.options;
  if (signal?.aborted) return new InterruptedError(opened, signal.reason);
  return error instanceof PoolFailure ? namedFailure(error.chunk, run) : error;
}

function namedFailure(chunk: FailedChunk, { plan, layout, target }: Run): unknown {
  const { cause, file: fileIndex, code, message, value } = chunk;
  const { tensors } = plan;
  if (cause === 'memory') {
    return new OutOfMemoryError('a thread could not get the memory for its chunks', {
      got: message,
      advice: 'pass a smaller --chunk-size or fewer --threads',
    });
  }
  const index = tensors.findIndex(({ name }) => name === chunk.tensor);
  if (cause === 'write') {
    const { paths } = target as Extract<OutputTargets, { kind: 'files' }>; // workers write to no stream
    const path = paths[layout.files.findIndex(({ end }) => index < end)];
    return asWriteError(Object.assign(new Error(message), { code }), partialPath(path));
  }
  const tensor = tensors[index];
  const { part, place } = locate(tensor, chunk.element ?? 0);
  const file = plan.checkpoint.files[fileIndex ?? part?.file ?? 0]?.path;
  const name = part && part.name !== tensor.name ? `${tensor.name} (stored as ${part.name})` : tensor.name;

  switch (cause) {
    case 'weight':
      if (Number.isFinite(value)) {
        return new NotFiniteWeightError('a weight is beyond the range of float32', {
          file,
          tensor: name,
          expected: 'magnitudes up to 3.4e38',
          got: `${value} at ${place}`,
          advice: 'no GGUF type holds such a value: scale the tensor, or repair it',
        });
      }
      return new NotFiniteWeightError('a weight is not a finite number', {
        file,
        tensor: name,
        expected: 'finite weights',
        got: `${value} at ${place}`,
        advice: 'the checkpoint is damaged or its training diverged: download it again or repair the tensor',
      });
    case 'scale': {
      const plain = dataTypes[tensor.type].kind !== 'quantized';
      const what = plain ? 'a weight is beyond the reach of' : 'a block has a scale beyond the reach of';
      const wider = tensor.type === 'BF16' ? 'F32' : 'BF16';
      return new ScaleOverflowError(`${what} ${tensor.type}`, {
        file,
        tensor: name,
        expected: plain
          ? `weights that ${tensor.type} can hold`
          : 'weights whose block scale fits float16 (up to 65504)',
        got: plain
          ? `${value} at ${place}`
          : `values that are not finite, from a block with ${value} at ${place}`,
        advice: `keep this tensor in a wider type, for example --tensor-type '${tensor.name}=${wider}'`,
      });
    }
    case 'short-read':
    case 'read':
      return unreadable({ cause, message }, file, name);
  }
}

/** Where the value of an output element is stored, in words; its place in the output for a value of the plan. */
function locate(tensor: PlannedTensor, element: number): { part: StoredTensor | null; place: string } {
  const { source } = tensor;
  if (source.kind !== 'stored') return { part: null, place: placeIn(element, tensor.shape[0] ?? 1) };
  const { blockSize, typeSize } = dataTypes[source.parts[0].type];
  const [{ file, offset }] = segmentsOf(source, element - (element % blockSize), blockSize);
  const part = source.parts.find(
    (each) => each.file === file && offset >= each.offset && offset < each.offset + each.byteLength,
  )!;
  const stored = ((offset - part.offset) / typeSize) * blockSize + (element % blockSize);
  return { part, place: placeIn(stored, part.shape.at(-1) ?? 1) };
}

const placeIn = (element: number, rowLength: number): string =>
  `row ${Math.floor(element / rowLength)}, column ${element % rowLength}`;
