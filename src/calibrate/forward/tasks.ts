import { multiplyHere } from '../../compute/gemm.ts';
import type { Task } from '../../compute/scope.ts';
import type { ReadableSource } from '../../core/plan.ts';
import { StoredFiles } from '../../core/stored-files.ts';
import { activationTasks } from './activation-tasks.ts';
import { GATHERED, PIECE, readWeights } from './read.ts';

/**
 * The work of the forward pass in pieces. Addresses are in bytes, strides (ld*) in floats. Pieces are rows (tokens), heads
 * or columns, so that each writes what no other does.
 */

/** Rows of a piece where a row is little work. */
export const ROWS = 32;
/** Columns of a piece of `columnSquares`. */
export const COLUMNS = 64;
/** Queries whose scores a thread holds at a time. */
export const QUERIES = 64;

interface Stored {
  readonly paths: readonly string[];
  readonly source: ReadableSource;
}

/** args: first element, elements, address. */
const loadWeights: Task = (scope, index, [start, count, address], payload) => {
  const { paths, source } = payload as Stored;
  const first = index * PIECE;
  const length = Math.min(PIECE, count - first);
  withFiles(paths, (files) => readWeights(scope, files, source, start + first, length, address + 4 * first));
};

/** args: row length, address. The rows `ids`, one after another. */
const gatherRows: Task = (scope, index, [columns, address], payload) => {
  const { paths, source, ids } = payload as Stored & { ids: Int32Array };
  const end = Math.min(ids.length, (index + 1) * GATHERED);
  withFiles(paths, (files) => {
    for (let i = index * GATHERED; i < end; i++) {
      readWeights(scope, files, source, ids[i] * columns, columns, address + 4 * i * columns);
    }
  });
};

function withFiles(paths: readonly string[], act: (files: StoredFiles) => void): void {
  const files = new StoredFiles(paths);
  try {
    act(files);
  } finally {
    files.close();
  }
}

/** The rows of piece `index` of `rows`: how many, and the addresses of their first elements. */
function rowsOf(index: number, rows: number, ...arrays: [address: number, ld: number][]) {
  const first = index * ROWS;
  return {
    first,
    count: Math.min(ROWS, rows - first),
    at: arrays.map(([address, ld]) => address + 4 * first * ld),
  };
}

const norm: Task = ({ compute }, index, [rows, x, ldx, weight, out, ldo, n, epsilon]) => {
  const piece = rowsOf(index, rows, [x, ldx], [out, ldo]);
  compute.rmsNorm(piece.at[0], ldx, weight, piece.at[1], ldo, piece.count, n, epsilon);
};

const addBias: Task = ({ compute }, index, [rows, x, ldx, n, bias]) => {
  const piece = rowsOf(index, rows, [x, ldx]);
  compute.addToRows(piece.at[0], ldx, piece.count, n, bias);
};

/**
 * Norms (where there are any: address 0 is none) and rotates the heads of q and k, in place. x: a row for each token, the
 * heads of q, then those of k; row r is at position r % context of its window.
 */
const rotate: Task = ({ compute }, index, args) => {
  const [rows, x, ldx, context, heads, kvHeads, size, table, halves, qNorm, kNorm, epsilon] = args;
  const turn = halves ? compute.ropeHalves : compute.ropePairs;
  const piece = rowsOf(index, rows, [x, ldx]);
  for (let row = 0; row < piece.count; row++) {
    const q = piece.at[0] + 4 * row * ldx;
    const k = q + 4 * heads * size;
    if (qNorm !== 0) compute.rmsNorm(q, size, qNorm, q, size, heads, size, epsilon);
    if (kNorm !== 0) compute.rmsNorm(k, size, kNorm, k, size, kvHeads, size, epsilon);
    turn(q, heads + kvHeads, size, table + 4 * 2 * size * ((piece.first + row) % context));
  }
};

/**
 * Causal attention of one head in one window. qkv: a row for each token, heads of q, k and v one after another; out: heads
 * one after another; scores: QUERIES x context floats for each thread.
 */
const attend: Task = (scope, index, [qkv, ld, out, ldo, context, heads, kvHeads, size, scores]) => {
  const window = Math.floor(index / heads);
  const head = index % heads;
  const shared = Math.floor(head / (heads / kvHeads));
  const token = qkv + 4 * window * context * ld;
  const q = token + 4 * head * size;
  const k = token + 4 * (heads + shared) * size;
  const v = k + 4 * kvHeads * size;
  const to = out + 4 * (window * context * ldo + head * size);
  const c = scores + 4 * scope.thread * QUERIES * context;
  for (let first = 0; first < context; first += QUERIES) {
    const rows = Math.min(QUERIES, context - first);
    const seen = first + rows;
    const part = { m: rows, c, ldc: context, n: seen, k: size, lda: ld, ldb: ld };
    multiplyHere(scope, { ...part, a: q + 4 * first * ld, b: k, transposeB: true });
    scope.compute.causalSoftmax(c, context, rows, first, seen, 1 / Math.sqrt(size));
    multiplyHere(scope, {
      m: rows,
      n: size,
      k: seen,
      a: c,
      lda: context,
      b: v,
      ldb: ld,
      c: to + 4 * first * ldo,
      ldc: ldo,
      transposeB: false,
    });
  }
};

/** gate = silu(gate) * up, both rows x n without gaps. */
const gateUp: Task = ({ compute }, index, [rows, gate, up, n]) => {
  const piece = rowsOf(index, rows, [gate, n], [up, n]);
  compute.siluMultiply(piece.at[0], piece.at[1], piece.count * n);
};

/** Fails with the first row of the piece that holds something not finite. */
const requireFinite: Task = ({ compute }, index, [rows, x, ldx, n]) => {
  const piece = rowsOf(index, rows, [x, ldx]);
  for (let row = 0; row < piece.count; row++) {
    if (compute.allFinite(piece.at[0] + 4 * row * ldx, n)) continue;
    throw Object.assign(new Error('not finite'), { failure: { row: piece.first + row } });
  }
};

/** Adds the squares of each column to `sums`, float64. */
const columnSquares: Task = ({ compute }, index, [rows, x, ldx, n, sums]) => {
  const first = index * COLUMNS;
  const count = Math.min(COLUMNS, n - first);
  compute.addColumnSquares(x + 4 * first, ldx, rows, count, sums + 8 * first);
};

/** Rows of logits of one model (y) or two (base x and model y) into their states of STATE_BYTES each. */
const divergence: Task = ({ compute }, index, [rows, x, y, n, first, states]) => {
  const piece = rowsOf(index, rows, [x, n], [y, n], [states, STATE_BYTES / 4]);
  for (let row = 0; row < piece.count; row++) {
    const state = piece.at[2] + STATE_BYTES * row;
    const model = piece.at[1] + 4 * row * n;
    compute.addToNormalizer(model, n, first, state);
    if (x !== 0) compute.addToDivergence(piece.at[0] + 4 * row * n, model, n, first, state + 24);
  }
};

/**
 * State of a row in `divergence`, float64: largest logit, sum and index of the model (`addToNormalizer`), then of the base,
 * and the cross sum (`addToDivergence`), one unused.
 */
export const STATE_BYTES = 64;

export const tasks: Readonly<Record<string, Task>> = {
  loadWeights,
  gatherRows,
  norm,
  addBias,
  rotate,
  attend,
  gateUp,
  requireFinite,
  columnSquares,
  divergence,
  ...activationTasks,
};
