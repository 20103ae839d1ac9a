import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Interrupted, type InterruptSignal, type Io, signalNumbers } from './io.ts';

/** Heap in bytes above which collecting garbage is worth its 20 to 40 ms. */
const MUCH_HEAP = 40e6;

/** The real process as a command sees it, and the signal that tells whether it was interrupted. */
export function processIo(): { io: Io; interrupted: AbortSignal } {
  const interruption = new AbortController();
  // `quantize inspect model | head`: the reader has what it wanted.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(`error: writing to standard output failed: ${error.message}\n`);
    process.exit(1);
  });
  // A message that cannot be shown (the terminal is gone, the disk with the log is full) must not end the work.
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    const { aborted, reason } = interruption.signal;
    if (!aborted || error.code !== 'EIO') return;
    // The terminal hung up and the run has cleaned up after itself. Exiting now, Node would try to restore the
    // terminal's modes and abort; dying by the signal leaves them.
    process.removeAllListeners(reason.signal);
    process.kill(process.pid, reason.signal);
  });
  const interruptible = () => {
    for (const [signal, number] of Object.entries(signalNumbers) as [InterruptSignal, number][]) {
      process.on(signal, () => {
        if (interruption.signal.aborted) process.exit(128 + number); // asked twice: at once
        interruption.abort(new Interrupted(signal));
      });
    }
    return interruption.signal;
  };
  const io = {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    now: () => performance.now(),
    interruptible,
    collectGarbage,
  };
  return { io, interrupted: interruption.signal };
}

/** V8 leaves garbage lying until the heap grows again, which it does not once weights are coded. */
function collectGarbage(): void {
  if (process.memoryUsage().heapTotal < MUCH_HEAP) return;
  setFlagsFromString('--expose-gc'); // for contexts made from now on
  (runInNewContext('globalThis.gc') as (() => void) | undefined)?.();
}
