/**
 * Tasks on Hessians and their factors (hessian.ts, factor.ts). Heavy work is cut into *bands*: 64 rows of a tile, so that
 * a matrix of few tiles keeps all threads busy. Every band of a result is written by one piece.
 */
import type { Task, TaskScope } from './scope.ts';
import {
  elementOf,
  TILE,
  TILE_BYTES,
  TILE_LENGTH,
  type TileHandle,
  Tiles,
  tileTasks,
  triangleIndex,
} from './tiles.ts';

const BAND = 64;
const BANDS = TILE / BAND;
const BAND_STRIPS = BAND / 4;
const BAND_LENGTH = BAND * TILE;
const BAND_BYTES = 8 * BAND_LENGTH;

/** Rows whose products are added in float32 before they go into float64: as in the kernel `gram`. */
export const SLAB = 256;

/** Bytes of scratch that these tasks need on each thread. */
export const LINEAR_SCRATCH_BYTES = TILE_BYTES;

/** Columns of one piece of `packColumns`. */
const PACKED_COLUMNS = 64;
/** Pieces of `packColumns` for n columns. */
export const packPieces = (n: number): number => Math.ceil(n / PACKED_COLUMNS);
/** Bytes of one packed row of n columns. */
export const packedRowBytes = (n: number): number => 32 * Math.ceil(n / 8);

/** Bands of all tiles on and below the diagonal that hold any of the n rows. */
export function trianglePieces(n: number): number {
  const whole = Math.ceil(n / TILE) - 1;
  return 2 * whole * (whole + 1) + Math.ceil((n - whole * TILE) / BAND) * (whole + 1);
}

/** Band `piece` of the triangle: tile (i, j), j <= i, and which of its bands. */
function bandOf(piece: number): { i: number; j: number; band: number } {
  const i = Math.floor((Math.sqrt(1 + 2 * piece) - 1) / 2); // 2 i (i + 1) <= piece
  const rest = piece - 2 * i * (i + 1);
  return { i, j: rest % (i + 1), band: Math.floor(rest / (i + 1)) };
}

/** Tile (i, j) of number `index`. */
function tileOf(index: number): { i: number; j: number } {
  const i = Math.floor((Math.sqrt(1 + 8 * index) - 1) / 2);
  return { i, j: index - triangleIndex(i, 0) };
}

interface Activations {
  readonly x: number;
  readonly ldx: number;
  readonly rows: number;
  readonly n: number;
}

/** Adds X^T X, in the 64 rows from `row` and the columns from `column`, to the band at `out`. */
function addGram(
  { blas, compute, scratch, floats }: TaskScope,
  { x, ldx, rows, n }: Activations,
  [row, column]: readonly [number, number],
  out: number,
): void {
  if (blas === null) {
    compute.gram(x, rows, n, row, BAND_STRIPS, column, out);
    return;
  }
  const products = scratch + 2 * BAND_BYTES;
  const height = Math.min(BAND, n - row);
  const width = Math.min(TILE, row + height - column);
  // Rows are added four at a time, but those beyond n stay zero.
  if (height % 4 > 0) floats(products, BAND * TILE).fill(0);
  for (let done = 0; done < rows; done += SLAB) {
    const slab = x + 4 * done * ldx;
    blas({
      m: width,
      n: height,
      k: Math.min(SLAB, rows - done),
      a: slab + 4 * column,
      lda: ldx,
      transposeA: true,
      b: slab + 4 * row,
      ldb: ldx,
      transposeB: false,
      c: products,
      ldc: BAND,
    });
    compute.addProducts(products, height, width, out);
  }
}

export interface GatherPayload {
  readonly source: TileHandle;
  /** For each row of the source, rounded up to whole tiles: its row in the target. */
  readonly places: Int32Array;
}

/** What row and column add to the number of an element: elementOf(row, column) = ROW[row] + COLUMN[column]. */
const ROW = Int32Array.from({ length: TILE }, (_, row) => elementOf(row, 0));
const COLUMN = Int32Array.from({ length: TILE }, (_, column) => elementOf(0, column));

/** Columns that `gather` copies at a time: values of a column lie 8 KiB apart, and lines of the cache hold four. */
const GATHERED_COLUMNS = 16;

