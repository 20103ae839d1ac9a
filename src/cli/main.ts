import { Interrupted, type Io } from './io.ts';
import { run } from './run.ts';

const interruption = new AbortController();

const io: Io = {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  now: () => performance.now(),
  interruptible() {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      // Once: a second one ends the process at once, as by default.
      process.once(signal, () => interruption.abort(new Interrupted(signal)));
    }
    return interruption.signal;
  },
};

// `quantize inspect model | head`: the reader has what it wanted.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

process.exitCode = await run(process.argv.slice(2), io, interruption.signal);
