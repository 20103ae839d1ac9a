// Matrix products of each implementation, on one thread and on two, in GFLOP/s (a multiply-add is two).
//
//   npm run bench:gemm -- [--json FILE] [--runs N]
//
// Runs of the implementations alternate, so that whatever else the machine does hits all alike; shown are the median and the
// best run. Against them stand two peaks of one thread:
//   registers   ten sums of four lanes in WebAssembly that touch no memory, each way to multiply and add;
//   BLAS        cblas_sgemm of the system's library on 2048 x 2048 x 2048, where there is one.
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { main as compile } from 'assemblyscript/asc';
import { multiply, multiplyHere } from '../dist/compute/gemm.js';
import { openGemm } from '../dist/compute/gemm-choice.js';
import * as tasks from '../dist/compute/tasks.js';
import { Team } from '../dist/compute/team.js';

const { values: options } = parseArgs({
  options: { json: { type: 'string' }, runs: { type: 'string', default: '9' } },
});
const runs = Number(options.runs);

/** m x n x k: tokens x out x in of a layer's weights, and X^T X of 4096 tokens. */
const FORWARD = { transposeA: false, transposeB: true };
const GRAM = { transposeA: true, transposeB: false };
const SHAPES = [
  { name: '512 x 1024 x 1024', m: 512, n: 1024, k: 1024, ...FORWARD },
  { name: '512 x 2816 x 1024', m: 512, n: 2816, k: 1024, ...FORWARD },
  { name: '4096 x 256 x 1024', m: 4096, n: 256, k: 1024, ...FORWARD },
  { name: '4096 x 1024 x 2816', m: 4096, n: 1024, k: 2816, ...FORWARD },
  { name: '4096 x 2816 x 1024', m: 4096, n: 2816, k: 1024, ...FORWARD },
  { name: 'X^T X, 1024 x 1024 x 4096', m: 1024, n: 1024, k: 4096, ...GRAM },
];
const MEMORY = 1 << 27;

const gemms = ['wasm', 'wasm-relaxed', 'blas'].flatMap((kind) => {
  try {
    return [openGemm(kind)];
  } catch (error) {
    console.log(`without ${kind}: ${error.message}\n`);
    return [];
  }
});
const teams = gemms.map((gemm) =>
  [1, 2].map((threads) => {
    const modules = [{ specifier: '#compute-tasks', module: tasks }];
    return new Team({ threads, bytes: MEMORY, scratchBytes: 0, modules, quantization: null, gemm });
  }),
);
for (const team of teams.flat()) {
  const floats = team.scope.floats(team.arena.mark(), team.arena.free / 4);
  for (let i = 0; i < floats.length; i++) floats[i] = (((i * 2654435761) >>> 8) & 0xffff) / 65536 - 0.5;
}

const sorted = (values) => values.toSorted((a, b) => a - b);
const summary = (rates) => ({ median: sorted(rates)[rates.length >> 1], best: Math.max(...rates) });
const text = (rate) =>
  (rate === null ? '-' : `${rate.median.toFixed(1)} (${rate.best.toFixed(1)})`).padStart(16);

/** GFLOP/s of `act`, which does `operations`. */
function rate(operations, act) {
  const start = performance.now();
  act();
  return operations / (performance.now() - start) / 1e6;
}

/** The product with its matrices in the memory of a team. */
function placed(team, { m, n, k, transposeA, transposeB }) {
  const a = team.arena.takeFloats(m * k, 'A');
  const b = team.arena.takeFloats(n * k, 'B');
  const c = team.arena.takeFloats(m * n, 'C');
  const lda = transposeA ? m : k;
  const ldb = transposeB ? k : n;
  return { m, n, k, a, lda, transposeA, b, ldb, transposeB, c, ldc: n };
}

