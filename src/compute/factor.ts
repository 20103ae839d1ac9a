import { QuantizeError } from '../core/errors.ts';
import { type Hessian, tileDiagonal } from './hessian.ts';
import { type GatherPayload, solvePieces, updatePieces } from './linear-tasks.ts';
import type { Team } from './team.ts';
import {
  elementOf,
  TILE,
  TILE_BYTES,
  TILE_LENGTH,
  type TileHandle,
  type TilePool,
  type TileStore,
  triangleIndex,
} from './tiles.ts';

/** A Hessian could not be factored, even after its damping was raised as far as is sensible. */
export class NotPositiveDefiniteError extends QuantizeError {}
/** A Hessian holds values that are not finite. */
export class NotFiniteHessianError extends QuantizeError {}

/** Damping after the first failure of an undamped Hessian. */
const LEAST_ESCALATED = 1e-4;
/** Damping is raised tenfold at each failure, up to this. At 1 the mean diagonal is doubled. */
const MOST_ESCALATED = 1;

export interface FactorOptions {
  /** Part of the mean diagonal (of the channels that are not dead) that is added to the diagonal. */
  readonly damping: number;
  /** Channel at each place of the order of processing: a permutation. The natural order by default. */
  readonly order?: ArrayLike<number>;
  /** Named by errors. */
  readonly tensor?: string;
}

/**
 * R of H' = R R^T, R upper triangular (n x n), H' the Hessian in the order of processing with lambda added to its
 * diagonal; a dead channel has 1 on the diagonal and zeros beside it.
 */
export interface Factor {
  readonly n: number;
  /** The part of the mean diagonal that was added at last. */
  readonly damping: number;
  /** What was added to the diagonal: damping x mean diagonal of the channels that are not dead. */
  readonly lambda: number;
  /** How often damping was raised, since the factorisation failed. */
  readonly escalations: number;
  /**
   * A lower bound of the condition number of H' without its dead channels: largest H'_jj over smallest R_jj^2 (they lie
   * between the extreme eigenvalues). 1 if all channels are dead.
   */
  readonly condition: number;
  /** Writes R[start .. start + width, start .. n) to an address: float32, row-major, n - start floats a row. */
  panel(start: number, width: number, address: number): void;
  /** R_jj in float64. */
  diagonal(): Float64Array;
  free(): void;
}

/**
 * Factors a Hessian, which stays as it is. Blocked left-looking Cholesky in float64 of the matrix with rows and columns reversed
 * (then R is that factor, reversed back). A pivot that is lost in rounding, below n 2^-52 of its H'_jj, counts as
 * a failure: then damping is raised tenfold, at least to 0.0001 and at most to 1.
 *
 * Takes (n / 256 + 1) x 512 KiB of the arena for the time, and as much of the Hessian's pool as the Hessian itself.
 *
 * @throws NotFiniteHessianError, NotPositiveDefiniteError, ScratchFileError, MemoryBudgetError
 */
export function factorHessian(team: Team, hessian: Hessian, options: FactorOptions): Factor {
  const { n, pool } = hessian;
  const { tensor } = options;
  const values = hessian.diagonal();
  let sum = 0;
  let live = 0;
  for (const [channel, value] of values.entries()) {
    if (!Number.isFinite(value)) {
      throw new NotFiniteHessianError('activations are not finite', {
        tensor,
        expected: `finite values in ${n} input channels`,
        got: `sum of squares ${value} in channel ${channel}`,
        advice: 'check the weights of the layers before it: a value there may be broken or too large',
      });
    }
    sum += value;
    if (value !== 0) live++;
  }
  const mean = live === 0 ? 0 : sum / live;
  const height = Math.ceil(n / TILE);
  const store = pool.take(triangleIndex(height, 0));
  try {
    for (let damping = options.damping, escalations = 0; ; escalations++) {
      const lambda = damping * mean;
      const damped = new Damped(values, lambda, options.order);
      const failed = team.arena.scoped(() => factorTiles(team, hessian, damped, store.handle));
      if (failed === null)
        return new TiledFactor(team, pool, store, damped, { damping, lambda, escalations });
      if (damping >= MOST_ESCALATED) {
        throw new NotPositiveDefiniteError('the Hessian is not positive definite', {
          tensor,
          expected: `a factor of ${n} x ${n} with at most ${damping} of the mean diagonal added`,
          got: `no pivot in channel ${failed}, after ${hessian.tokens} tokens`,
          advice: 'calibrate on more text, or begin with a larger --damp',
        });
      }
      damping = Math.min(MOST_ESCALATED, Math.max(LEAST_ESCALATED, 10 * damping));
    }
  } catch (error) {
    store.free();
    throw error;
  }
}

/**
 * The diagonal of the matrix to factor, and where its rows come from. Rows are rounded up to whole tiles by rows of the
 * identity behind the others; reversed, they come first and change nothing.
 */
class Damped {
  readonly n: number;
  readonly size: number;
  /** Channel of each place in the order of processing. */
  readonly #order: ArrayLike<number>;
  readonly #values: Float64Array;
  readonly #lambda: number;

  constructor(values: Float64Array, lambda: number, order?: ArrayLike<number>) {
    this.n = values.length;
    this.size = Math.ceil(this.n / TILE) * TILE;
    this.#order = order ?? Int32Array.from(values, (_, i) => i);
    this.#values = values;
    this.#lambda = lambda;
  }

