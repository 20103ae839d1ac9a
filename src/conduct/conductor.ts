import { createRequire } from 'node:module';
import { QuantizeError, UsageError } from '../core/errors.ts';
import { startWorker } from '../core/worker-thread.ts';
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

/**
 * Runs a calculation with a model on threads of its own. When the signal aborts it is ended at once, and the promise rejects with
 * the signal's reason.
 *
 * @throws what the calculation threw, by name and text
 */
export async function conduct<Kind extends ConductJob['kind']>(
  job: ConductJob & { kind: Kind },
  { signal, onProgress, onCoded }: ConductHooks,
): Promise<Results[Kind]> {
  const taken = new Int32Array(new SharedArrayBuffer(4));
  const workerData: ConductorData = { job, taken };
  const worker = startWorker(createRequire(import.meta.url).resolve('#conductor'), { workerData });
  let writing = Promise.resolve();
  let ended = false;
  let stop = () => {};
  try {
    return await new Promise<Results[Kind]>((resolve, reject) => {
      stop = () => reject(signal!.reason);
      if (signal?.aborted) stop();
      signal?.addEventListener('abort', stop);
      const take = (message: ConductMessage) => {
        if (message.kind === 'progress') onProgress(message);
        else if (message.kind === 'failed') reject(received(message.error));
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
      worker.on('message', (message: ConductMessage) => {
        try {
          take(message);
        } catch (error) {
          reject(error); // of a hook
        }
      });
      worker.on('error', reject);
      worker.on('exit', (code) => {
        if (!ended) reject(new Error(`the conducting thread ended with status ${code}`));
      });
    });
  } finally {
    signal?.removeEventListener('abort', stop);
    await worker.terminate();
    await writing.catch(() => {}); // it was reported
  }
}

/** The error again: its name and text, what it says to do, its exit status. */
function received({ name, message, stack, details, exitCode }: SentError): Error {
  if (details === null) return Object.assign(new Error(message), { name, stack });
  const Kind = exitCode === 2 ? UsageError : QuantizeError;
  return Object.assign(new Kind(message, details), { name });
}
