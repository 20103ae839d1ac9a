#!/usr/bin/env node
// Whole runs as processes, interleaved A B A B, at the same number of threads:
//   safetensors -> GGUF   ours, error report included, against bench/baseline.js (reading, libggml, writing, no report)
//   BF16 GGUF -> GGUF     ours, error report included, against llama_model_quantize (bench/llama-quantize.js)
//
//   npm run bench:runs -- [MODEL] [--gib 0.46] [--types Q4_K_M,Q8_0] [--threads 1,2] [--runs 5] [--json FILE]
//
// Without MODEL a checkpoint of --gib GiB is made in a temporary directory and removed again.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parseMixture } from '../dist/plan/mixtures.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    gib: { type: 'string', default: '0.46' },
    types: { type: 'string', default: 'Q4_K_M,Q8_0' },
    threads: { type: 'string', default: '1,2' },
    runs: { type: 'string', default: '5' },
    json: { type: 'string' },
  },
});
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'quantize-bench-'));
const runs = Number(values.runs);

function run(command) {
  const started = performance.now();
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')} failed:\n${stderr}`);
  return (performance.now() - started) / 1000;
}
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) =>
  `${median(list).toFixed(2)} (${Math.min(...list).toFixed(2)}..${Math.max(...list).toFixed(2)})`;

try {
  let [model] = positionals;
  if (model === undefined) {
    model = join(scratch, 'model');
    run([here('../scripts/make-checkpoint.js'), model, '--gib', values.gib, '--hidden', '1024']);
  }
  const output = join(scratch, 'out.gguf');
  const whole = join(scratch, 'bf16.gguf');
  const quantize = (input, type, threads) => [
    here('../bin/quantize.js'),
    input,
    '--type',
    type,
    '-o',
    output,
    '--threads',
    threads,
    '--force',
    '--quiet',
  ];
  run([here('../bin/quantize.js'), model, '--type', 'BF16', '-o', whole, '--quiet']);

  console.log(`${cpus()[0].model}, ${cpus().length} cores, Node ${process.version}`);
  console.log(
    `${positionals[0] ?? `generated Llama of ${(statSync(whole).size / 2e6).toFixed(0)} M weights, bf16 Gaussian`}; ` +
      `${runs} interleaved runs after one warm-up each; seconds and ratios: median (min..max)\n`,
  );
  console.log('input        type     threads  ours s               theirs s             theirs / ours');
  const results = [];
  for (const type of values.types.split(',')) {
    for (const threads of values.threads.split(',')) {
      for (const [input, theirs] of [
        ['safetensors', [here('baseline.js'), model, type, output, threads]],
        ['BF16 GGUF', [here('llama-quantize.js'), whole, parseMixture(type).fileType, output, threads]],
      ]) {
        const ours = quantize(input === 'safetensors' ? model : whole, type, threads);
        run(ours);
        run(theirs);
        const seconds = { ours: [], theirs: [] };
        for (let i = 0; i < runs; i++) {
          seconds.ours.push(run(ours));
          seconds.theirs.push(run(theirs));
        }
        const ratios = seconds.ours.map((value, i) => seconds.theirs[i] / value);
        results.push({ input, type, threads: Number(threads), seconds, ratio: median(ratios) });
        console.log(
          [
            input.padEnd(12),
            type.padEnd(8),
            threads.padEnd(8),
            spread(seconds.ours).padEnd(20),
            spread(seconds.theirs).padEnd(20),
            `${spread(ratios)}x`,
          ].join(' '),
        );
      }
    }
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ runs, results }, null, 2)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