  /** Channel in row `row` of the reversed matrix; n or more: none. */
  channel(row: number): number {
    const place = this.size - 1 - row;
    return place < this.n ? this.#order[place] : place;
  }

  /** Row of the reversed matrix for each channel. */
  places(): Int32Array {
    const places = new Int32Array(new SharedArrayBuffer(4 * this.size));
    for (let row = 0; row < this.size; row++) places[this.channel(row)] = row;
    return places;
  }

  isDead(row: number): boolean {
    const channel = this.channel(row);
    return channel < this.n && this.#values[channel] === 0;
  }

  /** Diagonal in row `row` of the reversed matrix. */
  diagonal(row: number): number {
    const channel = this.channel(row);
    return channel < this.n && this.#values[channel] !== 0 ? this.#values[channel] + this.#lambda : 1;
  }
}

/** Factors into `tiles`. Returns the channel without a pivot, or null. */
function factorTiles(team: Team, hessian: Hessian, damped: Damped, tiles: TileHandle): number | null {
  const { arena, scope } = team;
  const { pool } = hessian;
  const height = damped.size / TILE;
  const row = arena.take(height * TILE_BYTES, 'a row of tiles of a Hessian');
  const diagonal = arena.take(TILE_BYTES, 'a tile of a Hessian');
  const floors = arena.take(8 * damped.size, 'pivots of a Hessian');
  const status = arena.take(4, 'the state of a factorisation');

  const payload: GatherPayload = { source: hessian.tiles, places: damped.places() };
  for (let block = 0; block < height; block++) {
    pool.run('gather', triangleIndex(height, 0), [block, row], payload);
    dampRows(scope.doubles(row, (block + 1) * TILE_LENGTH), block, damped);
    pool.run('storeTiles', block + 1, [block, row], tiles);
  }

  const unit = damped.n * 2 ** -52;
  scope
    .doubles(floors, damped.size)
    .set(Float64Array.from({ length: damped.size }, (_, i) => unit * damped.diagonal(i)));
  for (let k = 0; k < height; k++) {
    if (k > 0) {
      pool.run('loadTiles', k, [k, row], tiles);
      pool.run('updateColumn', updatePieces(k, height), [k, height, row], tiles);
    }
    pool.run('factorDiagonal', 1, [k, diagonal, floors + 8 * k * TILE, status], tiles);
    const failed = new Int32Array(scope.memory.buffer, status, 1)[0];
    if (failed >= 0) return damped.channel(k * TILE + failed);
    if (k + 1 < height) pool.run('solveColumn', solvePieces(k, height), [k, diagonal], tiles);
  }
  return null;
}

/** Sets the diagonal in a row of tiles, and zeros beside it for dead channels. */
function dampRows(values: Float64Array, block: number, damped: Damped): void {
  const first = block * TILE;
  for (let row = 0; row < first + TILE; row++) {
    if (!damped.isDead(row)) continue;
    // The products of a channel whose squares all vanish in float32 may not.
    const tile = Math.floor(row / TILE) * TILE_LENGTH;
    for (let i = 0; i < TILE; i++) values[tile + elementOf(i, row % TILE)] = 0;
    if (row < first) continue;
    for (let i = 0; i < first + TILE; i++) {
      values[Math.floor(i / TILE) * TILE_LENGTH + elementOf(row - first, i % TILE)] = 0;
    }
  }
  for (let i = 0; i < TILE; i++) values[block * TILE_LENGTH + elementOf(i, i)] = damped.diagonal(first + i);
}

/** A factor as tiles of L, which is R with both axes reversed. */
class TiledFactor implements Factor {
  readonly n: number;
  readonly damping: number;
  readonly lambda: number;
  readonly escalations: number;
  readonly condition: number;
  readonly #team: Team;
  readonly #pool: TilePool;
  readonly #store: TileStore;

  constructor(
    team: Team,
    pool: TilePool,
    store: TileStore,
    damped: Damped,
    { damping, lambda, escalations }: Pick<Factor, 'damping' | 'lambda' | 'escalations'>,
  ) {
    this.n = damped.n;
    this.damping = damping;
    this.lambda = lambda;
    this.escalations = escalations;
    this.#team = team;
    this.#pool = pool;
    this.#store = store;
    let largest = 0;
    let smallest = Number.POSITIVE_INFINITY;
    for (const [place, root] of this.diagonal().entries()) {
      const row = damped.size - 1 - place;
      if (damped.isDead(row)) continue;
      largest = Math.max(largest, damped.diagonal(row));
      smallest = Math.min(smallest, root * root);
    }
    this.condition = largest === 0 ? 1 : largest / smallest;
  }

  panel(start: number, width: number, address: number): void {
    if (width === 0) return;
    const first = Math.floor(start / TILE);
    const down = Math.floor((start + width - 1) / TILE) - first + 1;
    const across = Math.ceil(this.n / TILE) - first;
    this.#pool.run('upperRows', down * across, [start, width, this.n, address], this.#store.handle);
  }

  diagonal(): Float64Array {
    const reversed = tileDiagonal(this.#team, this.#pool, this.#store.handle, Math.ceil(this.n / TILE));
    return reversed.reverse().slice(0, this.n);
  }

  free(): void {
    this.#store.free();
  }
}
