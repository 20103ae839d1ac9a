/**
 * Product of float32 matrices: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), with a
 * 5 x 8 tile of C in registers.
 *
 * C is cut into columns of WIDTH, k into slices of DEPTH, rows into blocks of HEIGHT. The slices of A and B that a block needs are first
 * copied into scratch in the order in which they will be read: strips of 5 rows of A or 8 columns of B, in each strip
 * one step of k after the other, the last strip filled up with zeros.
 *
 * Every element of C is a sum over slices, in order, of sums over the steps of a slice, in order, whatever m and n
 * are: however a product is cut along m and n, the bits of C are the same.
 */
import { madd } from './madd';

/** Steps of k in a slice: 8 columns of B are 8 KiB, at home in the first cache. */
const DEPTH: i32 = 256;
/** Rows of A in a block, whole strips: 130 KiB, at home in the second cache. */
const HEIGHT: i32 = 130;
/** Columns of B: 512 KiB. */
const WIDTH: i32 = 512;
const TILE_ROWS: i32 = 5;
const TILE_COLUMNS: i32 = 8;

/** Bytes of the packed slices. */
const PACKED_A: i32 = (HEIGHT / TILE_ROWS) * (4 * TILE_ROWS * DEPTH + 64);
const PACKED_B: i32 = (WIDTH / TILE_COLUMNS) * (4 * TILE_COLUMNS * DEPTH + 64);

/** Bytes of scratch that `gemm` needs. */
export function gemmScratchBytes(): i32 {
  return PACKED_A + PACKED_B + 4 * TILE_ROWS * TILE_COLUMNS;
}

/**
 * C = A B, or C + A B if `accumulate`.
 * A is m x k (or stored k x m if `transposeA`), B k x n (or stored n x k if `transposeB`), C m x n, float32, row-major, ld* floats
 * from one stored row to the next; `scratch`: gemmScratchBytes() bytes. C must overlap neither A nor B.
 */
export function gemm(
  m: i32,
  n: i32,
  k: i32,
  a: usize,
  lda: i32,
  transposeA: bool,
  b: usize,
  ldb: i32,
  transposeB: bool,
  c: usize,
  ldc: i32,
  accumulate: bool,
  scratch: usize,
): void {
  const packedA = scratch;
  const packedB = packedA + PACKED_A;
  const sums = packedB + PACKED_B;
  for (let column = 0; column < n; column += WIDTH) {
    const columns = min(WIDTH, n - column);
    // At least one slice, so that C is cleared if k is 0.
    for (let step = 0; step == 0 || step < k; step += DEPTH) {
      const depth = min(DEPTH, k - step);
      if (transposeB) packRows(b + at(column, ldb, step), ldb, columns, depth, packedB, TILE_COLUMNS);
      else packColumns(b + at(step, ldb, column), ldb, columns, depth, packedB, TILE_COLUMNS);
      const add = accumulate || step > 0;
      for (let row = 0; row < m; row += HEIGHT) {
        const rows = min(HEIGHT, m - row);
        if (transposeA) packColumns(a + at(step, lda, row), lda, rows, depth, packedA, TILE_ROWS);
        else packRows(a + at(row, lda, step), lda, rows, depth, packedA, TILE_ROWS);
        block(rows, columns, depth, packedA, packedB, c + at(row, ldc, column), ldc, add, sums);
      }
    }
  }
}

/** Bytes from the first element to that of a row and column. */
// @ts-ignore: decorator
@inline
function at(row: i32, ld: i32, column: i32): usize {
  return ((<usize>row * ld + column) << 2);
}

/** Bytes from one strip to the next: a line of cache more than it fills, so that strips do not all fall on the same lines. */
// @ts-ignore: decorator
@inline
function stripBytes(strip: i32, depth: i32): usize {
  return at(depth, strip, 0) + 64;
}

/** Packs `lines` lines whose steps of k are neighbours, `ld` floats from line to line, into strips of `strip` lines. */
function packRows(from: usize, ld: i32, lines: i32, depth: i32, to: usize, strip: i32): void {
  const stride = <usize>strip << 2; // bytes from one step to the next in a strip
  let first = to;
  for (let line = 0; line < lines; line += strip) {
    for (let i = 0; i < strip; i++) {
      let out = first + (<usize>i << 2);
      if (line + i >= lines) {
        for (let step = 0; step < depth; step++, out += stride) store<f32>(out, 0);
        continue;
      }
      let source = from + at(line + i, ld, 0);
      let left = depth;
      for (; left >= 4; left -= 4) {
        const x = v128.load(source);
        v128.store_lane<f32>(out, x, 0);
        v128.store_lane<f32>(out + stride, x, 1);
        v128.store_lane<f32>(out + 2 * stride, x, 2);
        v128.store_lane<f32>(out + 3 * stride, x, 3);
        source += 16;
        out += 4 * stride;
      }
      for (; left > 0; left--, source += 4, out += stride) store<f32>(out, load<f32>(source));
    }
    first += stripBytes(strip, depth);
  }
}