/** Ten sums as the kernel has them; `madd` of x, y and the sum. */
async function registerLoop(name, madd) {
  const each = (write) => Array.from({ length: 10 }, (_, i) => write(i)).join('');
  const source =
    'export function loop(turns: i32): f32 { const x = f32x4.splat(0.5), y = f32x4.splat(0.25);' +
    each((i) => `let c${i} = f32x4.splat(${i});`) +
    `for (; turns > 0; turns--) {${each((i) => `c${i} = ${madd(`c${i}`)};`)}}` +
    'let sum = f32x4.splat(0);' +
    each((i) => `sum = f32x4.add(sum, c${i});`) +
    'return f32x4.extract_lane(sum, 0); }';
  let binary;
  const flags = ['--runtime', 'stub', '--enable', 'simd', '--enable', 'relaxed-simd', '-O3', '--noAssert'];
  const { error, stderr } = await compile(['loop.ts', '--outFile', 'loop.wasm', ...flags], {
    readFile: (path) => (path === 'loop.ts' ? source : null),
    writeFile: (_path, contents) => {
      binary = contents;
    },
    listFiles: () => [],
  });
  if (error) throw new Error(`${error.message}: ${stderr}`);
  const { loop } = new WebAssembly.Instance(new WebAssembly.Module(binary), { env: { abort() {} } }).exports;
  return { name: `registers, ${name}`, operations: 2 * 4 * 10 * 2e7, act: () => loop(2e7) };
}

const host = { node: process.version, cpu: cpus()[0]?.model ?? null, threads: availableParallelism() };
console.log(`Node ${host.node}, ${host.cpu ?? 'unknown processor'}, ${host.threads} threads.`);
console.log(`GFLOP/s, median of ${runs} alternating runs (best).\n`);

const peaks = [await registerLoop('multiply, add', (c) => `f32x4.add(${c}, f32x4.mul(x, y))`)];
if (gemms.some(({ name }) => name === 'wasm-relaxed'))
  peaks.push(await registerLoop('relaxed madd', (c) => `f32x4.relaxed_madd(x, y, ${c})`));
const blas = gemms.findIndex(({ blas }) => blas !== null);
if (blas >= 0) {
  const [{ arena, scope }] = teams[blas];
  const product = arena.scoped(() => placed({ arena }, { m: 2048, n: 2048, k: 2048, ...FORWARD }));
  peaks.push({
    name: 'BLAS, 2048 x 2048 x 2048',
    operations: 2 * 2048 ** 3,
    act: () => multiplyHere(scope, product),
  });
}
const peakRates = peaks.map(() => []);
for (let run = -1; run < runs; run++) {
  for (const [i, { operations, act }] of peaks.entries()) {
    const measured = rate(operations, act);
    if (run >= 0) peakRates[i].push(measured); // the first run warms up
  }
}
const peakResults = peaks.map(({ name }, i) => ({ name, ...summary(peakRates[i]) }));
console.log('peak of one thread');
for (const peak of peakResults) console.log(`  ${peak.name.padEnd(28)}${text(peak)}`);

const columns = gemms.flatMap(({ name }) => [`${name.split(':')[0]}, 1`, `${name.split(':')[0]}, 2`]);
console.log(`\n${'m x n x k; threads'.padEnd(28)}${columns.map((name) => name.padStart(16)).join('')}`);
const results = [];
for (const shape of SHAPES) {
  const operations = 2 * shape.m * shape.n * shape.k;
  const rates = teams.flat().map(() => []);
  for (let run = -1; run < runs; run++) {
    for (const [i, team] of teams.flat().entries()) {
      const measured = team.arena.scoped(() => {
        const product = placed(team, shape);
        return rate(operations, () => multiply(team, product));
      });
      if (run >= 0) rates[i].push(measured);
    }
  }
  const cells = rates.map(summary);
  results.push({ shape: shape.name, rates: Object.fromEntries(columns.map((name, i) => [name, cells[i]])) });
  console.log(`${shape.name.padEnd(28)}${cells.map(text).join('')}`);
}
console.log(`\n${gemms.map(({ name }) => name).join('\n')}`);
for (const team of teams.flat()) team.close();
if (options.json !== undefined) {
  const names = gemms.map(({ name }) => name);
  writeFileSync(
    options.json,
    `${JSON.stringify({ runs, host, names, peaks: peakResults, results }, null, 2)}\n`,
  );
}
