/** Tasks of `quantizeMatrix`: each piece is a run of rows, so that pieces share nothing they write. */
import type { TaskScope } from '../../compute/scope.ts';
import { bytesOf, type TypeName } from '../../core/types.ts';
import { canWeigh } from '../format/index.ts';
import { kernelsOf } from '../kernels.ts';
import type { BlockKernels } from './block-kernels.ts';
import { CODER_BYTES, GroupCoder } from './coder.ts';
import {
  GROUP_WIDTH,
  type GroupScales,
  gridOf,
  groupPacker,
  newGroupScales,
  offsetOf,
  reachOf,
  scaleOf,
  writeTable,
} from './grid.ts';
import { GROUP_BYTES, Group } from './group.ts';
import { GroupImprover, IMPROVER_BYTES } from './improver.ts';
import type { GroupCurvature, GroupLoss } from './loss.ts';
import { type CodedRows, levelsOf, loadGroup, storeGroup } from './state.ts';

/** Rows of a piece. */
const PIECE_ROWS = 8;

/** Pieces that a task cuts `rows` rows into. */
export const rowPieces = (rows: number): number => Math.ceil(rows / PIECE_ROWS);

/** The rows that are worked on. Float matrices, by address, are rows x n, row-major. */
export interface Slab extends CodedRows {
  readonly type: TypeName;
  readonly rows: number;
  /** Number of the first row, for messages. */
  readonly firstRow: number;
  readonly weights: number;
  /** What the codes should come near: the weights, or what does better than they under the inputs that will be seen. */
  readonly targets: number;
  readonly errors: number;
}

/** A slab, and the group of columns it is at. */
export interface GroupJob<Loss> extends Slab {
  readonly start: number;
  readonly loss: Loss;
}

/** What a task says of a row whose scales go beyond what the type can store. */
export interface ScaleFailure {
  readonly cause: 'scale';
  readonly row: number;
  /** First column of the group. */
  readonly column: number;
}

const blockKernels = (scope: TaskScope): BlockKernels => scope.compute as unknown as BlockKernels;

/** Bytes of scratch that these tasks take. */
export const GPTQ_SCRATCH_BYTES = GROUP_BYTES + CODER_BYTES + IMPROVER_BYTES;

/** A group, and what works on it. */
interface GroupTools {
  readonly group: Group;
  readonly coder: GroupCoder;
  readonly improver: GroupImprover;
}

/** Those of the thread for a type. They have many small buffers, so they are made once. */
function toolsOf(scope: TaskScope, type: TypeName): GroupTools {
  const name = `coder of ${type}`;
  const kept = scope.kept.get(name) as GroupTools | undefined;
  if (kept !== undefined) {
    kept.group.prepare();
    return kept;
  }
  const { memory, scratch } = scope;
  const group = new Group(blockKernels(scope), memory.buffer as ArrayBufferLike, scratch, gridOf(type)!);
  const coder = new GroupCoder(group, scratch + GROUP_BYTES);
  const made = { group, coder, improver: new GroupImprover(group, scratch + GROUP_BYTES + CODER_BYTES) };
  scope.kept.set(name, made);
  return made;
}

function eachRow(index: number, rows: number, act: (row: number) => void): void {
  for (let row = index * PIECE_ROWS; row < Math.min(rows, (index + 1) * PIECE_ROWS); row++) act(row);
}

/**
 * Codes the group's columns of each row, and puts their errors where what earlier errors carry into them was. payload:
 * GroupJob<GroupLoss>; args: how often d and dmin are refitted.
 */
function gptqCode(scope: TaskScope, index: number, [refits]: readonly number[], payload: unknown): void {
  const job = payload as GroupJob<GroupLoss>;
  const { loss, start, n } = job;
  const { width, r, inverses } = loss;
  const { group, coder } = toolsOf(scope, job.type);
  const { kernels, at: addresses } = group;
  const reach = reachOf(gridOf(job.type)!);
  eachRow(index, job.rows, (row) => {
    const at = 4 * (row * n + start);
    const carried = job.errors + at;
    const { target: to, scratch } = addresses;
    kernels.gptqTarget(width, job.targets + at, carried, r, 4 * width, inverses, scratch, to);
    const target = group.target.subarray(0, width);
    // What no scale can hold would be cut off, or become 0, in silence.
    const held = target.every((value) => Math.abs(value) <= reach);
    if (!held || !Number.isFinite(coder.code(loss, refits))) {
      const failure: ScaleFailure = { cause: 'scale', row: job.firstRow + row, column: start };
      throw Object.assign(new Error('a scale is not finite'), { failure });
    }
    keep(scope, job, row, width, group);
  });
}

