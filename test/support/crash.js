// Preloaded by tests (node --import) to break the worker threads of a run: CRASH says how, CRASH_AT where. `write`: each writer
// at its third write. `command`: each thread of a team, but for the one that conducts, at the end of its third command, when the
// others wait for it to say that it is done.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const ways = {
  throw() {
    throw new Error('planted error');
  },
  exit() {
    process.exit(7);
  },
  leave() {
    process.exit(0);
  },
  memory() {
    const hoard = [];
    for (;;) hoard.push(new Array(100_000).fill({}));
  },
  io() {
    throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO', syscall: 'write' });
  },
};

if (!isMainThread) {
  let calls = 0;
  const broken =
    (call) =>
    (...args) =>
      ++calls === 3 ? ways[process.env.CRASH]() : call(...args);
  if (process.env.CRASH_AT === 'write') fs.writeSync = broken(fs.writeSync);
  if (process.env.CRASH_AT === 'command') Atomics.sub = broken(Atomics.sub);
  syncBuiltinESMExports();
}
