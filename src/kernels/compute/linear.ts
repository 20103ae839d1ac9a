/**
 * Kernels on tiles: 256 x 256 float64 of a symmetric or triangular matrix. A tile is 64 *strips* of 4 rows; in a strip
 * the 4 values of a column lie side by side, columns follow one another: element (r, c) is number
 * (r >> 2) * 1024 + c * 4 + (r & 3). So 4 x 4 values are 128 contiguous bytes (a *block*), a product of two
 * tiles A B^T reads both from front to back, and some rows of a tile are a tile with fewer strips.
 */
import { madd } from './madd';

/** Bytes of a strip: 4 rows x 256 columns, float64. */
const STRIP: usize = 4 * 256 * 8;
/** Bytes of a block: 4 x 4 float64. */
const BLOCK: usize = 4 * 4 * 8;
/** Columns of activations that lie side by side. */
const LANE: i32 = 8;
/** Rows whose products are added in float32 before they go into float64. */
const SLAB: i32 = 256;

/**
 * Copies `count` columns at `x` (`rows` x `count` float32, `ldx` floats from row to row) to `out`: groups of 8 columns,
 * each `rows` x 8, filled up with zeros.
 */
export function packColumns(x: usize, ldx: i32, rows: i32, count: i32, out: usize): void {
  const step = (<usize>ldx) << 2;
  for (let first = 0; first < count; first += LANE) {
    let from = x + ((<usize>first) << 2);
    if (count - first >= LANE) {
      for (let row = 0; row < rows; row++) {
        v128.store(out, v128.load(from));
        v128.store(out, v128.load(from, 16), 16);
        from += step;
        out += 32;
      }
      continue;
    }
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < LANE; i++) {
        const at = (<usize>i) << 2;
        store<f32>(out + at, first + i < count ? load<f32>(from + at) : 0);
      }
      from += step;
      out += 32;
    }
  }
}

/**
 * Adds X_I^T X_J to the strips at `out`, for the columns I of `strips` strips (from column `firstI` on, a multiple of 8) and
 * the columns J up to 256 from `firstJ`. X is packed at `x` (`rows` rows, `n` columns rounded up to 8). Products are
 * float32, added row after row over slabs of 256 rows, and each slab is added to float64. Of the blocks above the
 * diagonal of the whole matrix only those are computed that share 8 x 8 values with it.
 */
export function gram(
  x: usize,
  rows: i32,
  n: i32,
  firstI: i32,
  strips: i32,
  firstJ: i32,
  out: usize,
): void {
  const group = (<usize>rows) << 5; // bytes of a group of 8 columns
  const groupsI = min((strips + 1) >> 1, (n - firstI + LANE - 1) / LANE);
  const groupsJ = min(256 / LANE, (n - firstJ + LANE - 1) / LANE);
  for (let done = 0; done < rows; done += SLAB) {
    const count = min(SLAB, rows - done);
    const slab = x + ((<usize>done) << 5);
    for (let j = 0; j < groupsJ; j++) {
      const b = slab + <usize>(firstJ / LANE + j) * group;
      for (let i = max(0, firstJ / LANE + j - firstI / LANE); i < groupsI; i++) {
        const a = slab + <usize>(firstI / LANE + i) * group;
        const block = out + (<usize>i << 1) * STRIP + (<usize>j << 1) * BLOCK;
        gramBlock(a, b, count, block);
        gramBlock(a, b + 16, count, block + BLOCK);
      }
    }
  }
}

/** Adds a (count x 8)^T times b (count x 4 of 8) to two blocks, one under the other. */
// @ts-ignore: decorator
@inline
function gramBlock(a: usize, b: usize, count: i32, block: usize): void {
  let l0 = f32x4.splat(0), l1 = l0, l2 = l0, l3 = l0; // rows 0..3, columns 0..3
  let h0 = l0, h1 = l0, h2 = l0, h3 = l0; // rows 4..7
  for (const end = a + ((<usize>count) << 5); a != end; a += 32, b += 32) {
    const low = v128.load(a), high = v128.load(a, 16);
    const b0 = v128.load_splat<f32>(b);
    l0 = madd(low, b0, l0);
    h0 = madd(high, b0, h0);
    const b1 = v128.load_splat<f32>(b, 4);
    l1 = madd(low, b1, l1);
    h1 = madd(high, b1, h1);
    const b2 = v128.load_splat<f32>(b, 8);
    l2 = madd(low, b2, l2);
    h2 = madd(high, b2, h2);
    const b3 = v128.load_splat<f32>(b, 12);
    l3 = madd(low, b3, l3);
    h3 = madd(high, b3, h3);
  }
  addColumn(block, l0);
  addColumn(block + 32, l1);
  addColumn(block + 64, l2);
  addColumn(block + 96, l3);
  addColumn(block + STRIP, h0);
  addColumn(block + STRIP + 32, h1);
  addColumn(block + STRIP + 64, h2);
  addColumn(block + STRIP + 96, h3);
}

