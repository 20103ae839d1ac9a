import { LINEAR_SCRATCH_BYTES, packedRowBytes, packPieces, SLAB, trianglePieces } from './linear-tasks.ts';
import type { Team } from './team.ts';
import { TILE, type TileHandle, TilePool, type TileStore, triangleIndex } from './tiles.ts';

/** Bytes of packed rows for one pass over the tiles. Tiles in a file want more rows a pass, since each pass reads all. */
const PACKED_BYTES = 32 << 20;
const PACKED_BYTES_FILE = 256 << 20;

export interface HessianOptions {
  /** Where the tiles live, and those of the factor; by default a pool of its own, all in memory, closed by `free`. */
  readonly pool?: TilePool;
}

/**
 * H = X^T X over all rows X (tokens) that a layer saw: n x n, float64, one triangle in tiles. Products are float32, added in
 * the order of rows over slabs of 256 rows counted from the first row of each `add`; a slab's sum goes into float64. So the same
 * rows give the same bits at any number of threads, and however they are cut, as long as all cuts but
 * the last are at multiples of 256. (With BLAS for `gemm` of the team, as far as BLAS gives the same bits for the same product.)
 */
export class Hessian {
  /** Input channels. */
  readonly n: number;
  /** Rows that were added. */
  tokens = 0;
  readonly pool: TilePool;
  readonly #team: Team;
  readonly #ownPool: boolean;
  readonly #store: TileStore;

  constructor(team: Team, n: number, { pool }: HessianOptions = {}) {
    if (team.scope.scratchBytes < LINEAR_SCRATCH_BYTES) {
      throw new Error(`a Hessian needs ${LINEAR_SCRATCH_BYTES} bytes of scratch on each thread`);
    }
    this.n = n;
    this.#team = team;
    this.#ownPool = pool === undefined;
    this.pool = pool ?? new TilePool(team);
    this.#store = this.pool.take(triangleIndex(Math.ceil(n / TILE), 0));
  }

  /** Where the tiles are; rows and columns beyond n are zero. Of tiles on the diagonal only the lower triangle counts. */
  get tiles(): TileHandle {
    return this.#store.handle;
  }

  /**
   * Adds X^T X of `rows` x n float32 at address `x`, `ldx` floats from row to row. The more rows at once the better; takes up
   * to 32 MiB of the arena for the time (tiles in a file: 256 MiB if there are; with BLAS nothing).
   *
   * @throws ScratchFileError, MemoryBudgetError
   */
  add(x: number, ldx: number, rows: number): void {
    const pieces = trianglePieces(this.n);
    this.#packed(x, ldx, rows, this.#rowsAtOnce(), (...some) => {
      this.pool.run('gram', pieces, [...some, this.n, pieces], this.tiles);
    });
    this.tokens += rows;
  }

  /** H_jj of every channel. Over `tokens` it is the channel's importance, E[x^2]. */
  diagonal(): Float64Array {
    return tileDiagonal(this.#team, this.pool, this.tiles, Math.ceil(this.n / TILE)).slice(0, this.n);
  }

  /** Channels that were zero in every row. */
  deadChannels(): number[] {
    return [...this.diagonal().entries()].flatMap(([channel, value]) => (value === 0 ? channel : []));
  }

  /** Writes H[start .. start + count, 0 .. n) to an address: float32, row-major, undamped. */
  rows(start: number, count: number, address: number): void {
    if (count === 0) return;
    const down = Math.floor((start + count - 1) / TILE) - Math.floor(start / TILE) + 1;
    const pieces = down * Math.ceil(this.n / TILE);
    this.pool.run('symmetricRows', pieces, [start, count, this.n, address], this.tiles);
  }

  /**
   * tr(M H M^T), undamped, for M of `rows` x n float32 at address `m`, `ldm` floats from row to row: as sum_ij H_ij
   * (M^T M)_ij, with M^T M made as H is. Takes up to 32 MiB of the arena for the time (with BLAS little).
   */
  quadraticForm(m: number, ldm: number, rows: number): number {
    const { arena, scope } = this.#team;
    const pieces = trianglePieces(this.n);
    return arena.scoped(() => {
      const sums = arena.takeFloats(2 * pieces, 'sums of a quadratic form');
      let total = 0;
      this.#packed(m, ldm, rows, rowsOf(PACKED_BYTES, this.n), (...some) => {
        this.pool.run('quadraticForm', pieces, [...some, this.n, pieces, sums], this.tiles);
        for (const share of scope.doubles(sums, pieces)) total += share;
      });
      return total;
    });
  }

  /** Gives the tiles back. Factors that live in a pool of its own are gone too. */
  free(): void {
    this.#store.free();
    if (this.#ownPool) this.pool.close();
  }

  /** Has no say in the result of `add`: a multiple of a slab. */
  #rowsAtOnce(): number {
    const most = this.tiles.file === null ? PACKED_BYTES : PACKED_BYTES_FILE;
    return rowsOf(Math.min(most, this.#team.arena.free), this.n);
  }

  /** Gives `use` the rows as the team multiplies them: packed, `atOnce` at a time, or as they are if by BLAS. */
  #packed(
    x: number,
    ldx: number,
    rows: number,
    atOnce: number,
    use: (x: number, ldx: number, count: number) => void,
  ): void {
    if (this.#team.scope.blas !== null) {
      if (rows > 0) use(x, ldx, rows);
      return;
    }
    const { arena } = this.#team;
    arena.scoped(() => {
      const packed = arena.take(packedRowBytes(this.n) * Math.min(rows, atOnce), 'activations for a Hessian');
      for (let done = 0; done < rows; done += atOnce) {
        const count = Math.min(atOnce, rows - done);
        const from = x + 4 * done * ldx;
        this.#team.run('packColumns', packPieces(this.n), [from, ldx, count, this.n, packed]);
        use(packed, 0, count);
      }
    });
  }
}

/** Diagonal of `height` rows of tiles. */
export function tileDiagonal(team: Team, pool: TilePool, tiles: TileHandle, height: number): Float64Array {
  const { arena, scope } = team;
  return arena.scoped(() => {
    const address = arena.take(8 * height * TILE, 'a diagonal');
    pool.run('tileDiagonal', height, [address], tiles);
    return Float64Array.from(scope.doubles(address, height * TILE));
  });
}

/** Rows of n columns that fit when packed, in whole slabs, at least one. */
const rowsOf = (bytes: number, n: number): number =>
  SLAB * Math.max(1, Math.floor(bytes / packedRowBytes(n) / SLAB));
