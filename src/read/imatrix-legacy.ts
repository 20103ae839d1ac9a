import { isUtf8 } from 'node:buffer';
import { QuantizeError } from '../core/errors.ts';
import { type ImportanceEntry, type ImportanceMatrix, sharedFloats } from '../core/importance.ts';
import type { ByteSource } from './byte-source.ts';
import { Cursor } from './cursor.ts';

/** The file does not begin with a number of entries that it has room for. */
export class ImatrixFormatError extends QuantizeError {}

/** The file ends inside an entry, or a length in it reaches beyond the end. */
export class ImatrixTruncatedError extends QuantizeError {}

/** The name of an entry is empty or no text. */
export class ImatrixNameError extends QuantizeError {}

/** Two entries have the same name. */
export class ImatrixDuplicateError extends QuantizeError {}

/** An entry has no values. */
export class ImatrixLengthError extends QuantizeError {}

/** What follows the entries is neither nothing nor a chunk count with the name of a text. */
export class ImatrixTrailerError extends QuantizeError {}

/** Fewest bytes an entry can take: length and one byte of name, calls, length and one value. */
const MIN_ENTRY_BYTES = 4 + 1 + 4 + 4 + 4;

/**
 * The .dat form that llama-imatrix wrote until 2025, all numbers little-endian and 32 bits wide: the number of entries;
 * for each the length of its name, the name, the number of calls, the number of values and the values (float32); at the
 * end, in all but the oldest files, the number of chunks, the length of a text's name and that name. Values are stored
 * times calls (`common_imatrix_load_legacy`, `load_imatrix`).
 */
export function readLegacyImatrix(source: ByteSource): ImportanceMatrix {
  const reader = new LegacyReader(source);
  const count = source.size >= 4 ? reader.i32('the number of entries') : 0;
  if (count < 1 || count > reader.remaining / MIN_ENTRY_BYTES) {
    throw new ImatrixFormatError('this is not an importance matrix', {
      file: source.path,
      expected: '"GGUF", or the number of entries of a .dat file, as the first four bytes',
      got: source.size >= 4 ? `${count} in a file of ${source.size} bytes` : `a file of ${source.size} bytes`,
      advice: 'pass the file that llama-imatrix wrote',
    });
  }
  const entries = new Map<string, ImportanceEntry>();
  for (let i = 0; i < count; i++) {
    const name = reader.text(`the name of entry ${i}`);
    if (entries.has(name)) {
      throw new ImatrixDuplicateError('two entries of the importance matrix have the same name', {
        file: source.path,
        tensor: name,
        expected: 'every name once',
      });
    }
    entries.set(name, readEntry(reader, name));
  }
  return { path: source.path, entries, ...readTrailer(reader) };
}

function readEntry(reader: LegacyReader, name: string): ImportanceEntry {
  const calls = reader.i32('the number of calls', name);
  const length = reader.i32('the number of values', name);
  if (length < 1) {
    throw new ImatrixLengthError('an entry of the importance matrix has no values', {
      file: reader.path,
      tensor: name,
      expected: 'at least one',
      got: `${length}`,
    });
  }
  const bytes = reader.bytes(4 * length, `${length} values`, name);
  const values = sharedFloats(length);
  const divisor = calls > 0 ? Math.fround(calls) : 1;
  for (let i = 0; i < length; i++) values[i] = bytes.readFloatLE(4 * i) / divisor;
  return { values, counts: null };
}

function readTrailer(reader: LegacyReader): { datasets: string[]; chunks: number } {
  if (reader.remaining === 0) return { datasets: [], chunks: 0 };
  const chunks = reader.i32('the number of chunks');
  if (reader.remaining === 0) return { datasets: [], chunks };
  const length = reader.i32("the length of the text's name");
  if (length !== reader.remaining) {
    throw new ImatrixTrailerError('the end of the importance matrix is damaged', {
      file: reader.path,
      expected: "the name of the text it was made from, to the file's last byte",
      got: `${reader.remaining} bytes for a name of ${length}`,
      advice: 'download the file again',
    });
  }
  if (length === 0) return { datasets: [], chunks };
  return { datasets: [reader.bytes(length, "the text's name").toString('utf8')], chunks };
}

/** Reads the parts of the file, each checked against what is left. */
class LegacyReader {
  readonly path: string;
  readonly #cursor: Cursor;

  constructor(source: ByteSource) {
    this.path = source.path;
    this.#cursor = new Cursor(source, 0, source.size);
  }

  get remaining(): number {
    return this.#cursor.remaining;
  }

  i32(what: string, entry?: string): number {
    this.#need(4, what, entry);
    return this.#cursor.u32() | 0;
  }

  bytes(length: number, what: string, entry?: string): Buffer {
    this.#need(length, what, entry);
    return this.#cursor.bytes(length);
  }

  text(what: string): string {
    const length = this.i32(`the length of ${what}`);
    const bytes = this.bytes(Math.max(0, length), what);
    if (length < 1 || bytes.includes(0) || !isUtf8(bytes)) {
      throw new ImatrixNameError('the name of an entry of the importance matrix is no text', {
        file: this.path,
        expected: `UTF-8 of at least one byte, none of them 0, for ${what}`,
        got: length < 1 ? `a length of ${length}` : bytes.subarray(0, 32).toString('hex'),
      });
    }
    return bytes.toString('utf8');
  }

  #need(length: number, what: string, entry: string | undefined): void {
    if (length <= this.#cursor.remaining) return;
    throw new ImatrixTruncatedError('the importance matrix ends too early', {
      file: this.path,
      tensor: entry,
      expected: `${length} bytes for ${what} at offset ${this.#cursor.position}`,
      got: `${this.#cursor.remaining} bytes left`,
      advice: 'download the file again: it was cut short or is damaged',
    });
  }
}
