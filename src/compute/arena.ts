import { QuantizeError } from '../core/errors.ts';

/** The memory a calculation was allowed is too small for its largest part. */
export class MemoryBudgetError extends QuantizeError {}

/** Bytes of the largest WebAssembly memory: more of `--memory` does not go here. */
const ADDRESSABLE = 2 ** 32;

/** A stack of buffers in the memory that all threads of a team share: what was taken last is given back first. */
export class Arena {
  readonly #end: number;
  #top: number;
  #peak: number;

  /** Addresses from `base` up to `end`, in bytes. */
  constructor(base: number, end: number) {
    this.#top = this.#peak = aligned(base);
    this.#end = end;
  }

  /**
   * Address of `bytes` bytes, a multiple of 64; their content is anything. `what` is named when there is no room.
   *
   * @throws MemoryBudgetError
   */
  take(bytes: number, what: string): number {
    const at = this.#top;
    if (at + bytes > this.#end) {
      throw new MemoryBudgetError(`no room in memory for ${what}`, {
        expected: `${at + bytes} bytes in all`,
        got: `${this.#end} bytes`,
        advice:
          this.#end < ADDRESSABLE
            ? 'allow more by --memory, or lower --context'
            : 'this is all that a calculation can address: lower --context, or quantize without calibration',
      });
    }
    this.#top = aligned(at + bytes);
    this.#peak = Math.max(this.#peak, this.#top);
    return at;
  }

  /** Address of `count` float32. */
  takeFloats(count: number, what: string): number {
    return this.take(4 * count, what);
  }

  /** Where the next buffer will begin: pass it to `release` to give back all that was taken since. */
  mark(): number {
    return this.#top;
  }

  release(mark: number): void {
    this.#top = mark;
  }

  /** Runs `act` and gives back whatever it took. */
  scoped<T>(act: () => T): T {
    const mark = this.mark();
    try {
      return act();
    } finally {
      this.release(mark);
    }
  }

  /** Bytes that are left. */
  get free(): number {
    return this.#end - this.#top;
  }

  /** Highest address that was ever in use. */
  get peak(): number {
    return this.#peak;
  }
}

const aligned = (address: number): number => Math.ceil(address / 64) * 64;
