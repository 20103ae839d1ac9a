import { isUtf8 } from 'node:buffer';
import { type ErrorDetails, QuantizeError } from '../core/errors.ts';
import type { ByteSource } from './byte-source.ts';
import { Cursor } from './cursor.ts';

/** The file ends inside the header, or a length or count in it asks for more bytes than the file has left. */
export class GgufTruncatedError extends QuantizeError {}

/** A header, or one value in it, is larger than any model's is, although the file is large enough to hold it. */
export class GgufHeaderTooLargeError extends QuantizeError {}

/** A string is not valid UTF-8. */
export class GgufEncodingError extends QuantizeError {}

/**
 * Largest header in bytes. A vocabulary of 256k tokens takes about 10 MB, an embedded tokenizer.json up to 35 MB. A
 * bound that does not depend on the file's size is needed because a sparse file of any size costs nothing to make.
 */
const MAX_GGUF_HEADER = 100_000_000;

/** Largest string in bytes. */
const MAX_STRING = 48 * 2 ** 20;

/** Reads the parts that a GGUF header is made of, each checked against what is left of file and header. */
export class GgufHeaderReader {
  readonly cursor: Cursor;
  readonly #source: ByteSource;

  constructor(source: ByteSource) {
    this.#source = source;
    this.cursor = new Cursor(source, 0, source.size);
  }

  get path(): string {
    return this.#source.path;
  }

  /** Fails unless the header may go on for `bytes` more. Everything below is called only after this. */
  need(bytes: number, what: string, at: ErrorDetails = {}): void {
    const { position, remaining } = this.cursor;
    if (bytes > remaining) {
      throw new GgufTruncatedError('the GGUF header reaches beyond the end of the file', {
        file: this.path,
        ...at,
        expected: `at most ${remaining} bytes from offset ${position}`,
        got: `${bytes} bytes for ${what}`,
        advice: 'download the file again: it was cut short or is damaged',
      });
    }
    if (position + bytes > MAX_GGUF_HEADER) {
      throw this.tooLarge(`${MAX_GGUF_HEADER} bytes of header`, `${position + bytes} bytes with ${what}`, at);
    }
  }

  tooLarge(most: string, got: string, at: ErrorDetails): GgufHeaderTooLargeError {
    return new GgufHeaderTooLargeError('the GGUF header is too large', {
      file: this.path,
      ...at,
      expected: `at most ${most}`,
      got,
    });
  }

  u8(what: string, at?: ErrorDetails): number {
    this.need(1, what, at);
    return this.cursor.u8();
  }

  u32(what: string, at?: ErrorDetails): number {
    this.need(4, what, at);
    return this.cursor.u32();
  }

  /** See `Cursor.u64`: rounded above 2^53, which every check here then refuses. */
  u64(what: string, at?: ErrorDetails): number {
    this.need(8, what, at);
    return this.cursor.u64();
  }

  /** A u64 length and that many bytes of UTF-8. */
  string(what: string, at?: ErrorDetails): string {
    const length = this.#stringLength(what, at);
    const bytes = this.cursor.bytes(length);
    const text = bytes.toString('utf8');
    // Decoding turns bytes that are not UTF-8 into U+FFFD, which good text may also hold.
    if (text.includes('\ufffd') && !isUtf8(bytes)) {
      throw new GgufEncodingError('text in the GGUF header is not UTF-8', {
        file: this.path,
        ...at,
        expected: `valid UTF-8 for ${what}`,
        got: bytes.subarray(0, 32).toString('hex'),
      });
    }
    return text;
  }

  skipString(what: string, at?: ErrorDetails): void {
    this.cursor.skip(this.#stringLength(what, at));
  }

  #stringLength(what: string, at?: ErrorDetails): number {
    const length = this.u64(`the length of ${what}`, at);
    this.need(length, what, at);
    if (length > MAX_STRING) {
      throw this.tooLarge(`${MAX_STRING} bytes of text`, `${length} bytes for ${what}`, at ?? {});
    }
    return length;
  }
}
