import { createRequire } from 'node:module';
import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from 'node:worker_threads';
import { QuantizeError } from '../core/errors.ts';
import { startWorker } from '../core/worker-thread.ts';
import { Arena } from './arena.ts';
import { compileCompute, type Gemm, REPRODUCIBLE } from './gemm-choice.ts';
import { openScope, type Task, type TaskModule, type TaskScope } from './scope.ts';
import {
  CONTROL,
  type Command,
  failureOf,
  type MemberData,
  type MemberFailure,
  takePieces,
} from './team-protocol.ts';

/** A piece of work failed with an error that is not a bug: `failure` is what the task said. */
export class TaskFailure extends Error {
  readonly failure: unknown;
  constructor(task: string, failure: unknown) {
    super(`${task} failed`);
    this.failure = failure;
  }
}

export interface TeamOptions {
  readonly threads: number;
  /** Size of the shared memory in bytes, at most 4 GiB; pages that are never touched take none. */
  readonly bytes: number;
  /** Bytes of scratch for each thread. */
  readonly scratchBytes: number;
  /** Modules whose tasks the team can run: what the conductor imported, and where a worker finds the same. */
  readonly modules: readonly { readonly specifier: string; readonly module: TaskModule }[];
  readonly quantization: WebAssembly.Module | null;
  /** How matrices are multiplied; else by the kernels whose results are the same everywhere. */
  readonly gemm?: Gemm;
  /**
   * Starts each thread, of number 1 on, with its port by `startMember`; else the thread that conducts does. That one hears no
   * events while it waits, so if a thread died, it would wait for ever. Where that matters a thread whose event loop is free
   * starts them, and ends the waiting one when it hears of a death.
   */
  readonly startThread?: (port: MessagePort, thread: number) => void;
}

const PAGE = 65_536;

const { resolve } = createRequire(import.meta.url);

/** Starts a thread of a team. Whatever it has to know waits at its port, which nobody but itself reads. */
export const startMember = (port: MessagePort): Worker =>
  startWorker(resolve('#team-worker'), { workerData: { port }, transferList: [port] });

/** The system gives a team no memory. */
export class SharedMemoryError extends QuantizeError {}

/** @throws SharedMemoryError where the system has no room for it, as under `ulimit -v` */
function sharedMemory(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new SharedMemoryError('the system gives no shared memory for the calculation', {
      expected: `${pages * PAGE} bytes`,
      got: (cause as Error).message,
      advice: 'allow less by --memory',
      cause,
    });
  }
}

/**
 * Threads that work on one shared memory under one conductor. The conductor is the thread that calls: `run` blocks it, and it
 * takes pieces of the work as the others do. So a calculation reads as a sequence of runs, and whatever its pieces write is
 * there when `run` returns. Numbers do not depend on the number of threads as long as the pieces do not.
 */
export class Team {
  /** Where the conductor takes buffers. */
  readonly arena: Arena;
  /** The conductor's own scope. */
  readonly scope: TaskScope;
  readonly #control: Int32Array;
  readonly #ports: MessagePort[] = [];
  readonly #tasks = new Map<string, Task>();
  /** Whether the other threads are known to be ready; what kept one of them from that. */
  #ready = false;
  #broken: MemberFailure | null = null;

