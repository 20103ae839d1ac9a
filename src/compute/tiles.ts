import { tmpdir } from 'node:os';
import type { TaskScope } from './scope.ts';
import { openScratchFile, readScratch, scratchFileError, writeScratch } from './scratch-file.ts';
import { TaskFailure, type Team } from './team.ts';

/** Rows and columns of a tile. */
export const TILE = 256;
/** float64 of a tile. How they are ordered: src/kernels/compute/linear.ts; `elementOf` says it in TypeScript. */
export const TILE_LENGTH = TILE * TILE;
export const TILE_BYTES = 8 * TILE_LENGTH;
/** Tiles of one SharedArrayBuffer: 8 MiB, small enough to fit any matrix, large enough to be few. */
const SEGMENT_TILES = 16;
const SEGMENT_BYTES = SEGMENT_TILES * TILE_BYTES;

/** Number of element (row, column) in its tile. */
export const elementOf = (row: number, column: number): number =>
  (row >> 2) * (4 * TILE) + column * 4 + (row & 3);

/** Number of tile (i, j), j <= i, of a triangle of tiles. */
export const triangleIndex = (i: number, j: number): number => (i * (i + 1)) / 2 + j;

/** Where the tiles of a store are: small, so that it can be the payload of a task. */
export interface TileHandle {
  readonly pool: number;
  /** Numbers of the pool's segments, in order; none when the tiles are in a file. */
  readonly segments: readonly number[];
  /** Descriptor of the scratch file, valid in all threads of the process. */
  readonly file: number | null;
}

/** What a failed access to the scratch file says across threads. */
interface ScratchFailure {
  readonly scratch: string;
}

/** Segments that a thread knows, by number. */
type Segments = Map<number, SharedArrayBuffer>;
const segmentsOf = ({ kept }: TaskScope, pool: number): Segments => {
  const key = `tiles of pool ${pool}`;
  let found = kept.get(key) as Segments | undefined;
  if (found === undefined) kept.set(key, (found = new Map()));
  return found;
};

/** Tiles of a store, as a task reads and writes them. */
export class Tiles {
  readonly #scope: TaskScope;
  readonly #handle: TileHandle;

  constructor(scope: TaskScope, handle: TileHandle) {
    this.#scope = scope;
    this.#handle = handle;
  }

