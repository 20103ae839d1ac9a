import { readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EncoderName } from '../../src/core/plan.ts';
import type { TypeName } from '../../src/core/types.ts';
import { bytesOf } from '../../src/core/types.ts';
import type { Job, TensorJob } from '../../src/quantize/job.ts';
import { compileKernels } from '../../src/quantize/kernels.ts';
import { newControl, PoolFailure, type PoolOptions, runPool } from '../../src/quantize/pool.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const CHUNK = 32768;
const module = compileKernels();

/** A tensor of zeros of so many chunks, and the job that encodes it to nowhere. */
function jobOf(parts: { chunks?: number; type?: TypeName; encoder?: string; chunk?: number } = {}): Job {
  const { chunks = 4, type = 'F32', encoder = 'Q8_0', chunk = CHUNK } = parts;
  const elements = chunks * CHUNK;
  const bytes = bytesOf(type, elements);
  const path = put(temporaryDirectory(), 'weights', new Uint8Array(Math.min(bytes, 1 << 20)));
  const stored = { name: 'w', type, shape: [elements], file: 0, offset: 0, byteLength: bytes };
  const tensor: TensorJob = {
    name: 'w',
    elements,
    rowLength: elements,
    source: { kind: 'stored', parts: [stored], rows: { kind: 'file' } },
    encoder: encoder as EncoderName,
    file: 0,
    offset: 0,
  };
  return { files: [{ path, size: bytes }], tensors: [tensor], chunk };
}

const run = (job: Job, options: Partial<PoolOptions> = {}): Promise<void> =>
  runPool({
    job,
    phase: 'encode',
    threads: 2,
    module,
    target: null,
    control: newControl(),
    signal: undefined,
    onDone() {},
    ...options,
  });

/** The chunk failure that ends a run. */
const failureOf = async (job: Job, options: Partial<PoolOptions> = {}) => {
  const error = await run(job, options).then(
    () => null,
    (reason) => reason,
  );
  expect(error).toBeInstanceOf(PoolFailure);
  return (error as PoolFailure).chunk;
};

/** Threads of this process; null where nobody counts them. */
const threads = (): number | null =>
  process.platform === 'linux' ? readdirSync('/proc/self/task').length : null;

describe('runPool', () => {
  it('hands over every chunk once, and ends its threads', async () => {
    const before = threads();
    const done: number[] = [];
    await run(jobOf(), { onDone: (number) => done.push(number) });
    expect(done.sort()).toEqual([0, 1, 2, 3]);
    expect(threads()).toBe(before);
  });

  it('does nothing for a job of nothing', async () => {
    await run({ files: [], tensors: [], chunk: CHUNK });
    await run(jobOf({ chunks: 0 }));
  });

  it.each([module, null])('rejects with what a worker threw, every thread ended', async (kernels) => {
    const before = threads();
    await expect(run(jobOf({ encoder: 'Q9_Z' }), { module: kernels })).rejects.toThrow(TypeError);
    expect(threads()).toBe(before);
  });

  it('rejects with what its caller threw', async () => {
    const onDone = () => {
      throw new Error('no room for the result');
    };
    await expect(run(jobOf(), { onDone })).rejects.toThrow('no room for the result');
  });

  it('stops early on a signal, without an error', async () => {
    const controller = new AbortController();
    const done: number[] = [];
    const onDone = (number: number) => {
      done.push(number);
      controller.abort();
    };
    await run(jobOf({ chunks: 8, type: 'BF16' }), {
      onDone,
      signal: controller.signal,
      threads: 1,
      module: null,
    });
    expect(done.length).toBeGreaterThan(0);
    const none: number[] = [];
    await run(jobOf(), { onDone: (number) => none.push(number), signal: AbortSignal.abort() });
    expect(none).toEqual([]);
  });

  it('names what the system refuses', async () => {
    const job = jobOf();
    const gone = { ...job, files: [{ path: join(job.files[0].path, 'gone'), size: 1 }] };
    expect(await failureOf(gone)).toMatchObject({ cause: 'read', code: 'ENOTDIR', file: 0, tensor: 'w' });
    const target = { kind: 'files', paths: ['/dev/null/m.gguf'] } as const;
    expect(await failureOf(job, { target })).toMatchObject({ cause: 'write', code: 'ENOTDIR', tensor: 'w' });
  });

  it('tells a file that ends early from one that cannot be read', async () => {
    const job = jobOf();
    truncateSync(job.files[0].path, 3 * CHUNK * 4 + 100);
    expect(await failureOf(job)).toMatchObject({ cause: 'short-read', file: 0, tensor: 'w' });
  });

  it('names the lack of memory for an arena', async () => {
    const job = jobOf({ chunks: 1 << 14, type: 'F64', chunk: 1 << 29 }); // 4 GiB for a chunk as stored
    expect(await failureOf(job)).toMatchObject({ cause: 'memory', tensor: null });
    expect(
      await failureOf(jobOf({ chunks: 1 << 24, type: 'F64', chunk: 2 ** 39 }), { module: null }),
    ).toMatchObject({
      cause: 'memory',
    });
  });
});
