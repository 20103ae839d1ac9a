/**
 * A worker of the pool: takes the next chunk, reads its stored bytes straight into the kernels' arena, decodes,
 * encodes, decodes again, measures, and writes the blocks where the plan says. Tiles of SUM_RANGE weights keep the
 * working set in the cache and fix where partial sums begin.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { SUM_RANGE } from '../core/error-sums.ts';
import { SUMS_PER_TILE } from '../core/output.ts';
import { type BlockEncoder, typeOfEncoder } from '../core/plan.ts';
import { forEachRowPiece, segmentsOf } from '../core/segments.ts';
import { bytesOf, dataTypes, type TypeName } from '../core/types.ts';
import { ChunkCounter, type ChunkHistogram, HISTOGRAM_BYTES } from './histogram.ts';
import { ChunkIndex, chunkBytes, type RowRanges, storedType, type TensorJob } from './job.ts';
import { type Kernels, scalarKernels, simdKernels } from './kernels.ts';
import type { ChunkDone, WorkerData, WorkerMessage } from './pool.ts';
import { CONTROL } from './pool.ts';
import { needsWholeRows, spanOf } from './span.ts';
import { rowFloats, type WeightedArena, weightedCoder } from './weighted.ts';

const data = workerData as WorkerData;
const { job, control, target } = data;
const post = (message: WorkerMessage) => parentPort!.postMessage(message);

/** A worker that waits for room in the window looks this often whether the run was stopped. */
const STOP_POLL_MS = 100;

/** Arena addresses, each a multiple of 16. */
interface Arena extends WeightedArena {
  kernels: Kernels;
  /** Stored bytes of a chunk, or of the rows it touches (`spanOf`). */
  stored: number;
  /** Encoded bytes of the same weights. */
  encoded: number;
  /** One tile as float32: the source values, the decoded blocks. */
  x: number;
  q: number;
  /** Results of the measure and range kernels. */
  out: number;
  /** HISTOGRAM_BYTES, if a tensor is counted. */
  histogram: number;
}

const aligned = (bytes: number) => Math.ceil(bytes / 16) * 16;

function layOutArena(): Arena {
  const sizes = chunkBytes(job);
  const tile = 4 * SUM_RANGE;
  const weighted = job.tensors.filter(({ importance }) => importance !== undefined);
  const rows = Math.max(0, ...weighted.filter(needsWholeRows).map((tensor) => rowFloats(tensor.rowLength)));
  const row = Math.max(0, ...weighted.map(({ rowLength }) => rowLength));
  const counters = job.tensors.some(({ counted }) => counted) ? HISTOGRAM_BYTES : 0;
  const weightedBytes = aligned(4 * rows) + aligned(4 * row);
  const total = aligned(sizes.stored) + aligned(sizes.coded) + 2 * tile + 128 + weightedBytes + counters;
  const kernels = allocate(total);
  const stored = kernels.base;
  const encoded = stored + aligned(sizes.stored);
  const x = encoded + aligned(sizes.coded);
  const [q, out] = [x + tile, x + 2 * tile];
  const [wholeRows, histogram] = [out + 128, out + 128 + weightedBytes];
  const importance = wholeRows + aligned(4 * rows);
  return { kernels, stored, encoded, x, q, out, rows: wholeRows, importance, histogram };
}

