import { freemem } from 'node:os';
import { MemoryBudgetError } from '../compute/arena.ts';

/** How the bytes that a calculation may take are divided. */
export interface MemoryShares {
  /** Shared memory of the team: weights of one step, activations of a slab, codes. WebAssembly has 4 GiB at most. */
  readonly team: number;
  /** Hidden states between the steps; what is beyond goes to a scratch file. */
  readonly states: number;
  /** Hessians and factors; what is beyond goes to a scratch file. */
  readonly tiles: number;
}

/** What the team has no room for is said in terms of what the user can change. */
export function inTermsOfMemory(error: MemoryBudgetError, given: number | undefined): MemoryBudgetError {
  const { message, needed, details } = error;
  if (needed === null || needed > WASM_LIMIT) return error; // more by --memory would not help
  const { team } = shareMemory(given);
  return new MemoryBudgetError(
    message.split('\n')[0],
    {
      ...details,
      expected: `--memory ${Math.ceil((2 * needed) / 2 ** 20)}M or more: half of it is for weights and activations`,
      got: `${Math.floor(team / 2 ** 19)}M${given === undefined ? ', half of what is free' : ''}`,
    },
    needed,
  );
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
