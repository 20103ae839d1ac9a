import { Interrupted, type Io } from './io.ts';

const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const;

/** The real process as a command sees it, and the signal that tells whether it was interrupted. */
export function processIo(): { io: Io; interrupted: AbortSignal } {
  // `quantize inspect model | head`: the reader has what it wanted.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  const interruption = new AbortController();
  const interruptible = () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (interruption.signal.aborted) process.exit(128 + signalNumbers[signal]); // asked twice: at once
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
  };
  return { io, interrupted: interruption.signal };
}
