import { createRequire } from 'node:module';
import type { Worker } from 'node:worker_threads';
import { startMember } from '../compute/team.ts';
import { QuantizeError, UsageError } from '../core/errors.ts';
import { startWorker, ThreadEndedError, threadError } from '../core/worker-thread.ts';
import type { CodedTensor } from './coded-blocks.ts';
import type {
  ConductJob,
  ConductMessage,
  ConductorData,
  ConductProgress,
  Results,
  SentError,
} from './job.ts';

export interface ConductHooks {
  readonly signal: AbortSignal | undefined;
  onProgress(progress: ConductProgress): void;
  /** Takes the coded tensors of a step; those of the next but one wait until it is done. */
  onCoded?(coded: readonly CodedTensor[]): Promise<void>;
}

/** What weights and activations take is no matter: it lies outside the heaps of the threads. */
const MORE_HEAP = 'give every thread a larger heap: NODE_OPTIONS=--max-old-space-size=4096, in MiB, or more';

/**
 * Runs a calculation with a model on threads of its own: one that conducts, and the team that it calls for. All of them are
 * this thread's, since the conducting one waits for its team without hearing what becomes of it. They have ended when the
 * promise settles; when the signal aborts they are ended at once, and it rejects with the signal's reason.
 *
 * @throws what the calculation threw, by name and text; OutOfMemoryError or ThreadEndedError for a thread that died so, and
 *   the error that killed one otherwise
 */
export async function conduct<Kind extends ConductJob['kind']>(
  job: ConductJob & { kind: Kind },
  { signal, onProgress, onCoded }: ConductHooks,
): Promise<Results[Kind]> {
  const taken = new Int32Array(new SharedArrayBuffer(4));
  const workerData: ConductorData = { job, taken };
  const conductor = startWorker(createRequire(import.meta.url).resolve('#conductor'), { workerData });
  const threads: Worker[] = [];
  let writing = Promise.resolve();
  let ended = false;
  let stop = () => {};
  try {
    return await new Promise<Results[Kind]>((resolve, reject) => {
      stop = () => reject(signal!.reason);
      if (signal?.aborted) stop();
      signal?.addEventListener('abort', stop);
      const watch = (thread: Worker, which: string) => {
        threads.push(thread);
        thread.on('error', (error) => reject(threadError(error, which, MORE_HEAP)));
        thread.on('exit', (status) => {
          if (!ended) reject(new ThreadEndedError(which, status));
        });
      };
      const take = (message: ConductMessage) => {
        if (message.kind === 'progress') onProgress(message);
        else if (message.kind === 'thread') {
          watch(startMember(message.port), `thread ${message.thread + 1} of ${job.threads}`);
        } else if (message.kind === 'failed') reject(received(message.error));
        else if (message.kind === 'done') {
          const { result } = message;
          ended = true;
          writing.then(() => resolve(result as Results[Kind]), reject);
        } else {
          writing = writing.then(async () => {
            await onCoded!(message.coded);
            Atomics.add(taken, 0, 1);
            Atomics.notify(taken, 0);
          });
          writing.catch(reject);
        }
      };
      conductor.on('message', (message: ConductMessage) => {
        try {
          take(message);
        } catch (error) {
          reject(error); // of a hook, or of a thread that cannot be started
        }
      });
      watch(conductor, `thread 1 of ${job.threads}`);
    });
  } finally {
    signal?.removeEventListener('abort', stop);
    conductor.removeAllListeners('message'); // it may still call for threads
    await Promise.all(threads.map((thread) => thread.terminate()));
    await writing.catch(() => {}); // it was reported
  }
}

/** The error again: its name and text, what it says to do, its exit status. */
function received({ name, message, stack, details, exitCode }: SentError): Error {
  if (details === null) return Object.assign(new Error(message), { name, stack });
  const Kind = exitCode === 2 ? UsageError : QuantizeError;
  return Object.assign(new Kind(message, details), { name });
}
