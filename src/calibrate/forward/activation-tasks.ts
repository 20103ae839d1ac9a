import type { Task } from '../../compute/scope.ts';

/** Tasks on the inputs of matrices: simulated quantization, ranges, products of integers, errors. */

/** Rows (tokens) of a piece. */
export const INPUT_ROWS = 32;
/** Tokens and rows of weights in a piece of `ternaryMultiply`. */
export const TERNARY_TOKENS = 128;
export const TERNARY_ROWS = 32;

/** How a row is coded by itself. */
export type RowCoding = 'half' | 'bfloat' | 'symmetric' | 'symmetric-half' | 'affine' | 'fixed';

const rowsOf = (index: number, rows: number) => {
  const first = index * INPUT_ROWS;
  return { first, count: Math.min(INPUT_ROWS, rows - first) };
};

/**
 * Replaces rows by what their codes stand for. args: rows, x, ldx, out (without gaps), columns, then as the kernel of the
 * coding (payload) takes them: block and highest code, or scale, zero point, lowest and highest code.
 */
const codeInputs: Task = (scope, index, [rows, x, ldx, out, n, ...numbers], payload) => {
  const { compute, scratch } = scope;
  const { first, count } = rowsOf(index, rows);
  const [from, to] = [x + 4 * first * ldx, out + 4 * first * n];
  const [a, b, c, d] = numbers;
  switch (payload as RowCoding) {
    case 'half':
      compute.halfRows(from, ldx, to, n, count, n);
      break;
    case 'bfloat':
      compute.bfloatRows(from, ldx, to, n, count, n);
      break;
    case 'symmetric':
      compute.codeRows(from, ldx, to, n, count, n, a, b, 0);
      break;
    case 'symmetric-half':
      compute.codeRows(from, ldx, to, n, count, n, a, b, 1);
      break;
    case 'affine':
      compute.codeRowsAffine(from, ldx, to, n, count, n, a, b, scratch);
      break;
    case 'fixed':
      compute.codeRowsFixed(from, ldx, to, n, count, n, a, b, c, d);
      break;
  }
};

/** args: rows, x, ldx, columns, codes (int8 without gaps), scales. */
const byteInputs: Task = ({ compute }, index, [rows, x, ldx, n, codes, scales]) => {
  const { first, count } = rowsOf(index, rows);
  compute.byteRows(x + 4 * first * ldx, ldx, count, n, codes + first * n, scales + 4 * first);
};

/** args: rows, weights, columns, block, masks, scales of blocks, counts (a float64 for each piece of TERNARY_ROWS rows). */
const maskWeights: Task = ({ compute, doubles }, index, [rows, w, n, block, masks, scales, counts]) => {
  const first = index * TERNARY_ROWS;
  const count = Math.min(TERNARY_ROWS, rows - first);
  const [to, own] = [masks + 2 * first * n, scales + 4 * first * (n / block)];
  doubles(counts + 8 * index, 1)[0] = compute.ternaryMasks(w + 4 * first * n, count, n, block, to, own);
};

/** args as the kernel's (`ternaryProduct`). A piece is some tokens and some rows of weights. */
const ternaryMultiply: Task = ({ compute }, index, args) => {
  const [m, n, k, codes, tokenScales, masks, blockScales, block, shared, c, ldc, accumulate] = args;
  const down = Math.ceil(m / TERNARY_TOKENS);
  const token = (index % down) * TERNARY_TOKENS;
  const row = Math.floor(index / down) * TERNARY_ROWS;
  compute.ternaryProduct(
    Math.min(TERNARY_TOKENS, m - token),
    Math.min(TERNARY_ROWS, n - row),
    k,
    codes + token * k,
    tokenScales + 4 * token,
    masks + 2 * row * k,
    blockScales + 4 * row * (k / block),
    block,
    shared,
    c + 4 * (token * ldc + row),
    ldc,
    accumulate,
  );
};

/** Least and largest value, and 0, of each piece: two float32 at `out` for each. args: rows, x, ldx, columns, out. */
const inputExtremes: Task = ({ compute }, index, [rows, x, ldx, n, out]) => {
  const { first, count } = rowsOf(index, rows);
  compute.extremes(x + 4 * first * ldx, ldx, count, n, out + 8 * index);
};

/** Counts values in bins, each thread in its own. args: rows, x, ldx, columns, bins a unit, bins a side, counts. */
const countInputs: Task = ({ compute, thread }, index, [rows, x, ldx, n, perUnit, side, counts]) => {
  const { first, count } = rowsOf(index, rows);
  compute.countRows(x + 4 * first * ldx, ldx, count, n, perUnit, side, counts + 8 * side * thread);
};

/** Of each piece the sum of (a - b)^2 and of a^2, two float64 at `out`; rows without gaps. args: rows, columns, a, b, out. */
const compareRows: Task = ({ compute }, index, [rows, n, a, b, out]) => {
  const { first, count } = rowsOf(index, rows);
  compute.squaredDifference(a + 4 * first * n, b + 4 * first * n, count, n, out + 16 * index);
};

export const activationTasks: Readonly<Record<string, Task>> = {
  codeInputs,
  byteInputs,
  maskWeights,
  ternaryMultiply,
  inputExtremes,
  countInputs,
  compareRows,
};
