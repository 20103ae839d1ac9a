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

export interface GatherPayload {
  readonly source: TileHandle;
  /** For each row of the source, rounded up to whole tiles: its row in the target. */
  readonly places: Int32Array;
}

/** Copies the values of source rows `rows` of tile row `from`, in the columns of tile column `to`, to their places. */
function place(
  target: Float64Array,
  places: Int32Array,
  block: number,
  rows: readonly number[],
  [from, to]: readonly [number, number],
  valueAt: (row: number, column: number) => number,
): void {
  const end = (block + 1) * TILE;
  for (const row of rows) {
    const targetRow = places[from * TILE + row] - block * TILE;
    for (let column = 0; column < TILE; column++) {
      const targetColumn = places[to * TILE + column];
      if (targetColumn >= end) continue;
      const tile = Math.floor(targetColumn / TILE);
      target[tile * TILE_LENGTH + elementOf(targetRow, targetColumn % TILE)] = valueAt(row, column);
    }
  }
}

export const tasks: Readonly<Record<string, Task>> = {
  ...tileTasks,

  /** args: x (rows x n float32), ldx, rows, n, target. A piece is some columns. */
  packColumns({ compute }: TaskScope, index, [x, ldx, rows, n, packed]) {
    const first = index * PACKED_COLUMNS;
    const count = Math.min(PACKED_COLUMNS, n - first);
    compute.packColumns(x + 4 * first, ldx, rows, count, packed + 4 * first * rows);
  },

  /** H += X^T X. args: packed X, rows, n, pieces. payload: tiles of H. A piece is a band, the longest first. */
  gram(scope, index, [packed, rows, n, pieces], payload) {
    const { i, j, band } = bandOf(pieces - 1 - index);
    const tiles = new Tiles(scope, payload as TileHandle);
    const tile = triangleIndex(i, j);
    tiles.load(tile, scope.scratch, band * BAND_LENGTH, BAND_LENGTH);
    const row = i * TILE + band * BAND;
    scope.compute.gram(packed, rows, n, row, BAND_STRIPS, j * TILE, scope.scratch);
    tiles.store(tile, scope.scratch, band * BAND_LENGTH, BAND_LENGTH);
  },

  /** The share of each band in tr(M H M^T) = sum H_ij (M^T M)_ij. args: packed M, rows, n, pieces, sums. payload: H. */
  quadraticForm(scope, index, [packed, rows, n, pieces, sums], payload) {
    const piece = pieces - 1 - index;
    const { i, j, band } = bandOf(piece);
    const row = i * TILE + band * BAND;
    const [product, stored] = [scope.scratch, scope.scratch + BAND_BYTES];
    scope.doubles(product, BAND_LENGTH).fill(0);
    scope.compute.gram(packed, rows, n, row, BAND_STRIPS, j * TILE, product);
    new Tiles(scope, payload as TileHandle).load(
      triangleIndex(i, j),
      stored,
      band * BAND_LENGTH,
      BAND_LENGTH,
    );
    const share = scope.compute.weightedDot(product, stored, row, BAND_STRIPS, j * TILE);
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
    const wanted = (tile: number): number[] => {
      const found: number[] = [];
      for (let row = 0; row < TILE; row++) {
        if (Math.floor(places[tile * TILE + row] / TILE) === block) found.push(row);
      }
      return found;
    };
    const below = wanted(i);
    const right = i === j ? [] : wanted(j);
    if (below.length + right.length === 0) return;
    const tile = new Tiles(scope, source).view(index, scope.scratch);
    const target = scope.doubles(address, (block + 1) * TILE_LENGTH);
    const valueAt =
      i === j
        ? (row: number, column: number) => tile[elementOf(Math.max(row, column), Math.min(row, column))]
        : (row: number, column: number) => tile[elementOf(row, column)];
    place(target, places, block, below, [i, j], valueAt);
    place(target, places, block, right, [j, i], (row, column) => tile[elementOf(column, row)]);
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
