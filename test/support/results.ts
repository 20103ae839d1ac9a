import type { CalibrationFacts, TensorCalibration } from '../../src/core/calibration.ts';
import type { Checkpoint, StoredTensor } from '../../src/core/checkpoint.ts';
import { type ErrorSums, emptyErrorSums } from '../../src/core/error-sums.ts';
import type { Evaluation } from '../../src/core/evaluation.ts';
import type { Plan, PlannedTensor } from '../../src/core/plan.ts';
import type { RangeSums } from '../../src/core/ranges.ts';
import type { RunResult, TensorResult } from '../../src/core/result.ts';
import { bytesOf, elementsOf } from '../../src/core/types.ts';

/** Hand-made plans and results, for tests of what comes after the stages. */

export const stored = (over: Partial<StoredTensor> = {}): StoredTensor => {
  const shape = over.shape ?? [4, 256];
  const type = over.type ?? 'BF16';
  return {
    name: 'w',
    type,
    shape,
    file: 0,
    offset: 0,
    byteLength: bytesOf(type, elementsOf(shape)),
    ...over,
  };
};

export const checkpoint = (over: Partial<Checkpoint> = {}): Checkpoint => ({
  format: 'safetensors',
  path: 'model',
  directory: 'model',
  files: [{ path: 'model/model.safetensors', size: 4096 }],
  tensors: new Map(),
  metadata: [],
  ...over,
});

export const planned = (over: Partial<PlannedTensor> = {}): PlannedTensor => {
  const shape = over.shape ?? [256, 4];
  return {
    name: 'blk.0.ffn_down.weight',
    shape,
    type: 'Q4_K',
    encoder: over.type === undefined || over.type.startsWith('I') ? 'Q4_K' : over.type,
    source: { kind: 'stored', parts: [stored({ shape: [...shape].reverse() })], rows: { kind: 'file' } },
    reason: 'mixture Q4_K_M',
    ...over,
  };
};

export const plan = (over: Partial<Plan> = {}): Plan => ({
  checkpoint: checkpoint(),
  fileType: 'Q4_K_M',
  method: 'kquant',
  modelName: 'model',
  architecture: 'llama',
  runnable: { yes: true },
  metadata: [
    { key: 'general.architecture', type: 'STRING', value: 'llama' },
    { key: 'llama.block_count', type: 'UINT64', value: 2n ** 60n },
    {
      key: 'tokenizer.ggml.tokens',
      type: 'ARRAY',
      elementType: 'STRING',
      value: Array.from({ length: 300 }, (_, i) => `t${i}`),
    },
  ],
  calibration: null,
  tensors: [planned()],
  notes: [],
  warnings: [],
  ...over,
});

/** Sums of a tensor whose every weight is 1 and every error `error`, the largest at `at`. */
export const sums = (count: number, error: number, at = 0): ErrorSums => ({
  ...emptyErrorSums(),
  count,
  sumX2: count,
  sumQ2: count * (1 + error) ** 2,
  sumXQ: count * (1 + error),
  sumE2: count * error ** 2,
  maxError: Math.abs(error),
  maxErrorAt: at,
});

/** As many weights of 1 as `sums`, but 4 of 3, of which nothing but clipping is lost; half of them came back as 0. */
export const rangedSums = (count = 1024, over: Partial<RangeSums> = {}): ErrorSums => ({
  ...sums(count, 0),
  sumX2: count - 4 + 36,
  sumE2: 16 + 0.01 * (count - 4),
  range: {
    ...{ clipped: 4, zeros: count / 2, outliers: 4, outlierX2: 36, outlierE2: 16 },
    ...{ lowLeast: -1.5, lowMost: -1, highLeast: 1, highMost: 1.5, ...over },
  },
});

export const result = (
  tensors: readonly [PlannedTensor, ErrorSums][],
  over: Partial<RunResult> = {},
): RunResult => ({
  plan: plan({ tensors: tensors.map(([tensor]) => tensor) }),
  output: 'out.gguf',
  fileBytes: 5000,
  split: null,
  tensors: tensors.map(
    ([tensor, errors]): TensorResult => ({
      tensor,
      bytesBefore: 2 * elementsOf(tensor.shape),
      bytesAfter: bytesOf(tensor.type, elementsOf(tensor.shape)),
      sums: errors,
    }),
  ),
  calibration: null,
  evaluation: null,
  hashes: {
    inputs: [{ name: 'model.safetensors', bytes: 4096, headerSha256: '12', sha256: null }],
    planSha256: '34',
    outputs: [{ bytes: 5000, headerSha256: '56', sha256: null }],
  },
  run: {
    startedAt: '2025-01-02T03:04:05.000Z',
    seconds: { read: 0.01, plan: 0.02, calibrate: 0, quantize: 1.2, write: 0.1, total: 1.33 },
    threads: 2,
    kernels: 'simd',
    input: 'model',
    output: 'out.gguf',
    host: {
      platform: 'linux',
      arch: 'x64',
      processor: 'a processor',
      cpus: 2,
      node: 'v20.0.0',
      version: '0.1.0',
    },
    peakRssBytes: 100 << 20,
  },
  ...over,
});

/** What calibration did for a tensor. */
export const calibrated = (over: Partial<TensorCalibration> = {}): TensorCalibration => ({
  tokens: 131_072,
  damping: 0.01,
  escalations: 0,
  condition: 4e5,
  deadChannels: 0,
  outputError: { nearest: 0.04, importance: 0.02, result: 0.01 },
  rounding: 'gptq',
  ...over,
});

export const calibrationFacts = (over: Partial<CalibrationFacts> = {}): CalibrationFacts => ({
  corpus: 'bundled prose',
  files: [{ path: 'prose.txt', bytes: 900_000 }],
  tokens: 131_072,
  windows: 512,
  context: 256,
  sha256: 'cd',
  seed: 0,
  method: 'gptq',
  rounding: 'gptq',
  actOrder: false,
  correction: 0.75,
  damping: 0.01,
  gemm: 'blas: libopenblas.so.0',
  ...over,
});

export const evaluation = (over: Partial<Evaluation> = {}): Evaluation => ({
  text: 'eval.txt',
  sha256: 'ef',
  context: 256,
  windows: 100,
  tokens: 12_800,
  perplexity: 12.345678,
  standardError: 0.21,
  base: {
    perplexity: 12.1,
    divergence: {
      mean: 0.014,
      standardError: 3e-4,
      median: 5e-3,
      p90: 0.02,
      p99: 0.09,
      p999: 0.3,
      max: 1.2,
    },
    topAgreement: 0.9525,
  },
  ...over,
});
