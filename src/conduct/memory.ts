import { freemem } from 'node:os';

/** How the bytes that a calculation may take are divided. */
export interface MemoryShares {
  /** Shared memory of the team: weights of one step, activations of a slab, codes. WebAssembly has 4 GiB at most. */
  readonly team: number;
  /** Hidden states between the steps; what is beyond goes to a scratch file. */
  readonly states: number;
  /** Hessians and factors; what is beyond goes to a scratch file. */
  readonly tiles: number;
}

const WASM_LIMIT = 2 ** 32;

/** Half of what is free, where the user names no size. */
const usualMemory = (): number => {
  const limit = process.constrainedMemory?.() ?? 0;
  return Math.floor(Math.min(freemem(), limit > 0 ? limit : Number.POSITIVE_INFINITY) / 2);
};

/** Half to the team, up to what WebAssembly can have; the rest in equal parts. */
export function shareMemory(bytes: number = usualMemory()): MemoryShares {
  const team = Math.min(WASM_LIMIT, Math.floor(bytes / 2));
  const rest = Math.floor((bytes - team) / 2);
  return { team, states: rest, tiles: rest };
}
