import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** `readSync` or `writeSync`. */
type Transfer = (file: number, bytes: Uint8Array, offset: number, length: number, position: number) => number;

/**
 * Hidden states of all tokens between two steps: for each slab a matrix of float32, in memory as far as `budget` bytes go, the
 * rest in a scratch file. The conductor alone reads and writes.
 */
export class StateStore {
  readonly #memory: Float32Array[] = [];
  readonly #offsets: number[] = [];
  readonly #directory: string | null = null;
  readonly #file: number = -1;
  /** Bytes in the scratch file. */
  readonly scratchBytes: number;

  /** `sizes`: floats of each slab. `directory`: where a scratch file may be made. */
  constructor(sizes: readonly number[], budget: number, directory: string) {
    let left = budget;
    let end = 0;
    for (const size of sizes) {
      if (end === 0 && 4 * size <= left) {
        this.#memory.push(new Float32Array(size));
        left -= 4 * size;
      } else {
        this.#offsets.push(end);
        end += 4 * size;
      }
    }
    this.scratchBytes = end;
    if (end === 0) return;
    this.#directory = mkdtempSync(join(directory, 'quantize-states-'));
    this.#file = openSync(join(this.#directory, 'states'), 'wx+');
    ftruncateSync(this.#file, end);
  }

  /** Fills `to` with the states of a slab. */
  read(slab: number, to: Float32Array): void {
    const kept = this.#memory[slab];
    if (kept !== undefined) to.set(kept);
    else this.#transfer(slab, to, readSync);
  }

  write(slab: number, from: Float32Array): void {
    const kept = this.#memory[slab];
    if (kept !== undefined) kept.set(from);
    else this.#transfer(slab, from, writeSync);
  }

  #transfer(slab: number, floats: Float32Array, act: Transfer): void {
    const { buffer, byteOffset, byteLength } = floats;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    const offset = this.#offsets[slab - this.#memory.length];
    for (let done = 0; done < bytes.length; ) {
      const moved = act(this.#file, bytes, done, bytes.length - done, offset + done);
      if (moved === 0) throw new Error(`the scratch file of hidden states in ${this.#directory} ended early`);
      done += moved;
    }
  }

  /** Removes the scratch file. */
  close(): void {
    if (this.#directory === null) return;
    closeSync(this.#file);
    rmSync(this.#directory, { recursive: true });
  }
}
