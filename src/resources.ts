import { availableParallelism } from 'node:os';
import { SUM_RANGE } from './core/error-sums.ts';
import { UsageError } from './core/errors.ts';
import { chooseKernels, type WasmModule } from './quantize/kernels.ts';

/** How much of the machine a run may take. */
export interface ResourceOptions {
  /** Worker threads; by default one for each processor. */
  readonly threads?: number;
  /** Weights a thread handles at a time, a multiple of 32768; sets the memory a thread takes. */
  readonly chunkSize?: number;
  readonly kernels?: 'auto' | 'simd' | 'scalar';
}

/** What a run takes, checked. */
export interface Resources {
  readonly threads: number;
  /** Weights that a thread handles at a time. */
  readonly chunk: number;
  /** Compiled SIMD kernels, or null for the scalar twins. */
  readonly module: WasmModule | null;
}

const DEFAULT_CHUNK = 1 << 20;

/**
 * Threads, chunk and kernels, checked.
 *
 * @throws UsageError
 */
export function resolveResources(options: ResourceOptions): Resources {
  const threads = options.threads ?? availableParallelism();
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new UsageError('the number of threads is out of range', {
      expected: 'a whole number from 1 to 1024',
      got: String(threads),
    });
  }
  const chunk = options.chunkSize ?? DEFAULT_CHUNK;
  if (!Number.isInteger(chunk) || chunk < SUM_RANGE || chunk % SUM_RANGE !== 0 || chunk > 1 << 26) {
    throw new UsageError('the chunk size is out of range', {
      expected: `a multiple of ${SUM_RANGE} weights, up to ${1 << 26}`,
      got: String(chunk),
    });
  }
  return { threads, chunk, module: chooseKernels(options.kernels ?? 'auto') };
}
