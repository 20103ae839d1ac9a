/**
 * A worker of the pool: takes the next chunk, reads its stored bytes straight into the kernels' arena, decodes,
 * encodes, decodes again, measures, and writes the blocks where the plan says. Tiles of SUM_RANGE weights keep the
 * working set in the cache and fix where partial sums begin.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { SUM_RANGE } from '../core/error-sums.ts';
import { SUMS_PER_TILE } from '../core/output.ts';
import { storedType, typeOfEncoder } from '../core/plan.ts';
import { rangeFields } from '../core/ranges.ts';
import { forEachRowPiece } from '../core/segments.ts';
import { StoredFiles, StoredReadError } from '../core/stored-files.ts';
import { bytesOf, dataTypes, type TypeName } from '../core/types.ts';
import { ChunkFailure, refuseBlock, refuseWeight } from './chunk-failure.ts';
import { ChunkOutput } from './chunk-output.ts';
import { ChunkCounter, type ChunkHistogram, HISTOGRAM_BYTES } from './histogram.ts';
import { ChunkIndex, chunkBytes, type RowRanges, type TensorJob } from './job.ts';
import { type Kernels, scalarKernels, simdKernels } from './kernels.ts';
import type { ChunkDone, WorkerData, WorkerMessage } from './pool.ts';
import { CONTROL } from './pool.ts';
import { type RangeArena, type RangePiece, rangeCoder, rangeSumsOf, rangesInBlocks } from './range/coder.ts';
import {
  addAnswer,
  answerLength,
  answerTile,
  isOrdered,
  SCRATCH_BYTES,
  type TileQuery,
} from './range/tile.ts';
import { needsWholeRows, spanOf } from './span.ts';
import { rowFloats, type WeightedArena, weightedCoder } from './weighted.ts';

const data = workerData as WorkerData;
const { job, control, target } = data;
const post = (message: WorkerMessage) => parentPort!.postMessage(message);

/** A worker that waits for room in the window looks this often whether the run was stopped. */
const STOP_POLL_MS = 100;

/** Arena addresses, each a multiple of 16. */
interface Arena extends WeightedArena, RangeArena {
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
  const rows = Math.max(
    0,
    ...weighted.filter(needsWholeRows).map((tensor) => rowFloats(tensor.rowLength)),
    ...job.tensors.filter(({ range }) => range !== undefined).map(({ rowLength }) => rowLength),
  );
  const row = Math.max(0, ...weighted.map(({ rowLength }) => rowLength));
  const counters = job.tensors.some(({ counted }) => counted) ? HISTOGRAM_BYTES : 0;
  const weightedBytes = aligned(4 * rows) + aligned(4 * row);
  const total =
    aligned(sizes.stored) + aligned(sizes.coded) + 2 * tile + 128 + weightedBytes + SCRATCH_BYTES + counters;
  const kernels = allocate(total);
  const stored = kernels.base;
  const encoded = stored + aligned(sizes.stored);
  const x = encoded + aligned(sizes.coded);
  const [q, out] = [x + tile, x + 2 * tile];
  const [wholeRows, scratch] = [out + 128, out + 128 + weightedBytes];
  const importance = wholeRows + aligned(4 * rows);
  const histogram = scratch + SCRATCH_BYTES;
  return { kernels, stored, encoded, x, q, out, rows: wholeRows, importance, scratch, histogram };
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
  const inputs = new StoredFiles(job.files.map(({ path }) => path));
  const output = new ChunkOutput(target?.kind === 'files' ? target.paths : []);
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
      const span = data.phase === 'encode' ? spanOf(tensor, chunk.start, chunk.count) : chunk;
      load(tensor, span.start, span.count, arena, inputs);
      const done =
        data.phase === 'range'
          ? rangesOf(tensor, chunk.start, chunk.count, arena)
          : data.phase === 'survey'
            ? answerChunk(tensor, data.queries[chunk.tensor], chunk.start, chunk.count, arena)
            : encodeChunk(tensor, chunk.start, chunk.count, arena);
      if (data.phase === 'encode' && !deliver(number, tensor, chunk.start, chunk.count, arena, output)) break;
      post({ kind: 'done', number, ...done });
    }
  } catch (error) {
    if (!(error instanceof ChunkFailure || error instanceof StoredReadError)) throw error;
    post({ kind: 'failed', tensor: tensor?.name ?? null, ...error.failure });
  } finally {
    inputs.close();
    output.close();
  }
}

/** Reads the stored values of output elements [start, start + count) to arena.stored, in output order. */
function load({ source }: TensorJob, start: number, count: number, arena: Arena, inputs: StoredFiles): void {
  const { buffer } = arena.kernels;
  if (source.kind === 'values') {
    new Float32Array(buffer, arena.stored, count).set(source.values.slice(start, start + count));
    return;
  }
  inputs.read(source, start, count, buffer, arena.stored);
}