/**
 * Improves the group's columns of each row. payload: GroupJob<GroupCurvature>; args: address of E H, rows x width; 1 if pairs
 * of codes move too, else 0.
 */
function gptqImprove(
  scope: TaskScope,
  index: number,
  [gradients, pairs]: readonly number[],
  payload: unknown,
): void {
  const job = payload as GroupJob<GroupCurvature>;
  const { start, loss, rows } = job;
  const { width } = loss;
  const { group, improver } = toolsOf(scope, job.type);
  eachRow(index, rows, (row) => {
    loadGroup(scope, job, row, start, group.scales, group.levels.subarray(0, width));
    group.decode(width);
    if (improver.improve(loss, gradients + 4 * row * width, pairs === 1)) keep(scope, job, row, width, group);
  });
}

/** Keeps what was found for a group of a row, and its errors. */
function keep(
  scope: TaskScope,
  job: GroupJob<unknown>,
  row: number,
  width: number,
  { scales, levels, decoded }: Group,
): void {
  const at = 4 * (row * job.n + job.start);
  const [errors, targets] = [scope.floats(job.errors + at, width), scope.floats(job.targets + at, width)];
  for (let j = 0; j < width; j++) errors[j] = targets[j] - decoded[j];
  storeGroup(scope, job, row, job.start, scales, levels.subarray(0, width));
}

/** A group of columns in an order of processing: those at places start .. start + width - 1. */
export interface OrderedLoss extends GroupLoss {
  /** Address of the channel at each place, int32. */
  readonly order: number;
}

/**
 * Codes columns in an order of processing, under the scales that are kept already. Errors are in that order. payload:
 * GroupJob<OrderedLoss>.
 */
function gptqOrdered(scope: TaskScope, index: number, _args: readonly number[], payload: unknown): void {
  const job = payload as GroupJob<OrderedLoss>;
  const { start, loss, n } = job;
  const { width, r, inverses } = loss;
  const grid = gridOf(job.type)!;
  const kernels = blockKernels(scope);
  const order = new Int32Array(scope.memory.buffer, loss.order + 4 * start, width);
  const vector = (i: number) => scope.scratch + 4 * GROUP_WIDTH * i;
  const [w, t, sums, scales, offsets, levels, decoded] = [0, 1, 2, 3, 4, 5, 6].map(vector);
  const at = (address: number) => scope.floats(address, width);
  const table = writeTable(scope.memory.buffer as ArrayBufferLike, vector(7), grid);
  eachRow(index, job.rows, (row) => {
    const carried = job.errors + 4 * (row * n + start);
    const targets = scope.floats(job.targets + 4 * row * n, n);
    const ranges = rangesOf(scope, job, row);
    order.forEach((channel, j) => {
      at(w)[j] = targets[channel];
      at(scales)[j] = ranges.scale[Math.floor(channel / grid.sub)];
      at(offsets)[j] = ranges.offset[Math.floor(channel / grid.sub)];
    });
    kernels.gptqTarget(width, w, carried, r, 4 * width, inverses, sums, t);
    const { low, high } = grid;
    kernels.gptqFeedback(
      ...[width, t, r, 4 * width, inverses, scales, offsets],
      ...[low, high, table, sums, levels, decoded],
    );
    const kept = levelsOf(scope, job, row);
    order.forEach((channel, j) => {
      at(carried)[j] = at(w)[j] - at(decoded)[j];
      kept[channel] = at(levels)[j];
    });
  });
}

/** Scale and offset of every sub-block of a row. */
function rangesOf(scope: TaskScope, job: Slab, row: number): { scale: Float64Array; offset: Float64Array } {
  const grid = gridOf(job.type)!;
  const { sub } = grid;
  const group = newGroupScales(grid);
  const count = Math.ceil(job.n / sub);
  const [scale, offset] = [new Float64Array(count), new Float64Array(count)];
  for (let start = 0; start < job.n; start += GROUP_WIDTH) {
    loadGroup(scope, job, row, start, group, new Float32Array(0));
    for (let s = 0; s < GROUP_WIDTH / sub && start / sub + s < count; s++) {
      scale[start / sub + s] = scaleOf(group, s);
      offset[start / sub + s] = offsetOf(group, s);
    }
  }
  return { scale, offset };
}

