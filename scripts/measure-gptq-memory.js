#!/usr/bin/env node
// Measures the peak resident memory of GPTQ runs at two threads under several values of --memory, on a generated model of
// more than 100 million weights. It may be what --memory says and 150 MB for Node, the threads and the text.
// Usage: node scripts/measure-gptq-memory.js [--memory 512M,1G,2G] [--gib 0.2] [--hidden 768] [--tokens 32768] [--layers 2]
//                                            [--directory DIR]
// Only the first layers are coded (how many there are makes no difference: one is in memory at a time), and no output.weight.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseMemory } from '../dist/cli/options.js';

const OVERHEAD = 150e6;

const { values } = parseArgs({
  options: {
    memory: { type: 'string', default: '512M,1G,2G' },
    gib: { type: 'string', default: '0.2' }, // of bf16: over 100 M weights
    hidden: { type: 'string', default: '768' },
    tokens: { type: 'string', default: '32768' },
    layers: { type: 'string', default: '2' },
    directory: { type: 'string' },
  },
});
const root = fileURLToPath(new URL('..', import.meta.url));
const directory = values.directory ?? mkdtempSync(join(tmpdir(), 'quantize-memory-'));
mkdirSync(directory, { recursive: true });
const at = (name) => join(directory, name);
const node = (script, ...argv) =>
  execFileSync(process.execPath, [join(root, script), ...argv], { stdio: ['ignore', 'ignore', 'inherit'] });

let failed = false;
try {
  node('scripts/make-checkpoint.js', at('model'), '--gib', values.gib, '--hidden', values.hidden);
  const { num_hidden_layers: layers } = JSON.parse(readFileSync(at('model/config.json'), 'utf8'));
  const coded = Math.min(layers, Number(values.layers));
  const rest = Array.from({ length: layers - coded }, (_, i) => coded + i);
  const job = [
    ...[at('model'), '--method', 'gptq', '--type', 'Q4_0', '--leave-output-tensor', '--gemm', 'wasm'],
    ...(rest.length > 0 ? ['--prune-layers', rest.join()] : []),
    ...['--calibration-tokens', values.tokens, '--threads', '2', '--quiet', '--force'],
    ...['-o', at('output.gguf'), '--report', at('report.json')],
  ];
  console.log(`Node ${process.version}, two threads, ${values.tokens} tokens, ${coded} of ${layers} layers`);
  console.log('--memory   peak resident MB   beyond it MB   seconds');
  for (const memory of values.memory.split(',')) {
    node('bin/quantize.js', ...job, '--memory', memory);
    const { peakRssBytes, seconds } = JSON.parse(readFileSync(at('report.json'), 'utf8')).run;
    const beyond = peakRssBytes - parseMemory(memory);
    failed ||= beyond > OVERHEAD;
    const cells = [peakRssBytes / 1e6, beyond / 1e6, seconds.total].map((value) => value.toFixed(0));
    console.log([memory.padEnd(8), ...cells.map((cell, i) => cell.padStart([19, 15, 10][i]))].join(''));
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (failed) {
  console.error(`a run took more than --memory and ${OVERHEAD / 1e6} MB`);
  process.exitCode = 1;
}
