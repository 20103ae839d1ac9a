// Hessians and their factors: GFLOP/s of accumulation, factorisation and the quadratic form.
//
//   npm run bench:linear -- [--sizes 1024,2816] [--threads 1,2] [--runs N] [--gemm KIND] [--file] [--json FILE]
//
// Each figure is the best of N runs. Accumulation and quadratic form count what a whole product costs, 2 n^2 FLOP a row, though
// one triangle is computed: so they may exceed the machine's peak. Factorisation counts n^3 / 3, float64, and
// includes collecting and damping. --file keeps the tiles in scratch files (TMPDIR).
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { factorHessian } from '../dist/compute/factor.js';
import { openGemm } from '../dist/compute/gemm-choice.js';
import { Hessian } from '../dist/compute/hessian.js';
import * as linear from '../dist/compute/linear-tasks.js';
import { Team } from '../dist/compute/team.js';
import { TilePool } from '../dist/compute/tiles.js';

const ROWS = 2048;
const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1024,2816' },
    threads: { type: 'string', default: '1,2' },
    runs: { type: 'string', default: '5' },
    gemm: { type: 'string', default: 'wasm' },
    file: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});

const gemm = openGemm(options.gemm);

/** Least seconds of some runs. */
function best(act) {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < Number(options.runs); run++) {
    const start = performance.now();
    act();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  return least;
}

function measure(threads, n) {
  const team = new Team({
    threads,
    bytes: (256 << 20) + 8 * ROWS * n,
    scratchBytes: linear.LINEAR_SCRATCH_BYTES,
    modules: [{ specifier: '#linear-tasks', module: linear }],
    quantization: null,
    gemm,
  });
  const pool = new TilePool(team, options.file ? { maxBytes: 0 } : {});
  const x = team.arena.takeFloats(ROWS * n, 'activations');
  let state = 1;
  team.scope.floats(x, ROWS * n).forEach((_, i, values) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    values[i] = state / 2 ** 31 - 1;
  });
  const hessian = new Hessian(team, n, { pool });
  const flop = 2 * n * n * ROWS;
  const add = flop / best(() => hessian.add(x, n, ROWS)) / 1e9;
  const form = flop / best(() => hessian.quadraticForm(x, n, ROWS)) / 1e9;
  const factor = n ** 3 / 3 / best(() => factorHessian(team, hessian, { damping: 0.01 }).free()) / 1e9;
  pool.close();
  team.close();
  return { n, threads, add, form, factor };
}

console.log(
  `${cpus()[0].model}; products by ${gemm.name}; X of ${ROWS} x n; tiles in ${options.file ? 'files' : 'memory'}; GFLOP/s`,
);
console.log('     n  threads  X^T X (float32)  tr(M H M^T)  factor (float64)');
const results = [];
for (const n of options.sizes.split(',').map(Number)) {
  for (const threads of options.threads.split(',').map(Number)) {
    const row = measure(threads, n);
    results.push(row);
    const cells = [n, threads, row.add.toFixed(1), row.form.toFixed(1), row.factor.toFixed(1)];
    console.log([6, 9, 17, 13, 18].map((width, i) => String(cells[i]).padStart(width)).join(''));
  }
}
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
