import { createRequire } from 'node:module';
import type { ChunkTarget, EncodedSums } from '../core/output.ts';
import { startWorker, ThreadEndedError, threadError } from '../core/worker-thread.ts';
import type { ChunkHistogram } from './histogram.ts';
import { ChunkIndex, type Job } from './job.ts';
import type { WasmModule } from './kernels.ts';
import type { TileQuery } from './range/tile.ts';

/** Slots of the control array that the pool and its workers share. */
export const CONTROL = {
  /** Number of the next chunk to take. */
  next: 0,
  /** Chunks that a stream has emitted, in order; workers wait on it for a free slot of the window. */
  emitted: 1,
  /** Not 0: take no further chunk. */
  stop: 2,
} as const;

export interface WorkerData {
  readonly job: Job;
  /**
   * `range` finds each row's minimum and maximum; `survey` answers a question about each tensor; `encode` quantizes,
   * measures and writes; `verify` computes the checksums of what an earlier run wrote.
   */
  readonly phase: 'range' | 'survey' | 'encode' | 'verify';
  /** Of `survey`, one for each tensor. */
  readonly queries: readonly TileQuery[];
  readonly control: Int32Array;
  /** Where `encode` puts its chunks, and `verify` finds them. */
  readonly target: ChunkTarget | null;
  /** A byte for each chunk, not 0 where there is nothing to do. */
  readonly skip: Uint8Array | null;
  /** Compiled SIMD kernels, or null for the scalar twins. */
  readonly module: WasmModule | null;
}

/**
 * `encode`: checksum and sums. `range`: minimum and maximum of each row touched in place of the sums. `survey`: answers in
 * their place, one a tile where they are ordered. `verify`: the checksum only. `encode` and `verify` add the histogram of a
 * tensor that is counted.
 */
export type ChunkDone = EncodedSums & { readonly histogram?: ChunkHistogram };

export type ChunkFailureCause =
  /** A weight is NaN or infinite; a block decodes to something that is. */
  | 'weight'
  | 'scale'
  /** The operating system refused; the input ended before its header said. */
  | 'read'
  | 'write'
  | 'short-read'
  /** There is no memory for the arena. */
  | 'memory';

export type WorkerMessage =
  | ({ kind: 'done'; number: number } & ChunkDone)
  | {
      kind: 'failed';
      /** null: the worker failed before its first chunk. */
      tensor: string | null;
      cause: ChunkFailureCause;
      /** Index of the input file concerned. */
      file: number | null;
      /** What the operating system said. */
      code?: string;
      message?: string;
      /** The weight to blame: its place in the tensor, in output order, and its value as stored. */
      element?: number;
      value?: number;
    };

export type FailedChunk = Extract<WorkerMessage, { kind: 'failed' }>;

/** Thrown by `runPool` when a chunk failed; the pipeline turns it into an error with names. */
export class PoolFailure extends Error {
  readonly chunk: FailedChunk;
  constructor(chunk: FailedChunk) {
    super(`a chunk failed: ${chunk.cause}`);
    this.chunk = chunk;
  }
}

export interface PoolOptions {
  readonly job: Job;
  readonly phase: WorkerData['phase'];
  readonly queries?: readonly TileQuery[];
  readonly threads: number;
  readonly module: WasmModule | null;
  readonly target: ChunkTarget | null;
  readonly skip?: Uint8Array | null;
  readonly control: Int32Array;
  readonly signal: AbortSignal | undefined;
  /** Called once for each chunk that is not skipped, in no particular order. */
  onDone(number: number, done: ChunkDone): void;
}

const A_WORKER = 'a worker thread';
const LESS_MEMORY = 'pass a smaller --chunk-size or fewer --threads, or node a larger --max-old-space-size';

/** A fresh control array. */
export const newControl = (): Int32Array => new Int32Array(new SharedArrayBuffer(12));

/** Tells workers how many chunks a stream has emitted. */
export function announceEmitted(control: Int32Array, count: number): void {
  Atomics.store(control, CONTROL.emitted, count);
  Atomics.notify(control, CONTROL.emitted);
}

/** Makes every worker of a pool finish its chunk and end. */
export function stopPool(control: Int32Array): void {
  Atomics.store(control, CONTROL.stop, 1);
  Atomics.notify(control, CONTROL.emitted);
}

/**
 * Runs every chunk of a job over worker threads. Resolves when all are done or the pool was stopped; rejects with
 * PoolFailure for a chunk that failed, OutOfMemoryError or ThreadEndedError for a worker that died so, or the error that
 * killed one otherwise. All workers have ended by then.
 */
export async function runPool(options: PoolOptions): Promise<void> {
  const { job, phase, control, target, queries = [], skip = null, module, signal } = options;
  const skipped = skip?.reduce((sum, each) => sum + Math.sign(each), 0) ?? 0;
  const chunks = new ChunkIndex(job).count - skipped;
  const path = createRequire(import.meta.url).resolve('#worker');
  const workerData: WorkerData = { job, phase, queries, control, target, skip, module };
  Atomics.store(control, CONTROL.next, 0);
  let left = chunks;
  let failure: Error | null = null;
  const fail = (error: Error) => {
    failure ??= error;
    stopPool(control);
  };
  const onAbort = () => stopPool(control);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort);

  try {
    await Promise.all(
      Array.from({ length: Math.min(options.threads, chunks) }, () => {
        const worker = startWorker(path, { workerData });
        worker.on('message', (message: WorkerMessage) => {
          if (message.kind === 'failed') return fail(new PoolFailure(message));
          left--;
          try {
            options.onDone(message.number, message);
          } catch (error) {
            fail(error as Error);
          }
        });
        worker.on('error', (error) => fail(threadError(error, A_WORKER, LESS_MEMORY)));
        return new Promise<void>((resolve) => {
          worker.on('exit', (code) => {
            if (code !== 0) fail(new ThreadEndedError(A_WORKER, code));
            resolve();
          });
        });
      }),
    );
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
  if (failure) throw failure;
  // Who ends with status 0 in the middle of a chunk leaves a hole that nobody else fills.
  if (left > 0 && Atomics.load(control, CONTROL.stop) === 0) throw new ThreadEndedError(A_WORKER, 0);
}
