import type { ChunkTarget, TensorProgress } from './core/output.ts';
import type { TensorResult } from './core/result.ts';
import { runFailure } from './failures.ts';
import { type EncodeOptions, encodeTensors, verifyProgress } from './quantize/encode.ts';
import { HistogramCollector } from './quantize/histogram.ts';
import { chunkBytes, type Job } from './quantize/job.ts';
import { type Found, jobOf } from './quantize/planned-job.ts';
import { announceEmitted, newControl, stopPool } from './quantize/pool.ts';
import { noProgress } from './quantize/progress.ts';
import { isQuantized } from './report/report.ts';
import type { Run } from './run.ts';
import type { RunKey } from './run-key.ts';
import { tensorResult } from './run-result.ts';
import { type Output, openOutput } from './write/output.ts';

/** Blocks of tensors that are coded already, by the number of the tensor. */
export type TensorBlocks = ReadonlyMap<number, Uint8Array>;

/**
 * What a run writes, from its opening until it is whole, or is left for a run that resumes. Tensors go by their number in
 * `run.planned`.
 */
export class RunOutput {
  /** How workers hand over chunks. */
  readonly target: ChunkTarget;
  /** How far each tensor is. */
  readonly progress: readonly TensorProgress[];
  readonly #run: Run;
  readonly #output: Output;
  /** What `verify` and `encode` give to the workers. */
  readonly #common: Omit<EncodeOptions, 'control' | 'onChunk' | 'onProgress'>;
  readonly #control: Int32Array;
  readonly #totalWeights: number;

  private constructor(
    run: Run,
    job: Job,
    progress: readonly TensorProgress[],
    output: Output,
    control: Int32Array,
  ) {
    const { resources, options } = run;
    this.target = output.target;
    this.progress = progress;
    this.#run = run;
    this.#output = output;
    this.#common = {
      ...{ job, progress, target: output.target, histograms: new HistogramCollector(job.tensors) },
      ...{ threads: resources.threads, module: resources.module, signal: options.signal },
    };
    this.#control = control;
    this.#totalWeights = job.tensors.reduce((sum, { elements }) => sum + elements, 0);
  }

  /**
   * Opens the files or the stream, and tells of the plan.
   *
   * @param found ranges that were looked for before
   * @throws InterruptedError when the signal aborts, and the errors of openOutput
   */
  static async open(run: Run, key: RunKey, found: Found): Promise<RunOutput> {
    const { plan, layout, output, target, planned, places, resources, options, onEvent } = run;
    const { resume = false, histograms = false, signal } = options;
    const tensors = planned.map((tensor, i) => ({
      ...jobOf(tensor, places[i], found),
      counted: histograms && isQuantized(tensor),
    }));
    const job: Job = { files: plan.checkpoint.files, chunk: resources.chunk, tensors };
    const progress = planned.map(noProgress);
    const control = newControl();
    const announce = () => onEvent({ kind: 'plan', plan, layout, output });
    // A file is opened or refused at once; a stream may wait long for its reader.
    if (target.kind === 'stream') announce();
    const opened = await openOutput(target, {
      ...{ layout, key, resume, progress, signal },
      slotBytes: chunkBytes(job).encoded,
      slots: 2 * resources.threads,
      onEmitted: (count) => announceEmitted(control, count),
      onBroken: () => stopPool(control),
    }).catch((error) => {
      throw runFailure(error, run, null);
    });
    if (target.kind === 'files') announce();
    return new RunOutput(run, job, progress, opened, control);
  }

  /**
   * Reads back what an earlier run has left, and tells how much of it is good.
   *
   * @throws PoolFailure; the signal's reason when it aborts
   */
  async verify(): Promise<void> {
    const { options, onEvent } = this.#run;
    const doneWeights = await verifyProgress(this.#common);
    onEvent({ kind: 'resumed', doneWeights, totalWeights: this.#totalWeights });
    options.signal?.throwIfAborted();
  }

  /**
   * Codes, measures and writes what is not done of the tensors `only`, or of all. Those with blocks are not coded again.
   *
   * @throws PoolFailure; the signal's reason when it aborts
   */
  async encode(coded: TensorBlocks, only?: ReadonlySet<number>): Promise<void> {
    const { options, onEvent } = this.#run;
    const { job } = this.#common;
    const tensors = job.tensors.map((tensor, i) => {
      const blocks = coded.get(i);
      return blocks === undefined ? tensor : { ...tensor, blocks };
    });
    await encodeTensors({
      ...this.#common,
      job: { ...job, tensors },
      ...(only && { only }),
      control: this.#control,
      onChunk: (chunk) => this.#output.take(chunk),
      onProgress: (doneWeights, tensor) =>
        onEvent({ kind: 'progress', doneWeights, totalWeights: this.#totalWeights, tensor }),
    });
    options.signal?.throwIfAborted();
  }

  /**
   * After every tensor was encoded: files get their names.
   *
   * @throws what keeps the output from becoming whole
   */
  finish(): Promise<void> {
    return this.#output.finish();
  }

  /** After a failure: keeps what a run can go on with, and returns the failure in the user's terms. */
  async abandon(error: unknown): Promise<unknown> {
    const { target, onEvent } = this.#run;
    await this.#output.abandon();
    const { kept } = this.#output;
    if (kept.length > 0) onEvent({ kind: 'kept', paths: kept });
    return runFailure(error, this.#run, target);
  }

  /** What became of each tensor. */
  results(): TensorResult[] {
    const { histograms } = this.#common;
    return this.#run.planned.map((tensor, i) => tensorResult(tensor, this.progress[i], histograms.of(i)));
  }
}
