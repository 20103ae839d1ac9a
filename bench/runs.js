#!/usr/bin/env node
// Whole runs: safetensors to GGUF file, as processes. Ours (error report included) against bench/baseline.js
// (reading + libggml + writing, no report), interleaved A B A B, at the same number of threads.
// Usage: node bench/runs.js MODEL [--types Q4_K_M,Q8_0] [--threads 1,2] [--runs 5] [--json FILE]
import { spawnSync } from 'node:child_process';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    types: { type: 'string', default: 'Q4_K_M,Q8_0' },
    threads: { type: 'string', default: '1,2' },
    runs: { type: 'string', default: '5' },
    json: { type: 'string' },
  },
});
const [model] = positionals;
if (!model) {
  console.error('usage: runs.js MODEL [--types Q4_K_M,Q8_0] [--threads 1,2] [--runs 5] [--json FILE]');
  process.exit(2);
}
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const runs = Number(values.runs);
const output = join(tmpdir(), `quantize-bench-${process.pid}.gguf`);

function time(command) {
  rmSync(output, { force: true });
  const started = performance.now();
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')} failed:\n${stderr}`);
  return (performance.now() - started) / 1000;
}
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list, digits) =>
  `${median(list).toFixed(digits)} (${Math.min(...list).toFixed(digits)}..${Math.max(...list).toFixed(digits)})`;

console.log(
  `model: ${model}; ${runs} interleaved runs after one warm-up each; ${cpus()[0].model}, Node ${process.version}`,
);
console.log(
  'ours: read, encode, decode, measure, write. baseline: read, libggml, write. Seconds: median (min..max).\n',
);
console.log('type      threads  ours s                 baseline s             baseline / ours        output');
const results = [];
for (const type of values.types.split(',')) {
  for (const threads of values.threads.split(',')) {
    const ours = [
      here('../bin/quantize.js'),
      model,
      '--type',
      type,
      '-o',
      output,
      '--threads',
      threads,
      '--quiet',
    ];
    const baseline = [here('baseline.js'), model, type, output, threads];
    time(ours);
    time(baseline);
    const bytes = statSync(output).size;
    const seconds = { ours: [], baseline: [] };
    for (let run = 0; run < runs; run++) {
      seconds.ours.push(time(ours));
      seconds.baseline.push(time(baseline));
    }
    const ratios = seconds.ours.map((value, i) => seconds.baseline[i] / value);
    results.push({ type, threads: Number(threads), bytes, seconds, ratio: median(ratios) });
    console.log(
      [
        type.padEnd(9),
        threads.padEnd(8),
        spread(seconds.ours, 2).padEnd(22),
        spread(seconds.baseline, 2).padEnd(22),
        `${spread(ratios, 2)}x`.padEnd(22),
        `${(bytes / 1e6).toFixed(1)} MB`,
      ].join(' '),
    );
  }
}
rmSync(output, { force: true });
if (values.json) writeFileSync(values.json, `${JSON.stringify({ model, runs, results }, null, 2)}\n`);