export const tasks: Readonly<Record<string, Task>> = {
  ...tileTasks,

  /** args: x (rows x n float32), ldx, rows, n, target. A piece is some columns. */
  packColumns({ compute }: TaskScope, index, [x, ldx, rows, n, packed]) {
    const first = index * PACKED_COLUMNS;
    const count = Math.min(PACKED_COLUMNS, n - first);
    compute.packColumns(x + 4 * first, ldx, rows, count, packed + 4 * first * rows);
  },

  /**
   * H += X^T X. args: X (packed, unless BLAS multiplies), ldx, rows, n, pieces. payload: tiles of H. A piece is a band, the
   * longest first.
   */
  gram(scope, index, [x, ldx, rows, n, pieces], payload) {
    const { i, j, band } = bandOf(pieces - 1 - index);
    const tiles = new Tiles(scope, payload as TileHandle);
    const tile = triangleIndex(i, j);
    tiles.load(tile, scope.scratch, band * BAND_LENGTH, BAND_LENGTH);
    addGram(scope, { x, ldx, rows, n }, [i * TILE + band * BAND, j * TILE], scope.scratch);
    tiles.store(tile, scope.scratch, band * BAND_LENGTH, BAND_LENGTH);
  },

  /** The share of each band in tr(M H M^T) = sum H_ij (M^T M)_ij. args: as `gram`, of M, and sums. payload: tiles of H. */
  quadraticForm(scope, index, [x, ldx, rows, n, pieces, sums], payload) {
    const piece = pieces - 1 - index;
    const { i, j, band } = bandOf(piece);
    const [row, column] = [i * TILE + band * BAND, j * TILE];
    const [product, stored] = [scope.scratch, scope.scratch + BAND_BYTES];
    scope.doubles(product, BAND_LENGTH).fill(0);
    addGram(scope, { x, ldx, rows, n }, [row, column], product);
    new Tiles(scope, payload as TileHandle).load(
      triangleIndex(i, j),
      stored,
      band * BAND_LENGTH,
      BAND_LENGTH,
    );
    const share = scope.compute.weightedDot(product, stored, row, BAND_STRIPS, column);
    scope.doubles(sums, pieces)[piece] = share;
  },

  /** Diagonal of tile (index, index) as float64. args: target, 256 values a tile. payload: tiles. */
  tileDiagonal(scope, index, [address], payload) {
    const tile = new Tiles(scope, payload as TileHandle).view(triangleIndex(index, index), scope.scratch);
    const target = scope.doubles(address + 8 * TILE * index, TILE);
    for (let i = 0; i < TILE; i++) target[i] = tile[elementOf(i, i)];
  },

  /** Rows of H as float32. args: first row, rows, n, target (rows x n). payload: H. A piece is a tile. */
  symmetricRows(scope, index, [start, count, n, address], payload) {
    const across = Math.ceil(n / TILE);
    const i = Math.floor(start / TILE) + Math.floor(index / across);
    const j = index % across;
    const tile = new Tiles(scope, payload as TileHandle).view(
      triangleIndex(Math.max(i, j), Math.min(i, j)),
      scope.scratch,
    );
    const target = scope.floats(address, count * n);
    const end = Math.min(start + count, (i + 1) * TILE);
    const columns = Math.min(TILE, n - j * TILE);
    for (let row = Math.max(start, i * TILE); row < end; row++) {
      const at = (row - start) * n + j * TILE;
      const local = row - i * TILE;
      for (let column = 0; column < columns; column++) {
        const stored = i > j || (i === j && column <= local);
        target[at + column] = tile[stored ? elementOf(local, column) : elementOf(column, local)];
      }
    }
  },

  /**
   * Collects a row of tiles of a symmetric matrix in another order. args: row of tiles, target (row + 1 tiles). A piece
   * is a tile of the source; each value of the target comes from one.
   */
  gather(scope, index, [block, address], payload) {
    const { source, places } = payload as GatherPayload;
    const { i, j } = tileOf(index);
    const own = (tile: number) => places.subarray(tile * TILE, (tile + 1) * TILE);
    const isWanted = (place: number) => Math.floor(place / TILE) === block;
    const mine = i === j ? [i] : [i, j];
    if (!mine.some((tile) => own(tile).some(isWanted))) return;

    const tile = new Tiles(scope, source).view(index, scope.scratch);
    const target = scope.doubles(address, (block + 1) * TILE_LENGTH);
    const inTarget = (place: number) =>
      place < (block + 1) * TILE ? Math.floor(place / TILE) * TILE_LENGTH + COLUMN[place % TILE] : -1;
    for (const rows of mine) {
      const to = own(i + j - rows).map(inTarget);
      if (to.every((offset) => offset < 0)) continue;
      for (let from = 0; from < TILE; from += GATHERED_COLUMNS) {
        const end = from + GATHERED_COLUMNS;
        for (let row = 0; row < TILE; row++) {
          const place = places[rows * TILE + row];
          if (!isWanted(place)) continue;
          const at = ROW[place % TILE];
          for (let column = from; column < end; column++) {
            if (to[column] < 0) continue;
            // On the diagonal the tile holds columns up to `row`; the others are those of its transpose.
            const isStored = i === j ? column <= row : rows === i;
            target[at + to[column]] = tile[isStored ? ROW[row] + COLUMN[column] : COLUMN[row] + ROW[column]];
          }
        }
      }
    }
  },

  /** Writes tiles (row, 0), (row, 1), ... args: row, address of the first. payload: tiles. */
  storeTiles(scope, index, [row, address], payload) {
    new Tiles(scope, payload as TileHandle).store(triangleIndex(row, index), address + index * TILE_BYTES);
  },

  /** Reads tiles (row, 0), (row, 1), ... args: row, address of the first. payload: tiles. */
  loadTiles(scope, index, [row, address], payload) {
    new Tiles(scope, payload as TileHandle).load(triangleIndex(row, index), address + index * TILE_BYTES);
  },

  /**
   * Takes from column k of tiles what the columns before it explain: A_ik -= sum_j<k L_ij L_kj^T, j ascending. args: k, tile
   * rows, address of L_k0, L_k1, ... payload: tiles. A piece is a band, the lowest first.
   */
  updateColumn(scope, index, [k, height, row], payload) {
    const tiles = new Tiles(scope, payload as TileHandle);
    const line = BANDS * height - 1 - index;
    const i = Math.floor(line / BANDS);
    const band = line % BANDS;
    const [left, target] = [scope.scratch, scope.scratch + BAND_BYTES];
    const from = band * BAND_LENGTH;
    tiles.load(triangleIndex(i, k), target, from, BAND_LENGTH);
    for (let j = 0; j < k; j++) {
      const above = row + j * TILE_BYTES;
      if (i === k) {
        scope.compute.subtractProduct(above + 8 * from, BAND_STRIPS, above, target, band * BAND_STRIPS);
      } else {
        tiles.load(triangleIndex(i, j), left, from, BAND_LENGTH);
        scope.compute.subtractProduct(left, BAND_STRIPS, above, target, TILE / 4 - 1);
      }
    }
    tiles.store(triangleIndex(i, k), target, from, BAND_LENGTH);
  },

  /**
   * Factors tile (k, k) at `tile`. args: k, tile, floors of the pivots, where to say which column failed (int32, else -1).
   * payload: tiles.
   */
  factorDiagonal(scope, _index, [k, tile, floors, status], payload) {
    const tiles = new Tiles(scope, payload as TileHandle);
    tiles.load(triangleIndex(k, k), tile);
    const failed = scope.compute.cholesky(tile, floors);
    new Int32Array(scope.memory.buffer, status, 1)[0] = failed;
    if (failed < 0) tiles.store(triangleIndex(k, k), tile);
  },

  /** L_ik = A_ik L_kk^-T below the diagonal. args: k, address of L_kk. payload: tiles. A piece is a band. */
  solveColumn(scope, index, [k, diagonal], payload) {
    const tiles = new Tiles(scope, payload as TileHandle);
    const tile = triangleIndex(k + 1 + Math.floor(index / BANDS), k);
    const from = (index % BANDS) * BAND_LENGTH;
    tiles.load(tile, scope.scratch, from, BAND_LENGTH);
    scope.compute.solveTriangle(diagonal, scope.scratch, BAND_STRIPS);
    tiles.store(tile, scope.scratch, from, BAND_LENGTH);
  },

  /**
   * Rows of R as float32, from the diagonal on, where R is L with both axes reversed. args: first row, rows, n, target
   * (rows x (n - first row)). payload: tiles of L. A piece is a tile.
   */
  upperRows(scope, index, [start, count, n, address], payload) {
    const height = Math.ceil(n / TILE);
    const first = Math.floor(start / TILE);
    const i = first + Math.floor(index / (height - first));
    const j = first + (index % (height - first));
    const ld = n - start;
    const target = scope.floats(address, count * ld);
    const endRow = Math.min(start + count, (i + 1) * TILE);
    const startColumn = Math.max(start, j * TILE);
    const endColumn = Math.min(n, (j + 1) * TILE);
    const tile =
      j < i
        ? null
        : new Tiles(scope, payload as TileHandle).view(
            triangleIndex(height - 1 - i, height - 1 - j),
            scope.scratch,
          );
    for (let row = Math.max(start, i * TILE); row < endRow; row++) {
      const at = (row - start) * ld - start;
      const local = (i + 1) * TILE - 1 - row;
      for (let column = startColumn; column < endColumn; column++) {
        const zero = tile === null || column < row;
        target[at + column] = zero ? 0 : tile[elementOf(local, (j + 1) * TILE - 1 - column)];
      }
    }
  },
};

/** Pieces of `updateColumn` for column k of `height` rows of tiles. */
export const updatePieces = (k: number, height: number): number => BANDS * (height - k);
/** Pieces of `solveColumn`. */
export const solvePieces = (k: number, height: number): number => BANDS * (height - k - 1);