// @ts-ignore: decorator
@inline
function addColumn(at: usize, sums: v128): void {
  v128.store(at, f64x2.add(v128.load(at), f64x2.promote_low_f32x4(sums)));
  const high = f64x2.promote_low_f32x4(i8x16.shuffle(sums, sums, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  v128.store(at, f64x2.add(v128.load(at, 16), high), 16);
}

/**
 * Adds float32 products to the strips at `out`: `columns` columns of 64 rows each, of which the first `rows`, rounded up to 4,
 * count.
 */
export function addProducts(products: usize, rows: i32, columns: i32, out: usize): void {
  for (let row = 0; row < rows; row += 4) {
    const from = products + ((<usize>row) << 2);
    for (let c = 0; c < columns; c++) addColumn(out + ((<usize>c) << 5), v128.load(from + ((<usize>c) << 8)));
    out += STRIP;
  }
}

/**
 * Sum of a b over `strips` strips of two symmetric matrices, of which these strips are rows from `firstI` on and columns
 * from `firstJ` on: what is left of the diagonal counts twice, what is right of it not at all.
 */
export function weightedDot(a: usize, b: usize, firstI: i32, strips: i32, firstJ: i32): f64 {
  let total: f64 = 0;
  for (let strip = 0; strip < strips; strip++) {
    const row = firstI + (strip << 2);
    let left = f64x2.splat(0), right = f64x2.splat(0);
    const columns = min(256, row - firstJ);
    for (let c = 0; c < columns; c++) {
      const at = ((<usize>c) << 5);
      left = f64x2.add(left, f64x2.mul(v128.load(a + at), v128.load(b + at)));
      right = f64x2.add(right, f64x2.mul(v128.load(a + at, 16), v128.load(b + at, 16)));
    }
    let sum = f64x2.extract_lane(left, 0) + f64x2.extract_lane(left, 1) +
      (f64x2.extract_lane(right, 0) + f64x2.extract_lane(right, 1));
    if (columns < 256) {
      for (let c = 0; c < 4; c++) {
        for (let r = c; r < 4; r++) {
          const at = ((<usize>(columns + c)) << 5) + ((<usize>r) << 3);
          const product = load<f64>(a + at) * load<f64>(b + at);
          sum += r == c ? 0.5 * product : product;
        }
      }
    }
    total += sum;
    a += STRIP;
    b += STRIP;
  }
  return 2 * total;
}

/**
 * C -= A B^T for `strips` strips of A and C and a whole tile B. In strip i of C only blocks up to number `last` + i are
 * computed: 63 for all of them; for strips of a tile on the diagonal the number of the first, which leaves out
 * what is right of the diagonal.
 */
export function subtractProduct(a: usize, strips: i32, b: usize, c: usize, last: i32): void {
  for (let j = 0; j < 64; j++) {
    for (let i = max(0, j - last); i < strips; i++) {
      subtractBlock(a + <usize>i * STRIP, b + <usize>j * STRIP, 256, c + <usize>i * STRIP + <usize>j * BLOCK);
    }
  }
}

/** block -= a b^T over the first `count` columns of two strips. */
// @ts-ignore: decorator
@inline
function subtractBlock(a: usize, b: usize, count: i32, block: usize): void {
  let l0 = v128.load(block), h0 = v128.load(block, 16);
  let l1 = v128.load(block, 32), h1 = v128.load(block, 48);
  let l2 = v128.load(block, 64), h2 = v128.load(block, 80);
  let l3 = v128.load(block, 96), h3 = v128.load(block, 112);
  for (const end = a + ((<usize>count) << 5); a != end; a += 32, b += 32) {
    const low = v128.load(a), high = v128.load(a, 16);
    const b0 = v128.load_splat<f64>(b);
    l0 = f64x2.sub(l0, f64x2.mul(low, b0));
    h0 = f64x2.sub(h0, f64x2.mul(high, b0));
    const b1 = v128.load_splat<f64>(b, 8);
    l1 = f64x2.sub(l1, f64x2.mul(low, b1));
    h1 = f64x2.sub(h1, f64x2.mul(high, b1));
    const b2 = v128.load_splat<f64>(b, 16);
    l2 = f64x2.sub(l2, f64x2.mul(low, b2));
    h2 = f64x2.sub(h2, f64x2.mul(high, b2));
    const b3 = v128.load_splat<f64>(b, 24);
    l3 = f64x2.sub(l3, f64x2.mul(low, b3));
    h3 = f64x2.sub(h3, f64x2.mul(high, b3));
  }
  v128.store(block, l0);
  v128.store(block, h0, 16);
  v128.store(block, l1, 32);
  v128.store(block, h1, 48);
  v128.store(block, l2, 64);
  v128.store(block, h2, 80);
  v128.store(block, l3, 96);
  v128.store(block, h3, 112);
}

/** X := X L^-T for `strips` strips of X and a lower triangular tile L. */
export function solveTriangle(l: usize, x: usize, strips: i32): void {
  for (let i = 0; i < strips; i++) {
    for (let j = 0; j < 64; j++) solveBlock(l + <usize>j * STRIP, x, j);
    x += STRIP;
  }
}

/** Solves for block j of the strip at `x`, whose blocks before j are solved; `l` is strip j of the triangle. */
// @ts-ignore: decorator
@inline
function solveBlock(l: usize, x: usize, j: i32): void {
  const block = x + <usize>j * BLOCK;
  const triangle = l + <usize>j * BLOCK;
  subtractBlock(x, l, j << 2, block);
  for (let c: usize = 0; c < 4; c++) {
    let low = v128.load(block + (c << 5)), high = v128.load(block + (c << 5), 16);
    for (let k: usize = 0; k < c; k++) {
      const factor = v128.load_splat<f64>(triangle + (k << 5) + (c << 3));
      low = f64x2.sub(low, f64x2.mul(v128.load(block + (k << 5)), factor));
      high = f64x2.sub(high, f64x2.mul(v128.load(block + (k << 5), 16), factor));
    }
    const pivot = v128.load_splat<f64>(triangle + (c << 5) + (c << 3));
    v128.store(block + (c << 5), f64x2.div(low, pivot));
    v128.store(block + (c << 5), f64x2.div(high, pivot), 16);
  }
}

/**
 * Cholesky of a tile in place: the lower triangle becomes L with L L^T = A; above the diagonal anything. A pivot L_jj^2
 * must be greater than `floors`[j] (float64). Returns the first column where it is not, or -1.
 */
export function cholesky(tile: usize, floors: usize): i32 {
  for (let i = 0; i < 64; i++) {
    const strip = tile + <usize>i * STRIP;
    for (let j = 0; j < i; j++) solveBlock(tile + <usize>j * STRIP, strip, j);
    const block = strip + <usize>i * BLOCK;
    subtractBlock(strip, strip, i << 2, block);
    for (let c: usize = 0; c < 4; c++) {
      const column = block + (c << 5);
      for (let r = c; r < 4; r++) {
        let sum = load<f64>(column + (r << 3));
        for (let k: usize = 0; k < c; k++) {
          sum -= load<f64>(block + (k << 5) + (r << 3)) * load<f64>(block + (k << 5) + (c << 3));
        }
        if (r > c) {
          store<f64>(column + (r << 3), sum / load<f64>(column + (c << 3)));
        } else {
          const index = (<usize>i << 2) + c;
          // Not `sum <= floor`: a pivot that is not a number is refused too.
          if (!(sum > load<f64>(floors + (index << 3)))) return <i32>index;
          store<f64>(column + (c << 3), Math.sqrt(sum));
        }
      }
    }
  }
  return -1;
}
