#!/usr/bin/env node
// `quantize imatrix` against llama.cpp computing the same, over the same tokens of the same F32 model at equal threads:
//   ours      the whole process: start, reading, tokenizing, forward pass, sums, writing
//   collect   llama.cpp's forward pass with the collection of llama-imatrix (test/engine/imatrix.ts, in JavaScript)
//   forward   llama.cpp's forward pass alone, which no collection can be faster than
// Loading and tokenizing are not in llama.cpp's seconds, so the ratios are those that suit us least. Interleaved.
//
//   npm run bench:imatrix -- [--gib 0.2] [--hidden 1024] [--tokens 8192] [--context 256] [--threads 1,2] [--runs 3]
//                            [--text FILE] [--json FILE]
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { elementsOf } from '../dist/core/types.js';
import { openCheckpoint } from '../dist/read/checkpoint.js';
import { readImatrix } from '../dist/read/imatrix.js';
import {
  here,
  host,
  makeCheckpoint,
  median,
  modelOptions,
  quantize,
  scratchFolder,
  spread,
} from './common.js';

const { values } = parseArgs({
  options: {
    ...modelOptions,
    tokens: { type: 'string', default: '8192' },
    threads: { type: 'string', default: '1,2' },
    runs: { type: 'string', default: '3' },
    text: { type: 'string', default: here('../data/calibration.txt') },
    json: { type: 'string' },
  },
});
const at = scratchFolder();

/** Runs a process: its seconds, and how many cores it kept busy on the average (bash says what it used). */
function timed(program, command) {
  const started = performance.now();
  const shell = ['-c', 'TIMEFORMAT="cpu %U %S"; time "$@"', 'bash', program, ...command];
  const { status, stdout, stderr } = spawnSync('bash', shell, { encoding: 'utf8', cwd: here('..') });
  if (status !== 0) throw new Error(`${command.join(' ')} failed:\n${stderr}`);
  const seconds = (performance.now() - started) / 1000;
  const [, user, system] = /cpu (\S+) (\S+)\s*$/.exec(stderr);
  return { seconds, cores: (Number(user) + Number(system)) / seconds, stdout };
}

/** The largest difference between two importance matrices: of a tensor's sum, and of one column. */
function differences(ours, theirs) {
  let [tensor, column] = [0, 0];
  const [a, b] = [ours, theirs].map((path) => readImatrix(path).entries);
  for (const [name, { values: expected }] of b) {
    const got = a.get(name)?.values;
    if (got?.length !== expected.length)
      throw new Error(`${name}: ${got?.length} of ${expected.length} values`);
    const off = expected.map((value, i) => Math.abs(got[i] - value));
    const sum = (list) => list.reduce((total, value) => total + value, 0);
    tensor = Math.max(tensor, sum(off) / sum(expected));
    column = Math.max(column, ...off.map((value, i) => value / expected[i]));
  }
  return { tensor, column };
}

const { context, tokens } = values;
const node24 = timed('npm', ['exec', '--yes', '--package=node@24', '--', 'node', '-p', 'process.execPath']);
const llama = (...command) => timed(node24.stdout.trim(), [here('llama-imatrix.ts'), ...command]).stdout;
const model = at('model.gguf');
makeCheckpoint(at('model'), values, '--vocab', '2048');
quantize(at('model'), '--type', 'F32', '-o', model, '--quiet');
rmSync(at('model'), { recursive: true });
const text = at('text.txt');
llama('cut', values.text, tokens, context, model, text);

const matrices = [...openCheckpoint(model).tensors.values()].filter(({ shape }) => shape.length > 1);
const weights = matrices.reduce((sum, { shape }) => sum + elementsOf(shape), 0);
// Every matrix but the embeddings is multiplied: two operations a weight and token.
const embeddings = matrices.find(({ name }) => name === 'token_embd.weight').shape;
const operations = 2 * (weights - elementsOf(embeddings)) * Number(tokens);
console.log(host);
console.log(
  `generated F32 Llama of ${(weights / 1e6).toFixed(0)} M weights, ${tokens} tokens in windows of ${context}; ` +
    `${values.runs} interleaved runs; seconds: median (min..max)`,
);
const results = [];
for (const threads of values.threads.split(',')) {
  const collect = ['imatrix', model, '--text', text, '-o', at('ours.gguf'), '--context', context];
  const ours = [here('../bin/quantize.js'), ...collect, '--tokens', tokens, '--threads', threads, '--force'];
  const seconds = { ours: [], collect: [], forward: [] };
  let engine;
  const cores = [];
  for (let i = 0; i < Number(values.runs); i++) {
    const own = timed(process.execPath, ours);
    seconds.ours.push(own.seconds);
    cores.push(own.cores);
    for (const task of ['collect', 'forward']) {
      engine = JSON.parse(llama(task, text, threads, context, model, at('theirs.gguf')));
      if (engine.tokens !== Number(tokens)) throw new Error(`llama.cpp saw ${engine.tokens} tokens`);
      seconds[task].push(engine.seconds);
    }
  }
  const ratioTo = (task) => spread(seconds.ours.map((value, i) => value / seconds[task][i]));
  const { tensor, column } = differences(at('ours.gguf'), at('theirs.gguf'));
  console.log(`\n${threads} thread(s); llama.cpp's backend: ${engine.backend}`);
  for (const [name, list] of Object.entries(seconds)) {
    const rate = `${(Number(tokens) / median(list)).toFixed(0).padStart(7)} tokens/s`;
    const speed = `${(operations / median(list) / 1e9).toFixed(1).padStart(7)} GFLOP/s`;
    console.log(`  ${name.padEnd(8)} ${spread(list).padEnd(24)} ${rate} ${speed}`);
  }
  console.log(`  ours / collect ${ratioTo('collect')}, ours / forward ${ratioTo('forward')}`);
  console.log(`  ours keeps ${spread(cores)} cores busy`);
  console.log(
    `  importances differ by at most ${(100 * tensor).toFixed(3)} % of a tensor, ${(100 * column).toFixed(3)} % of a column`,
  );
  results.push({ threads: Number(threads), backend: engine.backend, seconds, cores, tensor, column });
}
if (values.json) {
  writeFileSync(values.json, `${JSON.stringify({ weights, operations, ...values, results }, null, 2)}\n`);
}
