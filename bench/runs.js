#!/usr/bin/env node
// Whole runs as processes, interleaved A B A B, at the same number of threads:
//   safetensors -> GGUF   ours, error report included, against bench/baseline.js (reading, libggml, writing, no report)
//   BF16 GGUF -> GGUF     ours, error report included, against llama_model_quantize (bench/llama-quantize.js)
//
//   npm run bench:runs -- [MODEL] [--gib 0.46] [--types Q4_K_M,Q8_0] [--threads 1,2] [--runs 5] [--json FILE]
//
// Without MODEL a checkpoint of --gib GiB is made in a temporary directory and removed again.
import { statSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseMixture } from '../dist/plan/mixtures.js';
import { here, host, makeCheckpoint, median, quantize, run, scratchFolder, spread } from './common.js';

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
const at = scratchFolder();
const runs = Number(values.runs);

let [model] = positionals;
if (model === undefined) {
  model = at('model');
  makeCheckpoint(model, { gib: values.gib, hidden: '1024' });
}
const output = at('out.gguf');
const whole = at('bf16.gguf');
quantize(model, '--type', 'BF16', '-o', whole, '--quiet');

console.log(host);
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
      const source = input === 'safetensors' ? model : whole;
      const machine = ['--threads', threads, '--force', '--quiet'];
      const ours = () => quantize(source, '--type', type, '-o', output, ...machine);
      ours();
      run(...theirs);
      const seconds = { ours: [], theirs: [] };
      for (let i = 0; i < runs; i++) {
        seconds.ours.push(ours());
        seconds.theirs.push(run(...theirs));
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
