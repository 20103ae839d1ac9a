import { setFlagsFromString } from 'node:v8';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { QuantizeError } from './errors.ts';

/** A thread could not get the memory that it needs. */
export class OutOfMemoryError extends QuantizeError {}

/** A thread ended with work left and no error. */
export class ThreadEndedError extends QuantizeError {
  /** @param which the thread, as "a worker thread" */
  constructor(which: string, status: number) {
    super(`${which} ended with status ${status} before its work was done`, {
      advice: 'nothing in quantize ends a thread so: please report it',
    });
  }
}

/**
 * What a thread's `error` event says, as an error with a name where that is no bug: the thread ran out of memory.
 *
 * @param which the thread, as "a worker thread"
 * @param advice what the user can do about that
 */
export function threadError(error: Error, which: string, advice: string): Error {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
  return new OutOfMemoryError(`${which} ran out of memory`, { got: error.message, advice, cause: error });
}

/**
 * Starts a worker thread whose JavaScript is not optimized in the background. Node 20 can hang for ever when a thread
 * ends: it waits for background work of its own, and that for a garbage collection which only the thread could make.
 */
export function startWorker(path: string, options: WorkerOptions): Worker {
  setFlagsFromString('--no-concurrent-recompilation'); // for what is started from now on
  return new Worker(path, options);
}
