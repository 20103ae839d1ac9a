import type { ChunkTarget, EncodedChunk, TensorProgress } from '../core/output.ts';
import { typeOfEncoder } from '../core/plan.ts';
import { bytesOf } from '../core/types.ts';
import type { HistogramCollector } from './histogram.ts';
import { ChunkIndex, encodedBytes, type Job } from './job.ts';
import type { WasmModule } from './kernels.ts';
import { newControl, runPool } from './pool.ts';
import { addChunk, agrees, doneChunks, forget } from './progress.ts';

export interface EncodeOptions {
  readonly job: Job;
  readonly threads: number;
  readonly module: WasmModule | null;
  readonly target: ChunkTarget;
  readonly control: Int32Array;
  readonly signal: AbortSignal | undefined;
  /** How far each tensor is, kept up to date; chunks that are done are left alone. */
  readonly progress: readonly TensorProgress[];
  /** Takes the histograms of the tensors that are counted. */
  readonly histograms: HistogramCollector;
  /** The tensors to encode now, by their number in the job; all unless told. */
  readonly only?: ReadonlySet<number>;
  onChunk(chunk: EncodedChunk): void;
  /** Weights encoded so far, and the tensor the last chunk belongs to. */
  onProgress(doneWeights: number, tensor: string): void;
}

/**
 * Quantizes what is not done of every tensor of a job. Nothing more is taken when the signal aborts.
 *
 * @throws PoolFailure
 */
export async function encodeTensors(options: EncodeOptions): Promise<void> {
  const { job, progress, only } = options;
  const index = new ChunkIndex(job);
  let doneWeights = weightsDone(job, progress);
  const skip = only || doneWeights > 0 ? doneChunks(job, progress) : null;
  job.tensors.forEach((_, i) => {
    if (only && !only.has(i)) skip!.fill(1, index.firstOf(i), index.firstOf(i) + index.chunksOf(i));
  });

  await runPool({
    ...options,
    phase: 'encode',
    skip,
    onDone(number, { histogram, ...done }) {
      const { tensor, start, count } = index.locate(number);
      if (histogram) options.histograms.add(tensor, histogram, count);
      const { name, encoder, elements, file, offset } = job.tensors[tensor];
      addChunk(progress[tensor], start / job.chunk, done, elements);
      options.onChunk({
        number,
        file,
        offset: offset + bytesOf(typeOfEncoder(encoder), start),
        byteLength: encodedBytes(job.tensors[tensor], count),
      });
      doneWeights += count;
      options.onProgress(doneWeights, name);
    },
  });
}

/**
 * Reads back what an earlier run wrote. Tensors in which a checksum differs are taken as not begun; nothing is decided
 * when the signal aborts. Returns the weights that are done.
 *
 * @throws PoolFailure
 */
export async function verifyProgress(
  options: Omit<EncodeOptions, 'control' | 'onChunk' | 'onProgress'>,
): Promise<number> {
  const { job, progress, histograms, signal } = options;
  if (weightsDone(job, progress) === 0) return 0;
  const index = new ChunkIndex(job);
  const checksums = progress.map(() => new Map<number, number>());
  await runPool({
    ...options,
    phase: 'verify',
    skip: doneChunks(job, progress).map((done) => 1 - done),
    control: newControl(),
    onDone(number, { checksum, histogram }) {
      const { tensor, start, count } = index.locate(number);
      if (histogram) histograms.add(tensor, histogram, count);
      checksums[tensor].set(start / job.chunk, checksum);
    },
  });
  if (!signal?.aborted) {
    progress.forEach((tensor, i) => {
      if (agrees(tensor, checksums[i])) return;
      forget(tensor);
      histograms.forget(i);
    });
  }
  return weightsDone(job, progress);
}

/** Weights in the chunks that are done. */
function weightsDone({ chunk, tensors }: Job, progress: readonly TensorProgress[]): number {
  return progress.reduce((sum, { chunks, waiting }, i) => {
    const weightsIn = (number: number) => Math.min(chunk, tensors[i].elements - number * chunk);
    const first = Math.min(chunks * chunk, tensors[i].elements);
    return [...waiting.keys()].reduce((total, number) => total + weightsIn(number), sum + first);
  }, 0);
}
