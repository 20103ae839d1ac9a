// Our kernels against ggml_quantize_chunk of the real library, one thread each and two threads each.
//
//   npm run bench:kernels -- [--types "Q8_0,Q4_0 +importance"] [--json FILE] [--runs N]
//
// A row "Q4_0 +importance" codes under an importance matrix. All rows take less than two minutes.
//
// Runs alternate (ours, ggml, ours, ggml, ...), so that whatever else the machine does hits both alike; a ratio is
// that of two neighbouring runs. Rates are weights encoded (or decoded) per second.
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { typeOfEncoder } from '../dist/core/plan.js';
import { bitsPerWeight } from '../dist/core/types.js';
import { encoders, weightedEncoders } from '../dist/quantize/format/index.js';
import { compileKernels } from '../dist/quantize/kernels.js';
import { engineDirectory } from '../test/engine/library.js';
import { median } from './common.js';

const ROWS = 64;
const ROW_LENGTH = 4096;
const WARM_UP_MS = 60;
const RUN_MS = 30;
const DATA =
  `${ROWS} rows of ${ROW_LENGTH} weights, Gaussian with deviation 0.02 rounded to bfloat16; ` +
  'importances log-normal, sigma 1; seeded';
const IMPORTANCE = ' +importance';

const { values: options } = parseArgs({
  options: { types: { type: 'string' }, json: { type: 'string' }, runs: { type: 'string', default: '7' } },
});
if (engineDirectory === null) throw new Error('the engine (@node-llama-cpp/linux-x64) is not installed');
const runs = Number(options.runs);
const codings = [
  ...Object.keys(encoders),
  ...Object.keys(weightedEncoders).map((type) => `${type}${IMPORTANCE}`),
];
const selected = options.types?.split(',') ?? codings;
const unknown = selected.filter((coding) => !codings.includes(coding));
if (unknown.length > 0) throw new Error(`no coding ${unknown.join(', ')}; there are ${codings.join(', ')}`);

const barrier = new SharedArrayBuffer(8);
const module = compileKernels();
const workers = [0, 1].map(
  () =>
    new Worker(new URL('./kernels-worker.js', import.meta.url), {
      workerData: { module, barrier, rows: ROWS, rowLength: ROW_LENGTH },
    }),
);

/** Runs a job on the first `threads` workers at once; the sum of their rates in weights per second. */
async function rate(threads, job) {
  const used = workers.slice(0, threads);
  const answers = used.map(
    (worker) =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      }),
  );
  for (const worker of used) worker.postMessage({ ...job, threads });
  const rates = await Promise.all(answers);
  for (const worker of used) worker.removeAllListeners('error');
  return rates.reduce((sum, each) => sum + each, 0);
}

/** The least ratio to ggml on one thread that the project asks of each coding. */
const REQUIRED = { Q4_K: 3.5, Q5_K: 3, Q6_K: 3, Q2_K: 3, Q3_K: 1.5, Q8_0: 3, Q4_0: 1.5 };
const REQUIRED_OF_IMPORTANCE = { Q4_K: 3, Q5_K: 3, Q6_K: 3, Q2_K: 3, IQ4_XS: 3, IQ4_NL: 3 };

function requiredOf(type, weighted) {
  if (!weighted) return REQUIRED[type] ?? 1;
  return REQUIRED_OF_IMPORTANCE[type] ?? (type.startsWith('IQ') ? 2 : 1.5);
}

/** Alternating runs; rates of both sides and ratios of neighbours, without ggml where it has no such coding. */
async function duel(threads, job, withGgml) {
  const ours = [];
  const ggml = [];
  for (const side of withGgml ? ['ours', 'ggml'] : ['ours'])
    await rate(threads, { ...job, side, ms: WARM_UP_MS });
  for (let run = 0; run < runs; run++) {
    ours.push(await rate(threads, { ...job, side: 'ours', ms: RUN_MS }));
    if (withGgml) ggml.push(await rate(threads, { ...job, side: 'ggml', ms: RUN_MS }));
  }
  const ratios = ours.map((value, run) => value / ggml[run]);
  return {
    ours: median(ours),
    ggml: withGgml ? median(ggml) : null,
    ratio: withGgml ? { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) } : null,
  };
}

const millions = (rate) => (rate === null ? '-' : (rate / 1e6).toFixed(0)).padStart(7);
const ratioText = (ratio) =>
  (ratio === null
    ? '-'
    : `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)})`
  ).padStart(24);

console.log(`${DATA}; ${runs} alternating runs of at least ${RUN_MS} ms; medians, ratio (min..max).`);
console.log(
  `Node ${process.version}, ${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} threads.`,
);
console.log('Rates in million weights per second.\n');
const titles = ['encode, 1 thread', 'encode, 2 threads', 'decode, 1 thread'];
console.log(`${''.padEnd(28)}|${titles.map((title) => title.padEnd(40)).join('|')}`);
const columns = `${'ours'.padStart(7)} ${'ggml'.padStart(7)}${'ratio'.padStart(24)} `;
console.log(`${'type'.padEnd(19)}required |${columns}|${columns}|${columns}`);

const results = [];
for (const coding of selected) {
  const weighted = coding.endsWith(IMPORTANCE);
  const encoder = weighted ? coding.slice(0, -IMPORTANCE.length) : coding;
  const type = typeOfEncoder(encoder);
  const withGgml = !encoder.includes(':');
  const encode = { encoder, type, operation: weighted ? 'encodeWeighted' : 'encode' };
  const decode = { encoder, type, operation: 'decode' };
  const result = {
    encoder: coding,
    bitsPerWeight: bitsPerWeight(type),
    required: withGgml ? requiredOf(type, weighted) : null,
    encode1: await duel(1, encode, withGgml),
    encode2: await duel(2, encode, withGgml),
    // Decoding does not depend on importance; ggml has no function for F32.
    decode1: weighted ? null : await duel(1, decode, type !== 'F32'),
  };
  results.push(result);
  const cells = [result.encode1, result.encode2, result.decode1].map((cell) =>
    cell === null ? '' : `${millions(cell.ours)} ${millions(cell.ggml)}${ratioText(cell.ratio)} `,
  );
  console.log(`${coding.padEnd(18)}${`${result.required ?? '-'}`.padStart(9)} |${cells.join('|')}`);
}
await Promise.all(workers.map((worker) => worker.terminate()));

const missed = results.filter(
  ({ encode1, required }) => encode1.ratio !== null && encode1.ratio.median < required,
);
if (missed.length > 0)
  console.log(`\nBelow what is required: ${missed.map(({ encoder }) => encoder).join(', ')}`);

if (options.json !== undefined) {
  const host = { node: process.version, cpu: cpus()[0]?.model ?? null, threads: availableParallelism() };
  writeFileSync(options.json, `${JSON.stringify({ data: DATA, runs, host, results }, null, 2)}\n`);
}
