import { setFlagsFromString } from 'node:v8';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Starts a worker thread whose JavaScript is not optimized in the background. Node 20 can hang for ever when a thread
 * ends: it waits for background work of its own, and that for a garbage collection which only the thread could make.
 */
export function startWorker(path: string, options: WorkerOptions): Worker {
  setFlagsFromString('--no-concurrent-recompilation'); // for what is started from now on
  return new Worker(path, options);
}
