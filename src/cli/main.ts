import { setFlagsFromString } from 'node:v8';
import { processIo } from './process-io.ts';
import { run } from './run.ts';

// The heap holds plans, messages and, for a moment, a tokenizer: garbage that V8 would rather keep than collect, up to
// half of a run's memory (docs/memory.md). The work itself is in WebAssembly, which this does not touch.
setFlagsFromString('--optimize-for-size');

const { io, interrupted } = processIo();
process.exitCode = await run(process.argv.slice(2), io, interrupted);