  constructor({
    threads,
    bytes,
    scratchBytes,
    modules,
    quantization,
    gemm = REPRODUCIBLE,
    startThread = (port) => startMember(port).unref(),
  }: TeamOptions) {
    const pages = Math.min(65_536, Math.ceil(bytes / PAGE));
    const memory = sharedMemory(pages);
    const module = compileCompute(gemm);
    this.#control = new Int32Array(new SharedArrayBuffer(4 * CONTROL.slots));
    const shared = { memory, module, threads, scratchBytes, quantization, blas: gemm.blas };
    const probe = openScope({ ...shared, thread: 0, scratch: 0, packing: 0 });
    this.arena = new Arena(probe.compute.arenaBase(), pages * PAGE);
    const own = Array.from({ length: threads }, () => ({
      scratch: this.arena.take(scratchBytes, 'scratch of a thread'),
      packing: this.arena.take(probe.compute.gemmScratchBytes(), 'matrix products of a thread'),
    }));
    this.scope = { ...probe, ...own[0] };
    for (const { module: tasks } of modules) {
      for (const [name, task] of Object.entries(tasks.tasks)) this.#tasks.set(name, task);
    }
    const paths = modules.map(({ specifier }) =>
      specifier.startsWith('#') ? resolve(specifier) : specifier,
    );
    for (let thread = 1; thread < threads; thread++) {
      const { port1, port2 } = new MessageChannel();
      const data: MemberData = {
        scope: { ...shared, thread, ...own[thread] },
        control: this.#control,
        modules: paths,
      };
      port1.postMessage(data);
      port1.unref();
      this.#ports.push(port1);
      startThread(port2, thread);
    }
  }

  get threads(): number {
    return this.#ports.length + 1;
  }

  /**
   * Executes pieces 0 .. count - 1 of a task over all threads and returns when all are done. `payload` is cloned for each
   * thread, so it should be small.
   *
   * @throws TaskFailure for a piece that failed with `failure`; the error itself of any other, which is a bug, and so is
   *   a thread that could not be made ready
   */
  run(name: string, count: number, args: readonly number[] = [], payload: unknown = null): void {
    const task = this.#tasks.get(name);
    if (task === undefined) throw new Error(`no task is named ${name}`);
    const control = this.#control;
    Atomics.store(control, CONTROL.next, 0);
    // One piece needs no one else.
    const helpers = count > 1 ? this.#ports.length : 0;
    if (helpers > 0) {
      this.#requireHelpers();
      Atomics.store(control, CONTROL.busy, helpers);
      const command: Command = { name, count, args, payload };
      for (const port of this.#ports) port.postMessage(command);
      Atomics.add(control, CONTROL.generation, 1);
      Atomics.notify(control, CONTROL.generation);
    }
    let failure: MemberFailure | null = null;
    try {
      takePieces(control, count, (index) => task(this.scope, index, args, payload));
    } catch (error) {
      Atomics.store(control, CONTROL.next, count); // the others stop after their piece
      failure = failureOf(error);
    }
    if (helpers > 0) {
      for (let busy = helpers; busy > 0; busy = Atomics.load(control, CONTROL.busy)) {
        Atomics.wait(control, CONTROL.busy, busy);
      }
      const others = this.#firstFailure(); // taken in any case: it must not be there when the next run looks
      failure ??= others;
    }
    if (failure === null) return;
    if (failure.failure !== undefined) throw new TaskFailure(name, failure.failure);
    throw new Error(failure.message, { cause: failure.stack });
  }

  /**
   * Waits until the other threads are there. One that is not would never take its share, nor say so: the thread that conducts hears
   * no events while it waits.
   */
  #requireHelpers(): void {
    const control = this.#control;
    if (!this.#ready) {
      const count = this.#ports.length;
      for (let ready = Atomics.load(control, CONTROL.ready); ready < count; ) {
        Atomics.wait(control, CONTROL.ready, ready);
        ready = Atomics.load(control, CONTROL.ready);
      }
      this.#ready = true;
      this.#broken = this.#firstFailure();
    }
    if (this.#broken === null) return;
    const { message, stack } = this.#broken;
    throw new Error(`a thread could not be made ready: ${message}`, { cause: stack });
  }

  /** Takes what the other threads said went wrong, at most one message each. */
  #firstFailure(): MemberFailure | null {
    let failure: MemberFailure | null = null;
    for (const port of this.#ports) {
      const answer = receiveMessageOnPort(port) as { message: MemberFailure } | undefined;
      failure ??= answer?.message ?? null;
    }
    return failure;
  }

  /** Ends the other threads. */
  close(): void {
    Atomics.store(this.#control, CONTROL.stop, 1);
    Atomics.add(this.#control, CONTROL.generation, 1);
    Atomics.notify(this.#control, CONTROL.generation);
    for (const port of this.#ports) port.close();
  }
}
