import { emptyErrorSums } from '../../src/core/error-sums.ts';
import type { TensorProgress } from '../../src/core/output.ts';
import type { ResumeKey } from '../../src/write/resume-key.ts';

/** A key of a made-up job. */
export const keyOf = (over: Partial<ResumeKey> = {}): ResumeKey => ({
  version: '1.0.0',
  chunk: 32768,
  inputs: [{ name: 'model.safetensors', bytes: 100, modified: 0, headerSha256: 'aa' }],
  planSha256: 'bb',
  headerSha256: 'cc',
  gemm: null,
  options: { type: 'Q4_0' },
  ...over,
});

/** Progress of a tensor with `chunks` chunks done in order and those of `waiting` besides. */
export const progressOf = (chunks = 0, waiting: readonly number[] = []): TensorProgress => ({
  chunks,
  checksum: 7 * chunks,
  calibration: null,
  sums: { ...emptyErrorSums(), count: 32768 * chunks, sumX2: chunks / 3, maxError: chunks * 1e-300 },
  waiting: new Map(
    waiting.map((chunk) => [
      chunk,
      {
        checksum: chunk,
        sums: Float64Array.of(0.1, 1e300, 5e-324, chunk),
        maxError: 1 / 3,
        maxErrorAt: chunk,
      },
    ]),
  ),
});