/** A tile of a loaded chunk: its first weight counted from the chunk's, and its weights as stored and as float32. */
interface Tile {
  readonly done: number;
  readonly n: number;
  readonly from: number;
  readonly weights: number;
}

/** Goes through `count` loaded weights tile by tile; `lead` weights lie before them. */
function eachTile(
  tensor: TensorJob,
  count: number,
  { kernels, stored, x }: Arena,
  act: (tile: Tile) => void,
  lead = 0,
): void {
  const type = storedType(tensor.source);
  for (let done = 0; done < count; done += SUM_RANGE) {
    const n = Math.min(SUM_RANGE, count - done);
    const from = stored + bytesOf(type, lead + done);
    if (type !== 'F32') kernels.dequantize(type, from, x, n);
    act({ done, n, from, weights: type === 'F32' ? from : x });
  }
}

/** Encodes the loaded chunk into arena.encoded and measures it. */
function encodeChunk(tensor: TensorJob, start: number, count: number, arena: Arena): ChunkDone {
  const { kernels, q, out } = arena;
  const type = storedType(tensor.source);
  const coded = typeOfEncoder(tensor.encoder);
  const tiles = Math.ceil(count / SUM_RANGE);
  const sums = new Float64Array(tiles * SUMS_PER_TILE);
  let maxError = 0;
  let maxErrorAt = start;
  const bytes = new Uint8Array(kernels.buffer);
  const span = spanOf(tensor, start, count);
  const lead = start - span.start; // weights loaded before the chunk's own
  const { range } = tensor;
  const rangeSums = new Float64Array(range ? tiles * rangeFields.length : 0);
  const isChosen = range && tensor.encoder.endsWith(':range');
  const codeRanged = isChosen && rangeCoder(tensor, range, span, arena, requireFinite);
  const counter = tensor.counted ? new ChunkCounter(kernels, tensor, arena.histogram, out) : null;
  const codeWeighted =
    tensor.importance && weightedCoder(tensor, tensor.importance, span, arena, requireFinite);

  const encodeTile = ({ done, n, from, weights }: Tile): void => {
    const tile = done / SUM_RANGE;
    const to = arena.encoded + bytesOf(coded, lead + done);
    let pieces: RangePiece[] = [];

    if (tensor.ranges) {
      const { scales, zeroPoints } = tensor.ranges;
      forEachRowPiece(tensor.rowLength, start + done, n, (row, piece, length) => {
        const parameters = { scale: scales[row], zeroPoint: zeroPoints[row] };
        kernels.quantizeZeroPoint(weights + 4 * piece, to + piece, length, parameters);
      });
      decodeRows(tensor, tensor.ranges, start + done, n, to, q, kernels);
    } else {
      if (codeRanged) pieces = codeRanged(start + done, n, weights);
      else if (tensor.blocks) bytes.set(blocksOf(tensor.blocks, coded, start + done, n), to);
      else if (codeWeighted) codeWeighted(start + done, n, weights);
      else if (tensor.encoder === type) bytes.copyWithin(to, from, from + bytesOf(type, n));
      else kernels.quantize(coded, weights, to, n);
      kernels.dequantize(coded, to, q, n);
      if (range && !isChosen)
        pieces = rangesInBlocks(range, new DataView(kernels.buffer as ArrayBuffer, to, bytesOf(coded, n)));
    }

    kernels.measure(weights, q, n, out);
    const [sumX2, sumQ2, sumXQ, sumE2, tileMax] = new Float64Array(kernels.buffer, out, 5);
    const xs = new Float32Array(kernels.buffer, weights, n);
    const qs = new Float32Array(kernels.buffer, q, n);
    if (!Number.isFinite(sumX2)) refuseWeight(type, from, weights, start + done, n, kernels);
    if (!Number.isFinite(sumQ2)) refuseBlock(dataTypes[coded].blockSize, xs, qs, start + done);
    sums.set([sumX2, sumQ2, sumXQ, sumE2], tile * SUMS_PER_TILE);
    if (range) rangeSums.set(rangeSumsOf(range, pieces, xs, qs), tile * rangeFields.length);
    if (tileMax > maxError) {
      maxError = tileMax;
      maxErrorAt = start + done + xs.findIndex((value, i) => Math.abs(value - qs[i]) === tileMax);
    }
    counter?.take(weights, q, start + done, n);
  };
  eachTile(tensor, count, arena, encodeTile, lead);
  const checksum = kernels.checksum(arena.encoded + bytesOf(coded, lead), bytesOf(coded, count));
  return { checksum, sums, rangeSums, maxError, maxErrorAt, ...(counter && { histogram: counter.finish() }) };

  function requireFinite(weights: number, from: number, first: number, n: number): void {
    kernels.measure(weights, weights, n, out);
    const [sumX2] = new Float64Array(kernels.buffer, out, 1);
    if (!Number.isFinite(sumX2)) refuseWeight(type, from, weights, first, n, kernels);
  }
}

