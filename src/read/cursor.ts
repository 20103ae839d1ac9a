import type { ByteSource } from './byte-source.ts';

/** Bytes buffered at a time: a header is small next to it, a vocabulary takes a few hundred reads. */
const WINDOW = 65_536;

/**
 * Sequential reading of a part of a file through a bounded buffer. Numbers are little-endian. A read past `end` is
 * an error of the caller's making: parsers compare what they want with `remaining` first.
 */
export class Cursor {
  readonly source: ByteSource;
  /** Offset in the file behind the last readable byte. */
  readonly end: number;
  #buffer: Buffer = Buffer.alloc(0);
  /** File offset of the buffer's first byte. */
  #start: number;
  /** Index of the next byte in the buffer. */
  #at = 0;

  constructor(source: ByteSource, start: number, end: number) {
    this.source = source;
    this.end = end;
    this.#start = start;
  }

  /** Offset in the file of the next byte. */
  get position(): number {
    return this.#start + this.#at;
  }

  get remaining(): number {
    return this.end - this.position;
  }

  /** The bytes buffered from the next one on, none only where none remain. Valid until the next call. */
  window(): Buffer {
    if (this.#at === this.#buffer.length && this.remaining > 0) this.#load(1);
    return this.#buffer.subarray(this.#at);
  }

  /** The next byte without passing it, or -1 where none remain. */
  peek(): number {
    if (this.#at === this.#buffer.length) {
      if (this.remaining <= 0) return -1;
      this.#load(1);
    }
    return this.#buffer[this.#at];
  }

  skip(length: number): void {
    if (length <= this.#buffer.length - this.#at) {
      this.#at += length;
      return;
    }
    this.#start = this.position + length;
    this.#buffer = this.#buffer.subarray(0, 0);
    this.#at = 0;
  }

  /** The next `length` bytes: a view valid until the next call if they fit the buffer, else a new buffer. */
  bytes(length: number): Buffer {
    if (length > WINDOW) {
      const bytes = this.source.read(this.position, length);
      this.skip(length);
      return bytes;
    }
    this.#load(length);
    const bytes = this.#buffer.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }

  /** Fills `target`, however long. */
  into(target: Uint8Array): void {
    this.source.readInto(target, this.position);
    this.skip(target.byteLength);
  }

  u8(): number {
    this.#load(1);
    return this.#buffer[this.#at++];
  }

  u32(): number {
    this.#load(4);
    const value = this.#buffer.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  /**
   * An unsigned 64-bit integer as a number: exact up to 2^53 - 1, rounded above. No size or count that can be
   * honoured is that large, so comparing it with what remains of a file gives the right answer either way.
   */
  u64(): number {
    const low = this.u32();
    return low + this.u32() * 2 ** 32;
  }

  /** Makes at least `length` bytes (at most a window) available in the buffer. */
  #load(length: number): void {
    if (this.#buffer.length - this.#at >= length) return;
    const position = this.position;
    const size = Math.max(length, Math.min(WINDOW, this.end - position));
    this.#buffer = this.source.read(position, size);
    this.#start = position;
    this.#at = 0;
  }
}
