import { openBlas } from './blas.ts';
import type { Multiply } from './gemm.ts';

/** Exports of the compute module (src/kernels/compute), by name. */
export type ComputeExports = Readonly<Record<string, (...args: number[]) => number>>;

/** What a task works with: one for each thread of a team. */
export interface TaskScope {
  /** 0 is the thread that conducts. */
  readonly thread: number;
  readonly threads: number;
  /** The compute kernels, over the shared memory. */
  readonly compute: ComputeExports;
  /** The shared memory. */
  readonly memory: WebAssembly.Memory;
  /** Address of `scratchBytes` bytes that are this thread's own. */
  readonly scratch: number;
  readonly scratchBytes: number;
  /** Address of the space in which this thread's matrix products keep slices. */
  readonly packing: number;
  /** The system's matrix product, where it was chosen. */
  readonly blas: Multiply | null;
  /** The compiled quantization kernels (src/kernels), for tasks that make an instance with memory of their own. */
  readonly quantization: WebAssembly.Module | null;
  /** What a task keeps from one call to the next on this thread: instances of kernels, open files. */
  readonly kept: Map<string, unknown>;
  floats(address: number, count: number): Float32Array;
  doubles(address: number, count: number): Float64Array;
  bytes(address: number, count: number): Uint8Array;
}

/**
 * One piece of work: piece `index` of a run that was asked for with `args` (numbers, addresses above all) and `payload`
 * (anything that can be cloned). Pieces of one run may execute in any order and at once, so that they must not
 * write what another reads.
 */
export type Task = (scope: TaskScope, index: number, args: readonly number[], payload: unknown) => void;

/** A module of tasks exports them under this name. */
export interface TaskModule {
  readonly tasks: Readonly<Record<string, Task>>;
}

export interface ScopeOptions {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly thread: number;
  readonly threads: number;
  readonly scratch: number;
  readonly scratchBytes: number;
  readonly packing: number;
  /** Path of the library. */
  readonly blas: string | null;
  readonly quantization: WebAssembly.Module | null;
}

/** Instantiates the kernels over the shared memory, and loads the library if there is one. */
export function openScope({ memory, module, blas, ...rest }: ScopeOptions): TaskScope {
  const abort = () => {
    throw new Error('a kernel aborted');
  };
  const { exports } = new WebAssembly.Instance(module, { env: { memory, abort } });
  return {
    ...rest,
    memory,
    blas: blas === null ? null : openBlas(blas).over(memory),
    compute: exports as unknown as ComputeExports,
    kept: new Map(),
    floats: (address, count) => new Float32Array(memory.buffer, address, count),
    doubles: (address, count) => new Float64Array(memory.buffer, address, count),
    bytes: (address, count) => new Uint8Array(memory.buffer, address, count),
  };
}