/** Of a chunk that was not encoded. */
const noSums: ChunkDone = {
  checksum: 0,
  sums: new Float64Array(),
  rangeSums: new Float64Array(),
  maxError: 0,
  maxErrorAt: 0,
};

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
  output: ChunkOutput,
): ChunkDone {
  const coded = typeOfEncoder(tensor.encoder);
  const bytes = new Uint8Array(kernels.buffer, encoded, bytesOf(coded, count));
  const done = output.read(tensor.file, bytes, tensor.offset + bytesOf(coded, start));
  return { ...noSums, checksum: kernels.checksum(encoded, done) };
}

/** The histogram of a chunk whose blocks `checksumOf` has read; what it reads of them may be damaged. */
function recount(
  tensor: TensorJob,
  start: number,
  count: number,
  arena: Arena,
  inputs: StoredFiles,
): ChunkHistogram {
  const { kernels, q } = arena;
  const coded = typeOfEncoder(tensor.encoder);
  const counter = new ChunkCounter(kernels, tensor, arena.histogram, arena.out);
  load(tensor, start, count, arena, inputs);
  eachTile(tensor, count, arena, ({ done, n, weights }) => {
    const to = arena.encoded + bytesOf(coded, done);
    if (tensor.ranges) decodeRows(tensor, tensor.ranges, start + done, n, to, q, kernels);
    else kernels.dequantize(coded, to, q, n);
    counter.take(weights, q, start + done, n);
  });
  return counter.finish();
}

/** Smallest and largest weight of each row the loaded chunk touches, as pairs, from the row of `start` on. */
function rangesOf(tensor: TensorJob, start: number, count: number, arena: Arena): ChunkDone {
  const { kernels, out } = arena;
  const type = storedType(tensor.source);
  const firstRow = Math.floor(start / tensor.rowLength);
  const rows = Math.floor((start + count - 1) / tensor.rowLength) - firstRow + 1;
  const sums = new Float64Array(2 * rows);
  for (let row = 0; row < rows; row++)
    sums.set([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], 2 * row);

  eachTile(tensor, count, arena, ({ done, n, from, weights }) => {
    forEachRowPiece(tensor.rowLength, start + done, n, (row, piece, length) => {
      kernels.range(weights + 4 * piece, length, out);
      const [low, high] = new Float32Array(kernels.buffer, out, 2);
      if (!Number.isFinite(high - low)) refuseWeight(type, from, weights, start + done, n, kernels);
      const at = 2 * (row - firstRow);
      sums[at] = Math.min(sums[at], low);
      sums[at + 1] = Math.max(sums[at + 1], high);
    });
  });
  return { ...noSums, sums };
}

/** Answers of the tiles of the loaded chunk, or, where their order does not matter, of all together. */
function answerChunk(
  tensor: TensorJob,
  query: TileQuery,
  start: number,
  count: number,
  arena: Arena,
): ChunkDone {
  const { kernels } = arena;
  const type = storedType(tensor.source);
  const length = answerLength(query);
  const answers: Float64Array[] = [];
  eachTile(tensor, count, arena, ({ done, n, from, weights }) => {
    const answer = answerTile(query, kernels, weights, n, arena.scratch);
    if (query.kind === 'extent' && !Number.isFinite(answer[length - 1])) {
      refuseWeight(type, from, weights, start + done, n, kernels);
    }
    if (isOrdered(query) || answers.length === 0) answers.push(answer);
    else addAnswer(query, answers[0], answer);
  });
  const sums = new Float64Array(answers.length * length);
  answers.forEach((answer, i) => {
    sums.set(answer, i * length);
  });
  return { ...noSums, sums };
}

/** Puts the encoded chunk where it belongs; false when the run was stopped while waiting for room. */
function deliver(
  number: number,
  tensor: TensorJob,
  start: number,
  count: number,
  arena: Arena,
  output: ChunkOutput,
): boolean {
  const coded = typeOfEncoder(tensor.encoder);
  const lead = start - spanOf(tensor, start, count).start;
  const encoded = arena.encoded + bytesOf(coded, lead);
  const bytes = new Uint8Array(arena.kernels.buffer, encoded, bytesOf(coded, count));
  if (target === null) return true;
  if (target.kind === 'files') {
    output.write(tensor.file, bytes, tensor.offset + bytesOf(coded, start));
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
