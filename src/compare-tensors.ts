import type { Checkpoint, StoredTensor } from './core/checkpoint.ts';
import { addErrorSums, type ErrorSums, emptyErrorSums, SUM_RANGE } from './core/error-sums.ts';
import type { ReadableSource } from './core/plan.ts';
import { forEachRowPiece, segmentsOf } from './core/segments.ts';
import { elementsOf } from './core/types.ts';
import type { Kernels } from './quantize/kernels.ts';
import { type ByteSource, openSource } from './read/byte-source.ts';

/** A tensor as one of two models has it, in GGUF's order of axes and rows. */
export interface NamedSource {
  readonly name: string;
  /** GGUF order, row length first. */
  readonly shape: readonly number[];
  readonly source: ReadableSource;
  /** Int8 codes stand for (q - zero point) * scale, by the values of these tensors for each row. */
  readonly rowRanges?: { readonly scales: StoredTensor; readonly zeroPoints: StoredTensor };
}

/** The same tensor in two models: a is the reference. */
export interface Pair {
  readonly name: string;
  readonly a: NamedSource;
  readonly b: NamedSource;
}

/** Tensors of two models matched by name. */
export interface Matching {
  readonly pairs: readonly Pair[];
  readonly onlyA: readonly string[];
  readonly onlyB: readonly string[];
  /** Tensors of one name that cannot be compared, and why. */
  readonly unlike: readonly { name: string; reason: string }[];
}

/** A checkpoint's tensors under their own names. Scales and zero points of rows are part of the tensor they decode. */
export function sourcesOf({ tensors }: Checkpoint): NamedSource[] {
  const ranges = new Map(
    [...tensors.values()].flatMap((tensor) => {
      const found = rowRangesOf(tensor, tensors);
      return found === null ? [] : [[tensor.name, found] as const];
    }),
  );
  const companions = new Set([...ranges.values()].flatMap(({ scales, zeroPoints }) => [scales, zeroPoints]));
  return [...tensors.values()].flatMap((tensor) => {
    if (companions.has(tensor)) return [];
    const rowRanges = ranges.get(tensor.name);
    return {
      name: tensor.name,
      shape: [...tensor.shape].reverse(),
      source: { kind: 'stored', parts: [tensor], rows: { kind: 'file' } },
      ...(rowRanges && { rowRanges }),
    };
  });
}

/** What stands beside the codes of 8-bit zero-point: `<stem>.scale` and `<stem>.zero_point`, one value a row. */
function rowRangesOf({ name, type, shape }: StoredTensor, tensors: Checkpoint['tensors']) {
  const stem = name.replace(/\.weight$/, '');
  const [scales, zeroPoints] = [tensors.get(`${stem}.scale`), tensors.get(`${stem}.zero_point`)];
  if (type !== 'I8' || scales?.type !== 'F32' || zeroPoints?.type !== 'I8') return null;
  const rows = elementsOf(shape.slice(0, -1));
  return [scales, zeroPoints].every((each) => elementsOf(each.shape) === rows)
    ? { scales, zeroPoints }
    : null;
}

/** Pairs tensors by name, in the order of a. */
export function matchTensors(a: readonly NamedSource[], b: readonly NamedSource[]): Matching {
  const byName = new Map(b.map((tensor) => [tensor.name, tensor]));
  const names = new Set(a.map(({ name }) => name));
  const pairs: Pair[] = [];
  const unlike: { name: string; reason: string }[] = [];
  for (const tensor of a) {
    const other = byName.get(tensor.name);
    if (other === undefined) continue;
    const reason = unlikeness(tensor, other);
    if (reason === null) pairs.push({ name: tensor.name, a: tensor, b: other });
    else unlike.push({ name: tensor.name, reason });
  }
  return {
    pairs,
    unlike,
    onlyA: a.filter(({ name }) => !byName.has(name)).map(({ name }) => name),
    onlyB: b.filter(({ name }) => !names.has(name)).map(({ name }) => name),
  };
}

/** Why two tensors of one name cannot be compared, or null. */
function unlikeness(a: NamedSource, b: NamedSource): string | null {
  const [shapeA, shapeB] = [a, b].map(({ shape }) => `[${withoutTrailingOnes(shape).join(', ')}]`);
  return shapeA === shapeB ? null : `shapes ${shapeA} and ${shapeB}`;
}

function withoutTrailingOnes(shape: readonly number[]): readonly number[] {
  let rank = shape.length;
  while (rank > 1 && shape[rank - 1] === 1) rank--;
  return shape.slice(0, rank);
}

/** Bytes of kernel memory a comparison takes: one range as stored (at most 8 bytes a value), both decoded, sums. */
export const COMPARE_ARENA = SUM_RANGE * (8 + 4 + 4) + 128;

