#!/usr/bin/env node
// Measures the peak resident memory of whole runs at two threads, on generated checkpoints that would need gigabytes if
// anything were held whole. Usage: node scripts/measure-memory.js [--gib 4] [--directory DIR] [--keep]
// DIR (a new one under the system's temporary directory by default) needs about three times the size; it is removed.
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '4' },
    directory: { type: 'string' },
    keep: { type: 'boolean' },
  },
});
const root = fileURLToPath(new URL('..', import.meta.url));
const directory = values.directory ?? mkdtempSync(join(tmpdir(), 'quantize-memory-'));
mkdirSync(directory, { recursive: true });

const made =
  (name, ...options) =>
  () => {
    const path = join(directory, name);
    execFileSync(process.execPath, [join(root, 'scripts/make-checkpoint.js'), path, ...options], {
      stdio: 'ignore',
    });
    return path;
  };

/** One tensor of zeros in a file without blocks on the disk. */
const sparse = (name, dtype, width, shape) => () => {
  const path = join(directory, `${name}.safetensors`);
  const bytes = shape.reduce((a, b) => a * b, width);
  const json = JSON.stringify({ weight: { dtype, shape, data_offsets: [0, bytes] } });
  const header = Buffer.alloc(8 + 8 * Math.ceil(json.length / 8), ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  header.write(json, 8);
  const file = openSync(path, 'w');
  writeSync(file, header);
  ftruncateSync(file, header.length + bytes);
  closeSync(file);
  return path;
};

const shardGib = String(Math.max(1, Number(values.gib) / 2));
const inputs = [
  [`${values.gib} GiB, 32k tokens`, made('large', '--gib', values.gib, '--shard-gib', shardGib), 200],
  ['128k tokens, 252k merges', made('v128k', '--gib', '0.2', '--hidden', '512', '--vocab', '128256'), 200],
  ['256k tokens, 520k merges', made('v256k', '--gib', '0.2', '--hidden', '512', '--vocab', '262144'), 400],
  ['bf16 [2, 2^28]', sparse('rows', 'BF16', 2, [2, 2 ** 28]), 200],
  ['f32 [1, 2^28]', sparse('row', 'F32', 4, [1, 2 ** 28]), 200],
  ['f32 [2^28]', sparse('flat', 'F32', 4, [2 ** 28]), 200],
  ['f64 [2^14, 2^14]', sparse('doubles', 'F64', 8, [2 ** 14, 2 ** 14]), 200],
];
const runs = [
  ['Q4_K_M', ['--type', 'Q4_K_M']],
  ['Q8_0', ['--type', 'Q8_0']],
  ['zero-point 8', ['--method', 'zero-point', '--bits', '8']],
  ['Q4_K_M -o -', ['--type', 'Q4_K_M', '-o', '-']],
];

/** Largest VmHWM seen while the command runs, in bytes, and seconds. */
async function peakOf(input, options) {
  const output = join(directory, 'output.gguf');
  const started = performance.now();
  const child = spawn(
    process.execPath,
    [join(root, 'bin/quantize.js'), input, '-o', output, ...options, '--threads', '2', '--quiet', '--force'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  child.stdout.resume();
  let peak = 0;
  const look = () => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peak = Math.max(peak, 1024 * Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0));
    } catch {
      // It has just ended.
    }
  };
  const timer = setInterval(look, 10);
  const status = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  rmSync(output, { force: true });
  if (status !== 0) throw new Error(`status ${status}`);
  return { peak, seconds: (performance.now() - started) / 1000 };
}

console.log(`Node ${process.version}, two threads; peak resident memory in MB (seconds)`);
console.log(['input'.padEnd(26), ...runs.map(([name]) => name.padStart(15)), 'limit'.padStart(8)].join(''));
let failed = false;
try {
  for (const [name, make, limit] of inputs) {
    const input = make();
    const cells = [];
    for (const [, options] of runs) {
      const { peak, seconds } = await peakOf(input, options);
      failed ||= peak > limit * 1e6;
      cells.push(`${(peak / 1e6).toFixed(0)} (${seconds.toFixed(1)})`.padStart(15));
    }
    console.log([name.padEnd(26), ...cells, String(limit).padStart(8)].join(''));
    if (!values.keep) rmSync(input, { recursive: true });
  }
} finally {
  if (!values.keep) rmSync(directory, { recursive: true, force: true });
}
if (failed) {
  console.error('a run took more memory than its limit');
  process.exitCode = 1;
}