function allocate(bytes: number): Kernels {
  try {
    return data.module ? simdKernels(data.module, bytes) : scalarKernels(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ChunkFailure({ cause: 'memory', file: null, message: `${bytes} bytes: ${error.message}` });
  }
}

function run(): void {
  const index = new ChunkIndex(job);
  const inputs = new Map<number, number>(); // file index -> descriptor
  const output = new OutputFile();
  let tensor: TensorJob | null = null;
  try {
    const arena = layOutArena();
    while (Atomics.load(control, CONTROL.stop) === 0) {
      const number = Atomics.add(control, CONTROL.next, 1);
      if (number >= index.count) break;
      if (data.skip?.[number]) continue;
      const chunk = index.locate(number);
      tensor = job.tensors[chunk.tensor];
      if (data.phase === 'verify') {
        const done = checksumOf(tensor, chunk.start, chunk.count, arena, output);
        const counted = tensor.counted && recount(tensor, chunk.start, chunk.count, arena, inputs);
        post({ kind: 'done', number, ...done, ...(counted && { histogram: counted }) });
        continue;
      }
      const span = spanOf(tensor, chunk.start, chunk.count);
      load(tensor, span.start, span.count, arena, inputs);
      const done =
        data.phase === 'range'
          ? rangesOf(tensor, chunk.start, chunk.count, arena)
          : encodeChunk(tensor, chunk.start, chunk.count, arena);
      if (data.phase === 'encode' && !deliver(number, tensor, chunk.start, chunk.count, arena, output)) break;
      post({ kind: 'done', number, ...done });
    }
  } catch (error) {
    if (!(error instanceof ChunkFailure)) throw error;
    post({ kind: 'failed', tensor: tensor?.name ?? null, ...error.failure });
  } finally {
    for (const descriptor of inputs.values()) closeSync(descriptor);
    output.close();
  }
}

/** The output file that the last chunk went to; chunks come in file order, so one is open at a time. */
class OutputFile {
  #index = -1;
  #descriptor = -1;

  /** Descriptor of output file `index`. */
  at(index: number): number {
    if (index === this.#index) return this.#descriptor;
    this.close();
    const path = (target as { paths: readonly string[] }).paths[index];
    this.#descriptor = fileOperation('write', () => openSync(path, 'r+'), null);
    this.#index = index;
    return this.#descriptor;
  }

  close(): void {
    if (this.#index >= 0) closeSync(this.#descriptor);
    this.#index = -1;
  }
}

type Failure = Omit<Extract<WorkerMessage, { kind: 'failed' }>, 'kind' | 'tensor'>;

/** Something wrong with the data or the files, to be reported by name rather than as a crash. */
class ChunkFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.cause);
    this.failure = failure;
  }
}

/** Reads the stored values of output elements [start, start + count) to arena.stored, in output order. */
function load(
  tensor: TensorJob,
  start: number,
  count: number,
  arena: Arena,
  inputs: Map<number, number>,
): void {
  const { source } = tensor;
  if (source.kind === 'values') {
    new Float32Array(arena.kernels.buffer, arena.stored, count).set(
      source.values.slice(start, start + count),
    );
    return;
  }
  const bytes = new Uint8Array(arena.kernels.buffer);
  let at = arena.stored;
  for (const segment of segmentsOf(source, start, count)) {
    let descriptor = inputs.get(segment.file);
    if (descriptor === undefined) {
      descriptor = fileOperation('read', () => openSync(job.files[segment.file].path, 'r'), segment.file);
      inputs.set(segment.file, descriptor);
    }
    let offset = segment.offset;
    for (let left = segment.byteLength; left > 0; ) {
      const read = fileOperation('read', () => readSync(descriptor, bytes, at, left, offset), segment.file);
      if (read === 0) throw new ChunkFailure({ cause: 'short-read', file: segment.file });
      at += read;
      offset += read;
      left -= read;
    }
  }
}