/**
 * Error sums of each pair, in order, read SUM_RANGE weights at a time: the same sums as a run's own report. Yields
 * control between ranges, so that a signal can end it.
 */
export async function* comparePairs(
  pairs: readonly Pair[],
  models: { a: Checkpoint; b: Checkpoint },
  kernels: Kernels,
  signal?: AbortSignal,
): AsyncGenerator<{ pair: Pair; sums: ErrorSums }> {
  const [readA, readB] = [new RangeReader(models.a), new RangeReader(models.b)];
  const raw = kernels.base;
  const x = raw + SUM_RANGE * 8;
  const q = x + SUM_RANGE * 4;
  const out = q + SUM_RANGE * 4;
  try {
    for (const pair of pairs) {
      const sums = emptyErrorSums();
      const count = elementsOf(pair.a.shape);
      for (let start = 0; start < count; start += SUM_RANGE) {
        const n = Math.min(SUM_RANGE, count - start);
        readA.decode(pair.a, start, n, kernels, raw, x);
        readB.decode(pair.b, start, n, kernels, raw, q);
        addErrorSums(sums, measureRange(kernels, x, q, n, out, start, sums.maxError));
        await new Promise(setImmediate);
        signal?.throwIfAborted();
      }
      yield { pair, sums };
    }
  } finally {
    readA.close();
    readB.close();
  }
}

/** Sums of one range. Only an error above `known` is looked up, as no other can become the tensor's largest. */
function measureRange(
  kernels: Kernels,
  x: number,
  q: number,
  n: number,
  out: number,
  start: number,
  known: number,
): ErrorSums {
  kernels.measure(x, q, n, out);
  const [sumX2, sumQ2, sumXQ, sumE2, maxError] = new Float64Array(kernels.buffer, out, 5);
  let maxErrorAt = 0;
  if (maxError > known) {
    const [a, b] = [new Float32Array(kernels.buffer, x, n), new Float32Array(kernels.buffer, q, n)];
    maxErrorAt = start + a.findIndex((value, i) => Math.abs(value - b[i]) === maxError);
  }
  return { count: n, sumX2, sumQ2, sumXQ, sumE2, maxError, maxErrorAt, range: null };
}

/** Reads ranges of a checkpoint's tensors, each file opened once. */
class RangeReader {
  readonly #checkpoint: Checkpoint;
  readonly #open = new Map<number, ByteSource>();

  constructor(checkpoint: Checkpoint) {
    this.#checkpoint = checkpoint;
  }

  /** Decodes elements [start, start + n) to float32 at `dst`, by way of `raw`. */
  decode(tensor: NamedSource, start: number, n: number, kernels: Kernels, raw: number, dst: number): void {
    const { source, rowRanges } = tensor;
    if (source.kind === 'values') {
      new Float32Array(kernels.buffer, dst, n).set(source.values.slice(start, start + n));
      return;
    }
    let at = raw;
    for (const { file, offset, byteLength } of segmentsOf(source, start, n)) {
      this.#read(file, offset, new Uint8Array(kernels.buffer, at, byteLength), source.parts[0].name);
      at += byteLength;
    }
    if (rowRanges === undefined) kernels.dequantize(source.parts[0].type, raw, dst, n);
    else this.#decodeRows(rowRanges, tensor.shape[0], start, n, kernels, raw, dst);
  }

  /** Decodes int8 codes at `raw`, each row by its own scale and zero point. */
  #decodeRows(
    { scales, zeroPoints }: NonNullable<NamedSource['rowRanges']>,
    rowLength: number,
    start: number,
    n: number,
    kernels: Kernels,
    raw: number,
    dst: number,
  ): void {
    const first = Math.floor(start / rowLength);
    const rows = Math.ceil((start + n) / rowLength) - first;
    const [ofScales, ofZeroPoints] = [new Float32Array(rows), new Int8Array(rows)];
    const { file, offset, name } = zeroPoints;
    this.#read(scales.file, scales.offset + 4 * first, new Uint8Array(ofScales.buffer), scales.name);
    this.#read(file, offset + first, new Uint8Array(ofZeroPoints.buffer), name);
    forEachRowPiece(rowLength, start, n, (row, piece, length) => {
      const parameters = { scale: ofScales[row - first], zeroPoint: ofZeroPoints[row - first] };
      kernels.dequantizeZeroPoint(raw + piece, dst + 4 * piece, length, parameters);
    });
  }

  close(): void {
    for (const source of this.#open.values()) source.close();
  }

  #read(file: number, offset: number, into: Uint8Array, tensor: string): void {
    const source = this.#open.get(file) ?? openSource(this.#checkpoint.files[file].path);
    this.#open.set(file, source);
    source.readInto(into, offset, tensor);
  }
}
