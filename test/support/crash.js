// Preloaded by tests (node --import) to break the worker threads of a run at their third write: CRASH says how.
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
  memory() {
    const hoard = [];
    for (;;) hoard.push(new Array(100_000).fill({}));
  },
  io() {
    throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO', syscall: 'write' });
  },
};

if (!isMainThread) {
  const { writeSync } = fs;
  let calls = 0;
  fs.writeSync = (...args) => (++calls === 3 ? ways[process.env.CRASH]() : writeSync(...args));
  syncBuiltinESMExports();
}