  /** A tile to read: the store's own memory or, from a file, a copy at `buffer` (TILE_BYTES in the team's memory). */
  view(tile: number, buffer: number): Float64Array {
    if (this.#handle.file === null) return this.#stored(tile, 0, TILE_LENGTH);
    this.load(tile, buffer);
    return this.#scope.doubles(buffer, TILE_LENGTH);
  }

  /** Copies `count` float64 of a tile from number `from` on to an address. */
  load(tile: number, address: number, from = 0, count = TILE_LENGTH): void {
    const { file } = this.#handle;
    if (file === null) this.#scope.doubles(address, count).set(this.#stored(tile, from, count));
    else transfer(readScratch, file, this.#scope.bytes(address, 8 * count), tile * TILE_BYTES + 8 * from);
  }

  /** The opposite of `load`. */
  store(tile: number, address: number, from = 0, count = TILE_LENGTH): void {
    const { file } = this.#handle;
    if (file === null) this.#stored(tile, from, count).set(this.#scope.doubles(address, count));
    else transfer(writeScratch, file, this.#scope.bytes(address, 8 * count), tile * TILE_BYTES + 8 * from);
  }

  #stored(tile: number, from: number, count: number): Float64Array {
    const { pool, segments } = this.#handle;
    const segment = segmentsOf(this.#scope, pool).get(segments[Math.floor(tile / SEGMENT_TILES)])!;
    return new Float64Array(segment, (tile % SEGMENT_TILES) * TILE_BYTES + 8 * from, count);
  }
}

/** Reads or writes a scratch file: `readScratch` or `writeScratch`. */
function transfer(act: typeof readScratch, file: number, bytes: Uint8Array, position: number): void {
  try {
    act(file, bytes, position);
  } catch (error) {
    const failure: ScratchFailure = { scratch: (error as Error).message };
    throw Object.assign(error as Error, { failure });
  }
}

export interface TilePoolOptions {
  /** Bytes of memory for all tiles together; what does not fit goes into scratch files. No limit by default. */
  readonly maxBytes?: number;
  /** Folder for scratch files; the system's own by default. */
  readonly directory?: string;
}

/** A set of tiles; all are zero at first. */
export interface TileStore {
  readonly handle: TileHandle;
  free(): void;
}

let pools = 0;

/**
 * Where the matrices of a team that outgrow its memory live: tiles in SharedArrayBuffers, or in scratch files beyond a limit.
 * Buffers that are given back are used again and never dropped before `close`, since a thread that waits collects no
 * garbage.  */
export class TilePool {
  readonly #team: Team;
  readonly #maxBytes: number;
  readonly #directory: string;
  readonly #number = ++pools;
  readonly #free: number[] = [];
  readonly #stores = new Set<TileStore>();
  #segments = 0;

  constructor(
    team: Team,
    { maxBytes = Number.POSITIVE_INFINITY, directory = tmpdir() }: TilePoolOptions = {},
  ) {
    this.#team = team;
    this.#maxBytes = maxBytes;
    this.#directory = directory;
  }

  /** Takes `tiles` tiles, in memory if the limit allows, else in a file. @throws ScratchFileError */
  take(tiles: number): TileStore {
    const count = Math.ceil(tiles / SEGMENT_TILES);
    const missing = Math.max(0, count - this.#free.length);
    const fits = (this.#segments + missing) * SEGMENT_BYTES <= this.#maxBytes;
    const store = fits ? this.#inMemory(count, missing) : this.#inFile(tiles * TILE_BYTES);
    this.#stores.add(store);
    return store;
  }

  /** Runs a task of which failed accesses to scratch files become errors that say so. @throws ScratchFileError */
  run(name: string, count: number, args: readonly number[], payload: unknown): void {
    try {
      this.#team.run(name, count, args, payload);
    } catch (error) {
      const failure = error instanceof TaskFailure ? (error.failure as Partial<ScratchFailure>) : {};
      if (failure.scratch === undefined) throw error;
      throw scratchFileError(
        this.#directory,
        'cannot use the scratch file for Hessians',
        failure.scratch,
        error,
      );
    }
  }

  /** Frees all stores and the memory itself. */
  close(): void {
    for (const store of this.#stores) store.free();
    this.#everyThread('dropSegments', null);
    this.#segments = this.#free.length = 0;
  }

  #inMemory(count: number, missing: number): TileStore {
    const used = this.#free.splice(0, count - missing);
    const known = segmentsOf(this.#team.scope, this.#number);
    for (const segment of used) new Float64Array(known.get(segment)!).fill(0);
    const added: [number, SharedArrayBuffer][] = [];
    for (let i = 0; i < missing; i++) added.push([this.#segments++, new SharedArrayBuffer(SEGMENT_BYTES)]);
    if (missing > 0) this.#everyThread('addSegments', added);
    const segments = [...used, ...added.map(([segment]) => segment)];
    return this.#store({ pool: this.#number, segments, file: null }, () => this.#free.push(...segments));
  }

  #inFile(bytes: number): TileStore {
    const scratch = openScratchFile(this.#directory, bytes);
    return this.#store({ pool: this.#number, segments: [], file: scratch.file }, scratch.close);
  }

  #store(handle: TileHandle, release: () => void): TileStore {
    const store = {
      handle,
      free: () => {
        if (this.#stores.delete(store)) release();
      },
    };
    return store;
  }

  /** Runs a task once on every thread: each waits in its piece until all have begun one. */
  #everyThread(task: string, added: [number, SharedArrayBuffer][] | null): void {
    const arrived = new Int32Array(new SharedArrayBuffer(4));
    this.#team.run(task, this.#team.threads, [this.#number], { arrived, added });
  }
}

interface EveryThread {
  readonly arrived: Int32Array;
  readonly added: [number, SharedArrayBuffer][] | null;
}

/** Returns when all threads of the team are here. */
function meet({ threads }: TaskScope, arrived: Int32Array): void {
  let here = Atomics.add(arrived, 0, 1) + 1;
  if (here === threads) Atomics.notify(arrived, 0);
  for (; here < threads; here = Atomics.load(arrived, 0)) Atomics.wait(arrived, 0, here);
}

/** Tasks of the pool itself. */
export const tileTasks = {
  addSegments(scope: TaskScope, _index: number, [pool]: readonly number[], payload: unknown): void {
    const { arrived, added } = payload as EveryThread;
    const segments = segmentsOf(scope, pool);
    for (const [number, buffer] of added!) segments.set(number, buffer);
    meet(scope, arrived);
  },
  dropSegments(scope: TaskScope, _index: number, [pool]: readonly number[], payload: unknown): void {
    segmentsOf(scope, pool).clear();
    meet(scope, (payload as EveryThread).arrived);
  },
};
