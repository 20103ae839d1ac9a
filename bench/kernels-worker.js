// One thread of bench/kernels.js: encodes or decodes the same rows again and again for a given time.
import { parentPort, workerData } from 'node:worker_threads';
import { fromBfloat16, toBfloat16 } from '../dist/core/float.js';
import { bytesOf, dataTypes } from '../dist/core/types.js';
import { simdKernels } from '../dist/quantize/kernels.js';
import { loadLibrary } from '../test/engine/library.js';

const { module, barrier, rows, rowLength } = workerData;
const n = rows * rowLength;
const x = gaussianRows(n);
const blocks = new Uint8Array(4 * n);
const decoded = new Float32Array(n);

const kernels = simdKernels(module, 12 * n);
const source = kernels.base;
const encoded = source + 4 * n;
const output = encoded + 4 * n;
new Float32Array(kernels.buffer, source, n).set(x);

const ggml = loadLibrary();

const operations = {
  ours: {
    encode:
      ({ encoder }) =>
      () =>
        kernels.quantize(encoder, source, encoded, n),
    decode: ({ encoder, type }) => {
      kernels.quantize(encoder, source, encoded, n);
      return () => kernels.dequantize(type, encoded, output, n);
    },
  },
  ggml: {
    encode: ({ type }) => {
      const { ggmlId } = dataTypes[type];
      return () => ggml.quantizeChunk(ggmlId, x, blocks, rows, rowLength, null);
    },
    decode: ({ type }) => {
      const { ggmlId } = dataTypes[type];
      const toFloat = ggml.toFloat(ggmlId);
      ggml.quantizeChunk(ggmlId, x, blocks.subarray(0, bytesOf(type, n)), rows, rowLength, null);
      return () => toFloat(blocks, decoded, n);
    },
  },
};

/** Standard normal numbers (Box-Muller over mulberry32) times 0.02, as bfloat16 holds them. */
function gaussianRows(count) {
  let state = 1;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return Float32Array.from({ length: count }, () => fromBfloat16(toBfloat16(0.02 * normal())));
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
    pass();
    passes++;
    elapsed = performance.now() - start;
  } while (elapsed < job.ms);
  parentPort.postMessage((passes * n * 1000) / elapsed);
});