function fileOperation(operation: 'read' | 'write', act: () => number, file: number | null): number {
  try {
    return act();
  } catch (error) {
    const { code = '', message, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error; // a bug, not the operating system
    throw new ChunkFailure({ cause: operation, file, code, message });
  }
}

/** Encodes the loaded chunk into arena.encoded and measures it. */
function encodeChunk(tensor: TensorJob, start: number, count: number, arena: Arena): ChunkDone {
  const { kernels, x, q, out } = arena;
  const type = storedType(tensor.source);
  const coded = typeOfEncoder(tensor.encoder);
  const tiles = Math.ceil(count / SUM_RANGE);
  const sums = new Float64Array(tiles * SUMS_PER_TILE);
  let maxError = 0;
  let maxErrorAt = start;
  const bytes = new Uint8Array(kernels.buffer);
  const span = spanOf(tensor, start, count);
  const lead = start - span.start; // weights loaded before the chunk's own
  const counter = tensor.counted ? new ChunkCounter(kernels, tensor, arena.histogram, out) : null;
  const codeWeighted =
    tensor.importance && weightedCoder(tensor, tensor.importance, span, arena, requireFinite);

  for (let tile = 0; tile < tiles; tile++) {
    const done = tile * SUM_RANGE;
    const n = Math.min(SUM_RANGE, count - done);
    const from = arena.stored + bytesOf(type, lead + done);
    const to = arena.encoded + bytesOf(coded, lead + done);
    if (type !== 'F32') kernels.dequantize(type, from, x, n);
    const weights = type === 'F32' ? from : x;

    if (tensor.ranges) {
      const { scales, zeroPoints } = tensor.ranges;
      forEachRowPiece(tensor.rowLength, start + done, n, (row, piece, length) => {
        const parameters = { scale: scales[row], zeroPoint: zeroPoints[row] };
        kernels.quantizeZeroPoint(weights + 4 * piece, to + piece, length, parameters);
      });
      decodeRows(tensor, tensor.ranges, start + done, n, to, q, kernels);
    } else {
      if (tensor.blocks) bytes.set(blocksOf(tensor.blocks, coded, start + done, n), to);
      else if (codeWeighted) codeWeighted(start + done, n, weights);
      else if (tensor.encoder === type) bytes.copyWithin(to, from, from + bytesOf(type, n));
      else kernels.quantize(tensor.encoder as BlockEncoder, weights, to, n);
      kernels.dequantize(coded, to, q, n);
    }

    kernels.measure(weights, q, n, out);
    const [sumX2, sumQ2, sumXQ, sumE2, tileMax] = new Float64Array(kernels.buffer, out, 5);
    const xs = new Float32Array(kernels.buffer, weights, n);
    const qs = new Float32Array(kernels.buffer, q, n);
    if (!Number.isFinite(sumX2)) {
      refuseWeight(xs, start + done, storedFloats(type, from, weights, n, kernels));
    }
    if (!Number.isFinite(sumQ2)) refuseBlock(dataTypes[coded].blockSize, xs, qs, start + done);
    sums.set([sumX2, sumQ2, sumXQ, sumE2], tile * SUMS_PER_TILE);
    if (tileMax > maxError) {
      maxError = tileMax;
      maxErrorAt = start + done + xs.findIndex((value, i) => Math.abs(value - qs[i]) === tileMax);
    }
    counter?.take(weights, q, start + done, n);
  }
  const checksum = kernels.checksum(arena.encoded + bytesOf(coded, lead), bytesOf(coded, count));
  return { checksum, sums, maxError, maxErrorAt, ...(counter && { histogram: counter.finish() }) };

  function requireFinite(weights: number, from: number, first: number, n: number): void {
    kernels.measure(weights, weights, n, out);
    const [sumX2] = new Float64Array(kernels.buffer, out, 1);
    const xs = new Float32Array(kernels.buffer, weights, n);
    if (!Number.isFinite(sumX2)) refuseWeight(xs, first, storedFloats(type, from, weights, n, kernels));
  }
}

/** Int8 codes of n weights from `start` on to float32, each row by its own scale and zero point. */
function decodeRows(
  { rowLength }: TensorJob,
  { scales, zeroPoints }: RowRanges,
  start: number,
  n: number,
  codes: number,
  q: number,
  kernels: Kernels,
): void {
  forEachRowPiece(rowLength, start, n, (row, piece, length) => {
    const parameters = { scale: scales[row], zeroPoint: zeroPoints[row] };
    kernels.dequantizeZeroPoint(codes + piece, q + 4 * piece, length, parameters);
  });
}

/** The blocks of n weights from `start` on. */
const blocksOf = (blocks: Uint8Array, type: TypeName, start: number, n: number): Uint8Array =>
  blocks.subarray(bytesOf(type, start), bytesOf(type, start + n));

/** Checksum of a chunk as it lies in the output; that of fewer bytes where the file ends early. */
function checksumOf(
  tensor: TensorJob,
  start: number,
  count: number,
  { kernels, encoded }: Arena,
  output: OutputFile,
): ChunkDone {
  const coded = typeOfEncoder(tensor.encoder);
  const bytes = new Uint8Array(kernels.buffer, encoded, bytesOf(coded, count));
  const offset = tensor.offset + bytesOf(coded, start);
  let done = 0;
  while (done < bytes.length) {
    const read = fileOperation(
      'write',
      () => readSync(output.at(tensor.file), bytes, done, bytes.length - done, offset + done),
      null,
    );
    if (read === 0) break;
    done += read;
  }
  return { checksum: kernels.checksum(encoded, done), sums: new Float64Array(), maxError: 0, maxErrorAt: 0 };
}

/** The histogram of a chunk whose blocks `checksumOf` has read; what it reads of them may be damaged. */
function recount(
  tensor: TensorJob,
  start: number,
  count: number,
  arena: Arena,
  inputs: Map<number, number>,
): ChunkHistogram {
  const { kernels, x, q } = arena;
  const type = storedType(tensor.source);
  const coded = typeOfEncoder(tensor.encoder);
  const counter = new ChunkCounter(kernels, tensor, arena.histogram, arena.out);
  load(tensor, start, count, arena, inputs);
  for (let done = 0; done < count; done += SUM_RANGE) {
    const n = Math.min(SUM_RANGE, count - done);
    const from = arena.stored + bytesOf(type, done);
    if (type !== 'F32') kernels.dequantize(type, from, x, n);
    const to = arena.encoded + bytesOf(coded, done);
    if (tensor.ranges) decodeRows(tensor, tensor.ranges, start + done, n, to, q, kernels);
    else kernels.dequantize(coded, to, q, n);
    counter.take(type === 'F32' ? from : x, q, start + done, n);
  }
  return counter.finish();
}

/** Names the first weight that is not finite as float32, by its value as stored. */
function refuseWeight(xs: Float32Array, start: number, stored: Float32Array | Float64Array): never {
  const at = xs.findIndex((value) => !Number.isFinite(value));
  throw new ChunkFailure({ cause: 'weight', file: null, element: start + at, value: stored[at] });
}

/** Names the largest weight of the first block that does not decode to finite values. */
function refuseBlock(blockSize: number, xs: Float32Array, qs: Float32Array, start: number): never {
  const first = qs.findIndex((value) => !Number.isFinite(value));
  const block = first - (first % blockSize);
  let largest = first;
  for (let i = block; i < block + blockSize; i++) {
    if (Math.abs(xs[i]) > Math.abs(xs[largest])) largest = i;
  }
  throw new ChunkFailure({ cause: 'scale', file: null, element: start + largest, value: xs[largest] });
}

/** The weights of a tile for a message: those of a double as stored, beyond float32 or not. */
const storedFloats = (type: TypeName, from: number, weights: number, n: number, { buffer }: Kernels) =>
  type === 'F64' ? new Float64Array(buffer, from, n) : new Float32Array(buffer, weights, n);

/** Smallest and largest weight of each row the loaded chunk touches, as pairs, from the row of `start` on. */
function rangesOf(tensor: TensorJob, start: number, count: number, arena: Arena): ChunkDone {
  const { kernels, x, out } = arena;
  const type = storedType(tensor.source);
  const firstRow = Math.floor(start / tensor.rowLength);
  const rows = Math.floor((start + count - 1) / tensor.rowLength) - firstRow + 1;
  const sums = new Float64Array(2 * rows);
  for (let row = 0; row < rows; row++)
    sums.set([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], 2 * row);

  for (let done = 0; done < count; done += SUM_RANGE) {
    const n = Math.min(SUM_RANGE, count - done);
    const from = arena.stored + bytesOf(type, done);
    if (type !== 'F32') kernels.dequantize(type, from, x, n);
    const weights = type === 'F32' ? from : x;
    forEachRowPiece(tensor.rowLength, start + done, n, (row, piece, length) => {
      kernels.range(weights + 4 * piece, length, out);
      const [low, high] = new Float32Array(kernels.buffer, out, 2);
      if (!Number.isFinite(high - low)) {
        const xs = new Float32Array(kernels.buffer, weights, n);
        refuseWeight(xs, start + done, storedFloats(type, from, weights, n, kernels));
      }
      const at = 2 * (row - firstRow);
      sums[at] = Math.min(sums[at], low);
      sums[at + 1] = Math.max(sums[at + 1], high);
    });
  }
  return { checksum: 0, sums, maxError: 0, maxErrorAt: start };
}

/** Puts the encoded chunk where it belongs; false when the run was stopped while waiting for room. */
function deliver(
  number: number,
  tensor: TensorJob,
  start: number,
  count: number,
  arena: Arena,
  output: OutputFile,
): boolean {
  const coded = typeOfEncoder(tensor.encoder);
  const lead = start - spanOf(tensor, start, count).start;
  const encoded = arena.encoded + bytesOf(coded, lead);
  const bytes = new Uint8Array(arena.kernels.buffer, encoded, bytesOf(coded, count));
  if (target === null) return true;
  if (target.kind === 'files') {
    const descriptor = output.at(tensor.file);
    const offset = tensor.offset + bytesOf(coded, start);
    for (let done = 0; done < bytes.length; ) {
      done += fileOperation(
        'write',
        () => writeSync(descriptor, bytes, done, bytes.length - done, offset + done),
        null,
      );
    }
    return true;
  }
  // A slot is free once the chunk that used it last has been emitted.
  const slots = target.window.length / target.slotBytes;
  for (;;) {
    if (Atomics.load(control, CONTROL.stop) !== 0) return false;
    const emitted = Atomics.load(control, CONTROL.emitted);
    if (number - emitted < slots) break;
    Atomics.wait(control, CONTROL.emitted, emitted, STOP_POLL_MS);
  }
  target.window.set(bytes, (number % slots) * target.slotBytes);
  return true;
}

run();
