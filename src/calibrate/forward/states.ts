import {
  openScratchFile,
  readScratch,
  type ScratchFile,
  scratchFileError,
  writeScratch,
} from '../../compute/scratch-file.ts';

/**
 * Hidden states of all tokens between two steps: for each slab a matrix of float32, in memory as far as `budget` bytes go, the
 * rest in a scratch file. The conductor alone reads and writes.
 */
export class StateStore {
  readonly #memory: Float32Array[] = [];
  readonly #offsets: number[] = [];
  readonly #directory: string;
  readonly #scratch: ScratchFile | null;

  /** `sizes`: floats of each slab. `directory`: where a scratch file may be made. @throws ScratchFileError */
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
    this.#directory = directory;
    this.#scratch = end === 0 ? null : openScratchFile(directory, end);
  }

  /** Fills `to` with the states of a slab. @throws ScratchFileError */
  read(slab: number, to: Float32Array): void {
    const kept = this.#memory[slab];
    if (kept !== undefined) to.set(kept);
    else this.#transfer(slab, to, readScratch);
  }

  /** Keeps the states of a slab. @throws ScratchFileError */
  write(slab: number, from: Float32Array): void {
    const kept = this.#memory[slab];
    if (kept !== undefined) kept.set(from);
    else this.#transfer(slab, from, writeScratch);
  }

  #transfer(slab: number, floats: Float32Array, act: typeof readScratch): void {
    const { buffer, byteOffset, byteLength } = floats;
    try {
      act(
        this.#scratch!.file,
        new Uint8Array(buffer, byteOffset, byteLength),
        this.#offsets[slab - this.#memory.length],
      );
    } catch (error) {
      throw scratchFileError(
        this.#directory,
        'cannot use the scratch file for hidden states',
        (error as Error).message,
        error,
      );
    }
  }

  /** Gives the scratch file back. */
  close(): void {
    this.#scratch?.close();
  }
}