/** Packs `lines` lines that are neighbours, `ld` floats from one step of k to the next, into strips of `strip` lines. */
function packColumns(from: usize, ld: i32, lines: i32, depth: i32, to: usize, strip: i32): void {
  const bytes = stripBytes(strip, depth);
  for (let step = 0; step < depth; step++) {
    let source = from + at(step, ld, 0);
    let out = to + at(step, strip, 0);
    for (let line = 0; line < lines; line += strip) {
      const whole = min(strip, lines - line);
      let i = 0;
      for (; i + 4 <= whole; i += 4) v128.store(out + at(0, 0, i), v128.load(source + at(0, 0, i)));
      for (; i < whole; i++) store<f32>(out + at(0, 0, i), load<f32>(source + at(0, 0, i)));
      for (; i < strip; i++) store<f32>(out + at(0, 0, i), 0);
      source += at(0, 0, strip);
      out += bytes;
    }
  }
}

/** Adds the product of packed slices, `rows` x `depth` and `depth` x `columns`, to C, or writes it there. */
function block(
  rows: i32,
  columns: i32,
  depth: i32,
  packedA: usize,
  packedB: usize,
  c: usize,
  ldc: i32,
  add: bool,
  sums: usize,
): void {
  const stripA = stripBytes(TILE_ROWS, depth);
  const stripB = stripBytes(TILE_COLUMNS, depth);
  let b = packedB;
  for (let column = 0; column < columns; column += TILE_COLUMNS) {
    let a = packedA;
    const width = min(TILE_COLUMNS, columns - column);
    for (let row = 0; row < rows; row += TILE_ROWS) {
      gemmTile(depth, a, b, sums);
      put(sums, min(TILE_ROWS, rows - row), width, c + at(row, ldc, column), ldc, add);
      a += stripA;
    }
    b += stripB;
  }
}

/** Adds a tile to C, or writes it there, as far as it lies inside. */
function put(sums: usize, rows: i32, columns: i32, c: usize, ldc: i32, add: bool): void {
  for (let row = 0; row < rows; row++) {
    if (columns == TILE_COLUMNS) {
      const low = v128.load(sums);
      const high = v128.load(sums, 16);
      v128.store(c, add ? f32x4.add(v128.load(c), low) : low);
      v128.store(c, add ? f32x4.add(v128.load(c, 16), high) : high, 16);
    } else {
      for (let column = 0; column < columns; column++) {
        const value = load<f32>(sums + at(0, 0, column));
        const target = c + at(0, 0, column);
        store<f32>(target, add ? load<f32>(target) + value : value);
      }
    }
    sums += 4 * TILE_COLUMNS;
    c += at(1, ldc, 0);
  }
}

/**
 * One tile of C from a strip of A and one of B. Ten sums of four lanes, one step of k a turn: that is what V8 keeps in
 * registers. With twelve sums or two steps it spills, and the speed halves. For the same reason it must stay a function of its
 * own: it is exported so that the compiler does not inline it.
 */
export function gemmTile(depth: i32, a: usize, b: usize, sums: usize): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  for (let left = depth; left > 0; left--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load_splat<f32>(a);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(a, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load_splat<f32>(a, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load_splat<f32>(a, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    const a4 = v128.load_splat<f32>(a, 16);
    c40 = madd(a4, b0, c40);
    c41 = madd(a4, b1, c41);
    a += 4 * TILE_ROWS;
    b += 4 * TILE_COLUMNS;
  }
  v128.store(sums, c00);
  v128.store(sums, c01, 16);
  v128.store(sums, c10, 32);
  v128.store(sums, c11, 48);
  v128.store(sums, c20, 64);
  v128.store(sums, c21, 80);
  v128.store(sums, c30, 96);
  v128.store(sums, c31, 112);
  v128.store(sums, c40, 128);
  v128.store(sums, c41, 144);
}
