import { closeSync, openSync, readSync } from 'node:fs';
import type { TaskScope } from '../../compute/scope.ts';
import { SUM_RANGE } from '../../core/error-sums.ts';
import type { ReadableSource } from '../../core/plan.ts';
import { segmentsOf } from '../../core/segments.ts';
import { bytesOf, type TypeName } from '../../core/types.ts';
import { type Kernels, kernelsOf } from '../../quantize/kernels.ts';

/** Weights that are read at once: a multiple of every block size. */
export const PIECE = 1 << 20;

/** Rows that a piece of the task `gatherRows` reads. */
export const GATHERED = 64;

/** Bytes of the widest type, F64. */
const WIDEST = 8;

/** What is wrong with weights, as a task can say it. */
export type WeightFailure =
  | { readonly cause: 'weight'; readonly element: number; readonly value: number }
  | { readonly cause: 'short-read'; readonly file: number }
  | { readonly cause: 'read'; readonly file: number; readonly message: string };

export const weightFailure = (failure: WeightFailure): Error =>
  Object.assign(new Error(failure.cause), { failure });

/** The files of a model, opened as they are needed. */
export class OpenFiles {
  readonly #paths: readonly string[];
  readonly #descriptors = new Map<number, number>();

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** Reads `length` bytes at an offset of a file into a buffer. */
  read(file: number, buffer: ArrayBufferLike, address: number, length: number, offset: number): void {
    try {
      let descriptor = this.#descriptors.get(file);
      if (descriptor === undefined) {
        descriptor = openSync(this.#paths[file], 'r');
        this.#descriptors.set(file, descriptor);
      }
      const bytes = new Uint8Array(buffer, address, length);
      for (let done = 0; done < length; ) {
        const read = readSync(descriptor, bytes, done, length - done, offset + done);
        if (read === 0) throw weightFailure({ cause: 'short-read', file });
        done += read;
      }
    } catch (error) {
      const { syscall, message } = error as NodeJS.ErrnoException;
      if (syscall === undefined) throw error;
      throw weightFailure({ cause: 'read', file, message });
    }
  }

  close(): void {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
  }
}

/**
 * Reads elements [start, start + count) of a tensor as float32 to `address` of the team's memory; at most PIECE, whole blocks.
 * The thread's kernels are kept in its scope.
 */
export function readWeights(
  scope: TaskScope,
  files: OpenFiles,
  source: ReadableSource,
  start: number,
  count: number,
  address: number,
): void {
  const to = scope.floats(address, count);
  if (source.kind === 'values') {
    for (let i = 0; i < count; i++) to[i] = source.values[start + i];
  } else {
    const { type } = source.parts[0];
    if (type === 'F32') readStored(files, source, start, count, scope.memory.buffer, address);
    else {
      const kernels = decoderOf(scope);
      readStored(files, source, start, count, kernels.buffer, kernels.base);
      decode(kernels, type, count, to);
    }
  }
  if (scope.compute.allFinite(address, count)) return;
  const at = to.findIndex((value) => !Number.isFinite(value));
  throw weightFailure({ cause: 'weight', element: start + at, value: to[at] });
}

/** The thread's own kernels, with room for a piece as stored and a tile of float32 behind it. */
function decoderOf(scope: TaskScope): Kernels {
  const kept = scope.kept.get('decoder') as Kernels | undefined;
  if (kept !== undefined) return kept;
  const made = kernelsOf(scope.quantization, WIDEST * PIECE + 4 * SUM_RANGE);
  scope.kept.set('decoder', made);
  return made;
}

function decode(kernels: Kernels, type: TypeName, count: number, to: Float32Array): void {
  const tile = kernels.base + WIDEST * PIECE;
  for (let done = 0; done < count; done += SUM_RANGE) {
    const n = Math.min(SUM_RANGE, count - done);
    kernels.dequantize(type, kernels.base + bytesOf(type, done), tile, n);
    to.set(new Float32Array(kernels.buffer, tile, n), done);
  }
}

function readStored(
  files: OpenFiles,
  source: Extract<ReadableSource, { kind: 'stored' }>,
  start: number,
  count: number,
  buffer: ArrayBufferLike,
  address: number,
): void {
  let at = address;
  for (const { file, offset, byteLength } of segmentsOf(source, start, count)) {
    files.read(file, buffer, at, byteLength, offset);
    at += byteLength;
  }
}
