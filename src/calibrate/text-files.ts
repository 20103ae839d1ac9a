import { isUtf8 } from 'node:buffer';
import { closeSync, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { QuantizeError } from '../core/errors.ts';

/** A calibration file or directory is missing, cannot be read, is empty, or holds nothing of the kind. */
export class CalibrationFileError extends QuantizeError {}

/** A calibration file is not UTF-8 text. */
export class CalibrationTextError extends QuantizeError {}

export interface TextFile {
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  /** A JSON value on each line, or plain text. */
  readonly isJsonLines: boolean;
}

const EXTENSIONS: ReadonlySet<string> = new Set(['.txt', '.md', '.jsonl']);

/**
 * The files that were asked for, in order: files as they are, of directories (not of those within them) the *.txt,
 * *.md and *.jsonl in the order of their names.
 *
 * @throws CalibrationFileError
 */
export function listTextFiles(sources: readonly string[]): TextFile[] {
  return sources.flatMap((source) => {
    const found = attempt(source, () => statSync(source));
    if (!found.isDirectory()) return [textFile(source, found)];
    const files = attempt(source, () => readdirSync(source))
      .filter((name) => EXTENSIONS.has(extname(name)))
      .sort()
      .map((name) => join(source, name))
      .map((path): [string, Stats] => [path, attempt(path, () => statSync(path))])
      .filter(([, stats]) => stats.isFile())
      .map(([path, stats]) => textFile(path, stats));
    if (files.length > 0) return files;
    throw new CalibrationFileError('no calibration text in the directory', {
      file: source,
      expected: `files ending in ${[...EXTENSIONS].join(', ')}`,
      got: 'none',
      advice: 'name the files themselves, or give their names one of these endings',
    });
  });
}

function textFile(path: string, stats: Stats): TextFile {
  if (!stats.isFile()) {
    throw new CalibrationFileError('calibration text must be a file or a directory', {
      file: path,
      got: 'neither: a pipe, socket or device',
      advice: 'write the text to a file first: it is read more than once',
    });
  }
  if (stats.size === 0) {
    throw new CalibrationFileError('the calibration file is empty', {
      file: path,
      expected: 'text',
      got: '0 bytes',
      advice: 'remove it from the list, or fill it',
    });
  }
  return { path, bytes: stats.size, isJsonLines: extname(path) === '.jsonl' };
}

function attempt<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
    throw new CalibrationFileError(
      isMissing ? 'no such calibration file or directory' : 'cannot read the calibration text',
      {
        file: path,
        ...(!isMissing && { got: cause instanceof Error ? cause.message : String(cause) }),
        advice: isMissing ? 'check the path' : 'check that you may read it',
        cause,
      },
    );
  }
}

/** Longest line of JSON in bytes, and furthest that the end of a word is looked for. */
const MAX_LINE = 2 ** 28;
const MAX_WORD = 4096;
/** Bytes read at once while lines are looked for. */
const BLOCK = 2 ** 18;
const NEWLINE = 0x0a;

/** An open text file, read in parts that fit together: where one ends another can begin. */
export class TextReader {
  readonly file: TextFile;
  readonly #descriptor: number;

  constructor(file: TextFile) {
    this.file = file;
    this.#descriptor = attempt(file.path, () => openSync(file.path, 'r'));
    const { size } = fstatSync(this.#descriptor);
    if (size === file.bytes) return;
    this.close();
    throw new CalibrationFileError('the calibration file changed while it was read', {
      file: file.path,
      expected: `${file.bytes} bytes`,
      got: `${size} bytes`,
      advice: 'wait until it is written, then run again',
    });
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** Text from the first boundary at or after `start` to the first at or after `end`: line ends, or else spaces. */
  text(start: number, end: number): string {
    const from = this.#boundary(start);
    return this.#decode(this.#read(from, this.#boundary(end) - from), from);
  }

  /** Lines that begin in [start, end), with the offset of each. */
  *lines(start: number, end: number): Generator<{ text: string; offset: number }> {
    const { path, bytes } = this.file;
    let offset = start === 0 ? 0 : this.#afterNewline(start - 1);
    // What was read of the file from `offset` on.
    let ahead = Buffer.alloc(0);
    while (offset < Math.min(end, bytes)) {
      let newline = ahead.indexOf(NEWLINE);
      while (newline < 0 && offset + ahead.length < bytes) {
        if (ahead.length > MAX_LINE) {
          throw new CalibrationTextError('a line of the calibration file is too long', {
            file: `${path}:${this.lineNumber(offset)}`,
            expected: `at most ${MAX_LINE} bytes`,
            advice: 'put one JSON value on each line',
          });
        }
        const from = offset + ahead.length;
        const more = this.#read(from, Math.min(Math.max(BLOCK, ahead.length), bytes - from));
        const at = more.indexOf(NEWLINE);
        if (at >= 0) newline = ahead.length + at;
        ahead = Buffer.concat([ahead, more]);
      }
      const length = newline < 0 ? ahead.length : newline + 1;
      yield { text: this.#decode(ahead.subarray(0, length), offset), offset };
      ahead = ahead.subarray(length);
      offset += length;
    }
  }

  /** Number of the line that begins at an offset, from 1. */
  lineNumber(offset: number): number {
    let number = 1;
    for (let at = 0; at < offset; at += BLOCK) {
      for (const byte of this.#read(at, Math.min(BLOCK, offset - at))) if (byte === NEWLINE) number++;
    }
    return number;
  }

  /** Offset after the first newline at or after `offset`; the end of the file where there is none. */
  #afterNewline(offset: number): number {
    for (let at = offset; at < this.file.bytes; at += BLOCK) {
      const found = this.#read(at, Math.min(BLOCK, this.file.bytes - at)).indexOf(NEWLINE);
      if (found >= 0) return at + found + 1;
    }
    return this.file.bytes;
  }

  #boundary(offset: number): number {
    if (offset <= 0 || offset >= this.file.bytes) return Math.max(0, Math.min(offset, this.file.bytes));
    const ahead = this.#read(offset, Math.min(MAX_WORD, this.file.bytes - offset));
    const newline = ahead.indexOf(NEWLINE);
    const end = newline >= 0 ? newline : ahead.indexOf(0x20);
    if (end >= 0) return offset + end + 1;
    // Bytes 10xxxxxx go on with a character.
    const start = ahead.findIndex((byte) => (byte & 0xc0) !== 0x80);
    return offset + (start < 0 ? ahead.length : start);
  }

  #read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const got = attempt(this.file.path, () =>
        readSync(this.#descriptor, bytes, done, length - done, offset + done),
      );
      if (got === 0) {
        throw new CalibrationFileError('the calibration file became shorter while it was read', {
          file: this.file.path,
          expected: `${length} bytes at offset ${offset}`,
          got: `${done} bytes`,
          advice: 'wait until it is written, then run again',
        });
      }
      done += got;
    }
    return bytes;
  }

  #decode(bytes: Buffer, offset: number): string {
    const zero = bytes.indexOf(0);
    if (zero >= 0 || !isUtf8(bytes)) {
      throw new CalibrationTextError('the calibration file is not text', {
        file: this.file.path,
        expected: 'UTF-8 text',
        got:
          zero >= 0
            ? `a zero byte at offset ${offset + zero}`
            : `bytes that are not UTF-8, at or after offset ${offset}`,
        advice: 'give plain text; convert other encodings, for example with iconv -t UTF-8',
      });
    }
    const text = bytes.toString('utf8');
    return offset === 0 && text.startsWith('\ufeff') ? text.slice(1) : text;
  }
}
