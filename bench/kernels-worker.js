// One thread of bench/kernels.js: encodes or decodes the same rows again and again for a given time, an eighth of them
// in a pass, so that a slow coding does not take much longer than that.
import { parentPort, workerData } from 'node:worker_threads';
import { fromBfloat16, toBfloat16 } from '../dist/core/float.js';
import { bytesOf, dataTypes } from '../dist/core/types.js';
import { simdKernels } from '../dist/quantize/kernels.js';
import { loadLibrary } from '../test/engine/library.js';

const { module, barrier, rows, rowLength } = workerData;
const PASSES = 8; // over all rows
const all = rows * rowLength;
const passRows = rows / PASSES;
const n = passRows * rowLength;
const x = normals(all, 1, (normal) => fromBfloat16(toBfloat16(0.02 * normal)));
const blocks = new Uint8Array(4 * all);
const decoded = new Float32Array(all);
const importance = normals(rowLength, 2, Math.exp);

const kernels = simdKernels(module, 12 * all + 4 * rowLength);
const source = kernels.base;
const encoded = source + 4 * all;
const output = encoded + 4 * all;
const importanceAt = output + 4 * all;
new Float32Array(kernels.buffer, source, all).set(x);
new Float32Array(kernels.buffer, importanceAt, rowLength).set(importance);
const parts = Array.from({ length: PASSES }, (_, part) => x.subarray(part * n, (part + 1) * n));

const ggml = loadLibrary();

const operations = {
  ours: {
    encode:
      ({ encoder, type }) =>
      (part) =>
        kernels.quantize(encoder, source + 4 * n * part, encoded + bytesOf(type, n) * part, n),
    encodeWeighted:
      ({ type }) =>
      (part) => {
        const [src, dst] = [source + 4 * n * part, encoded + bytesOf(type, n) * part];
        kernels.quantizeWeighted(type, src, dst, passRows, rowLength, importanceAt);
      },
    decode: ({ encoder, type }) => {
      kernels.quantize(encoder, source, encoded, all);
      return (part) => kernels.dequantize(type, encoded + bytesOf(type, n) * part, output + 4 * n * part, n);
    },
  },
  ggml: {
    encode: ({ type }) => encodeByGgml(type, null),
    encodeWeighted: ({ type }) => encodeByGgml(type, importance),
    decode: ({ type }) => {
      const { ggmlId } = dataTypes[type];
      const toFloat = ggml.toFloat(ggmlId);
      const coded = blocksOf(type);
      const floats = Array.from({ length: PASSES }, (_, part) => decoded.subarray(part * n, (part + 1) * n));
      ggml.quantizeChunk(ggmlId, x, blocks, rows, rowLength, null);
      return (part) => toFloat(coded[part], floats[part], n);
    },
  },
};

function encodeByGgml(type, weights) {
  const { ggmlId } = dataTypes[type];
  const coded = blocksOf(type);
  return (part) => ggml.quantizeChunk(ggmlId, parts[part], coded[part], passRows, rowLength, weights);
}

/** The blocks of each pass. */
function blocksOf(type) {
  const bytes = bytesOf(type, n);
  return Array.from({ length: PASSES }, (_, part) => blocks.subarray(part * bytes, (part + 1) * bytes));
}

/** Functions of seeded standard normal numbers (Box-Muller over mulberry32). */
function normals(count, seed, value) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float32Array.from({ length: count }, () => value(normal()));
}

/** Returns when `threads` threads have arrived: [arrived, generation]. */
function meet(threads) {
  const state = new Int32Array(barrier);
  const generation = Atomics.load(state, 1);
  if (Atomics.add(state, 0, 1) + 1 === threads) {
    Atomics.store(state, 0, 0);
    Atomics.add(state, 1, 1);
    Atomics.notify(state, 1);
  } else {
    Atomics.wait(state, 1, generation);
  }
}

parentPort.on('message', (job) => {
  const pass = operations[job.side][job.operation](job);
  meet(job.threads);
  const start = performance.now();
  let passes = 0;
  let elapsed = 0;
  do {
    pass(passes++ % PASSES);
    elapsed = performance.now() - start;
  } while (elapsed < job.ms);
  parentPort.postMessage((passes * n * 1000) / elapsed);
});
