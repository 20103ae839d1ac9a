#!/usr/bin/env node
// Where the time of `--method gptq` goes, and what memory it takes, on a generated model:
//   npm run bench:gptq-run -- [--gib 0.2] [--hidden 1024] [--type Q4_K_M] [--tokens 32768] [--context 256]
//                             [--gemm wasm,auto] [--memory 512M,2G] [--threads 2] [--document]
// One run for each way of multiplying and each memory bound: the runs are long, and what is shown are shares of them. The
// extrapolation counts operations by docs/gptq.md and takes the rates of the last run. --document writes the tables there.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { calibrationPhases } from '../dist/core/calibration.js';
import { here, host, makeCheckpoint, modelOptions, processor, quantize, scratchFolder } from './common.js';

const { values } = parseArgs({
  options: {
    ...modelOptions,
    type: { type: 'string', default: 'Q4_K_M' },
    tokens: { type: 'string', default: '32768' },
    gemm: { type: 'string', default: 'wasm,auto' },
    memory: { type: 'string', default: '2G' },
    threads: { type: 'string', default: '2' },
    document: { type: 'boolean', default: false },
  },
});
const at = scratchFolder();

/** One run: its report. */
function quantized(gemm, memory) {
  const report = at('report.json');
  const run = ['--type', values.type, '--calibration-tokens', values.tokens, '--context', values.context];
  const machine = ['--threads', values.threads, '--gemm', gemm, '--memory', memory];
  const files = ['-o', at('out.gguf'), '--report', report, '--force', '--quiet'];
  quantize(at('model'), '--method', 'gptq', ...run, ...machine, ...files);
  return JSON.parse(readFileSync(report, 'utf8'));
}

const seconds = (value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));
/** The library's own name, where the report has it in brackets. */
const productsOf = ({ gemm }) => /\((OpenBLAS [\d.]+)/.exec(gemm)?.[1] ?? gemm.replace(/ \(.*/, '');
const mib = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');

/** Published shapes: width d, feed-forward f, keys and values k, layers. */
const shapes = {
  '1B': { d: 2048, f: 8192, k: 512, layers: 16 },
  '8B': { d: 4096, f: 14336, k: 1024, layers: 32 },
  '70B': { d: 8192, f: 28672, k: 1024, layers: 80 },
};

/** Weights of the blocks, and multiplications and additions of a run by kind. */
function operations({ d, f, k, layers }, tokens) {
  const weights = layers * (2 * d * d + 2 * d * k + 3 * d * f);
  // Two passes; what is behind the last group of a step is calculated once.
  const forward = 4 * tokens * weights;
  const gathered = tokens * layers * (3 * d * d + f * f);
  const lost = tokens * layers * (2 * 2 * d * d + 4 * d * d + 4 * d * f);
  return { weights, products: forward + gathered + lost };
}

makeCheckpoint(at('model'), values, '--vocab', '2048');
console.log(host);
const rows = [];
const memoryRows = [];
let last;
for (const gemm of values.gemm.split(',')) {
  for (const memory of values.memory.split(',')) {
    const report = quantized(gemm, memory);
    const { run, model } = report;
    const times = run.calibrationSeconds;
    const total = calibrationPhases.reduce((sum, phase) => sum + times[phase], 0);
    const cells = calibrationPhases.map(
      (phase) => `${seconds(times[phase])} (${((100 * times[phase]) / total).toFixed(0)} %)`,
    );
    rows.push([productsOf(run), memory, ...cells, seconds(run.seconds.total), times.coresBusy.toFixed(2)]);
    memoryRows.push([productsOf(run), memory, mib(run.peakRssBytes)]);
    console.log(rows.at(-1).join('  '));
    last = { times, total, weights: model.weights };
  }
}
const { times, total, weights } = last;
const generated = `a generated Llama of ${(weights / 1e6).toFixed(0)} M weights (width ${values.hidden}), ${values.type}, ${values.tokens} tokens in windows of ${values.context}, ${values.threads} threads`;
const timeTable = [
  `${processor}, ${generated}; seconds, one run each:`,
  '',
  table(['products', '`--memory`', ...calibrationPhases, 'whole run', 'cores busy'], rows),
].join('\n');

// Rates of the last run: products by their operations, coding by weights.
const width = Number(values.hidden);
const own = operations(shapeOf(at('model')), Number(values.tokens));
const rate = own.products / (times.forward + times.hessian + times.correction);
const coding = own.weights / times.coding;
const guesses = Object.entries(shapes).map(([name, each]) => {
  const tokens = Math.min(131_072, Math.max(32_768, 8 * each.f));
  const { weights: count, products } = operations(each, tokens);
  const hours = (products / rate + count / coding) / 3600;
  const states = 2 * 4 * tokens * each.d;
  const tiles = 3 * 4 * each.f ** 2;
  const step = 2 * 3 * 4 * each.d * each.f;
  return [name, tokens, hours.toFixed(hours < 10 ? 1 : 0), mib(step), mib(states), mib(tiles)];
});
const guessTable = [
  'Extrapolated by operations at the rates of the last line, for this many threads; other threads divide the hours. Bytes: weights of',
  'the largest step in both passes (WebAssembly has 4 GiB), hidden states, Hessian and factors; the last two go to scratch files',
  'as far as `--memory` does not hold them.',
  '',
  table(['model', 'tokens', 'hours', 'step', 'hidden states', 'Hessian, factors'], guesses),
].join('\n');
console.log(`\n${timeTable}\n\n${guessTable}`);
console.log(`products ${(rate / 1e9).toFixed(1)} GFLOP/s, coding ${(coding / 1e6).toFixed(2)} M weights/s`);
console.log(
  `GPTQ's own share (factor, coding): ${((100 * (times.factor + times.coding)) / total).toFixed(0)} % at width ${width}`,
);
if (values.document) {
  const { replaceTable } = await import('../scripts/tables.js');
  const document = here('../docs/gptq.md');
  replaceTable(document, 'time', `${timeTable}\n\n${guessTable}`);
  replaceTable(
    document,
    'memory',
    `Largest resident memory of such runs:\n\n${table(['products', '`--memory`', 'peak'], memoryRows)}`,
  );
}

/** Extents of the generated model. */
function shapeOf(directory) {
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'));
  const { hidden_size: d, intermediate_size: f, num_hidden_layers: layers } = config;
  const k = (d / config.num_attention_heads) * config.num_key_value_heads;
  return { d, f, k, layers };
}
