// Rounding by GPTQ: weights per second of each type, factor given.
//
//   npm run build && node bench/gptq.js [--types Q4_K,Q6_K] [--rows N] [--columns N] [--threads N] [--sweeps N] [--json FILE]
//
// The Hessian is that of 2 x columns correlated activations. What is timed is quantizeMatrix without its comparison with
// ggml's codings; its measurement of the result is included.
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { factorHessian } from '../dist/compute/factor.js';
import { Hessian } from '../dist/compute/hessian.js';
import * as linear from '../dist/compute/linear-tasks.js';
import * as compute from '../dist/compute/tasks.js';
import { Team } from '../dist/compute/team.js';
import { bytesOf, dataTypes } from '../dist/core/types.js';
import { takesGptq } from '../dist/plan/calibration.js';
import { DEFAULT_SWEEPS, quantizeMatrix } from '../dist/quantize/gptq/matrix.js';
import * as gptq from '../dist/quantize/gptq/tasks.js';
import { compileKernels } from '../dist/quantize/kernels.js';

const { values: options } = parseArgs({
  options: {
    types: { type: 'string', default: Object.keys(dataTypes).filter(takesGptq).join(',') },
    rows: { type: 'string', default: '512' },
    columns: { type: 'string', default: '1024' },
    threads: { type: 'string', default: `${availableParallelism()}` },
    sweeps: { type: 'string', default: `${DEFAULT_SWEEPS}` },
    json: { type: 'string' },
  },
});
const [rows, n, threads, sweeps] = ['rows', 'columns', 'threads', 'sweeps'].map((name) =>
  Number(options[name]),
);

/** Seeded normal numbers. */
let state = 1;
function uniform() {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return (state + 0.5) / 2 ** 32;
}
const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());

const team = new Team({
  threads,
  bytes: 1 << 30,
  scratchBytes: Math.max(gptq.GPTQ_SCRATCH_BYTES, linear.LINEAR_SCRATCH_BYTES),
  modules: [
    { specifier: '#compute-tasks', module: compute },
    { specifier: '#linear-tasks', module: linear },
    { specifier: '#gptq-tasks', module: gptq },
  ],
  quantization: compileKernels(),
});
const { arena, scope } = team;

const hessian = new Hessian(team, n);
arena.scoped(() => {
  const tokens = 2 * n;
  const address = arena.takeFloats(tokens * n, 'activations');
  const x = scope.floats(address, tokens * n);
  const directions = Array.from({ length: 8 }, () => Array.from({ length: n }, normal));
  for (let token = 0; token < tokens; token++) {
    const strengths = directions.map(normal);
    for (let j = 0; j < n; j++) {
      x[token * n + j] = directions.reduce((sum, d, i) => sum + 0.6 * strengths[i] * d[j], normal());
    }
  }
  hessian.add(address, n, tokens);
});
const factor = factorHessian(team, hessian, { damping: 0.01 });
const weights = Float32Array.from({ length: rows * n }, () => 0.02 * normal());
const at = arena.takeFloats(rows * n, 'weights');
const codes = arena.take(bytesOf('F32', rows * n), 'codes');

const host = { node: process.version, cpu: cpus()[0]?.model ?? null, threads };
console.log(`${rows} x ${n} weights, ${threads} threads, ${sweeps} sweeps, ${host.cpu}, Node ${host.node}`);
console.log('million weights per second; output error of the result');
const results = [];
for (const type of options.types.split(',')) {
  const run = () => {
    scope.floats(at, rows * n).set(weights);
    const from = performance.now();
    const { result } = quantizeMatrix(team, {
      ...{ weights: at, rows, n, type, hessian, factor, codes, sweeps },
      compare: false,
    });
    return { result, rate: (rows * n) / (performance.now() - from) / 1000 };
  };
  run();
  const { result, rate } = run();
  results.push({ type, millionWeightsPerSecond: rate, outputError: result });
  console.log(`${type.padEnd(8)}${rate.toFixed(3).padStart(8)}  ${result.toExponential(3)}`);
}
team.close();
if (options.json !== undefined) {
  writeFileSync(options.json, `${JSON.stringify({ rows, columns: n, sweeps, host, results }, null, 2)}\n`);
}