/** Errors of the targets in the order of columns, from what is kept. payload: Slab. */
function gptqErrors(scope: TaskScope, index: number, _args: readonly number[], payload: unknown): void {
  const slab = payload as Slab;
  const { n } = slab;
  eachRow(index, slab.rows, (row) => {
    const [errors, targets] = [slab.errors, slab.targets].map((a) => scope.floats(a + 4 * row * n, n));
    eachDecoded(scope, slab, row, (start, decoded) => {
      decoded.forEach((value, j) => {
        errors[start + j] = targets[start + j] - value;
      });
    });
  });
}

/**
 * Packs what is kept into ggml's bytes, puts what they decode to in place of the weights, and what is lost into the errors.
 * payload: Slab; args: address of the slab's bytes.
 */
function gptqFinish(scope: TaskScope, index: number, [codes]: readonly number[], payload: unknown): void {
  const slab = payload as Slab;
  const { n, type } = slab;
  const pack = groupPacker(gridOf(type)!);
  eachRow(index, slab.rows, (row) => {
    const [errors, targets, weights] = [slab.errors, slab.targets, slab.weights].map((a) =>
      scope.floats(a + 4 * row * n, n),
    );
    const bytes = scope.bytes(codes + row * bytesOf(type, n), bytesOf(type, n));
    eachDecoded(scope, slab, row, (start, decoded, group, levels) => {
      pack(group, levels, bytes.subarray(bytesOf(type, start)));
      decoded.forEach((value, j) => {
        errors[start + j] = targets[start + j] - value;
        weights[start + j] = value;
      });
    });
  });
}

function eachDecoded(
  scope: TaskScope,
  slab: Slab,
  row: number,
  visit: (start: number, decoded: Float32Array, group: GroupScales, levels: Float32Array) => void,
): void {
  const grid = gridOf(slab.type)!;
  const { sub } = grid;
  const group = newGroupScales(grid);
  for (let start = 0; start < slab.n; start += GROUP_WIDTH) {
    const levels = new Float32Array(Math.min(GROUP_WIDTH, slab.n - start));
    loadGroup(scope, slab, row, start, group, levels);
    const decoded = levels.map((level, j) => {
      const s = Math.floor(j / sub);
      return Math.fround(scaleOf(group, s) * level) + offsetOf(group, s);
    });
    visit(start, decoded, group, levels);
  }
}

/** What `ggmlCode` codes, and how. */
export interface GgmlJob extends Omit<Slab, 'levels' | 'scales'> {
  /** Address of n float32 of importance, 0 for none. */
  readonly importance: number;
  /** Address of the bytes, 0 if only the errors are asked for: else the weights become what the bytes decode to. */
  readonly codes: number;
}

/** Codes rows as ggml does, each by itself. Errors are those of the targets. payload: GgmlJob. */
function ggmlCode(scope: TaskScope, index: number, _args: readonly number[], payload: unknown): void {
  const { type, n, rows, weights, targets, errors, importance, codes } = payload as GgmlJob;
  const name = `quantization kernels for rows of ${n}`;
  const kernels =
    (scope.kept.get(name) as ReturnType<typeof kernelsOf> | undefined) ??
    kernelsOf(scope.quantization, 16 * n + 64);
  scope.kept.set(name, kernels);
  const x = Math.ceil(kernels.base / 16) * 16;
  const [q, weighing, blocks] = [x + 4 * n, x + 8 * n, x + 12 * n];
  const floats = (at: number) => new Float32Array(kernels.buffer, at, n);
  if (importance !== 0) floats(weighing).set(scope.floats(importance, n));
  eachRow(index, rows, (row) => {
    const [own, wanted, lost] = [weights, targets, errors].map((a) => scope.floats(a + 4 * row * n, n));
    floats(x).set(own);
    if (importance !== 0 && canWeigh(type)) kernels.quantizeWeighted(type, x, blocks, 1, n, weighing);
    else kernels.quantize(type, x, blocks, n);
    kernels.dequantize(type, blocks, q, n);
    const decoded = floats(q);
    for (let j = 0; j < n; j++) lost[j] = wanted[j] - decoded[j];
    if (codes === 0) return;
    own.set(decoded);
    const length = bytesOf(type, n);
    scope.bytes(codes + row * length, length).set(new Uint8Array(kernels.buffer, blocks, length));
  });
}

export const tasks = { gptqCode, gptqImprove, gptqOrdered, gptqErrors, gptqFinish, ggmlCode };
