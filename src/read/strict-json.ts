import { isUtf8 } from 'node:buffer';
import { type ErrorDetails, QuantizeError } from '../core/errors.ts';
import type { Cursor } from './cursor.ts';

/** The text is not JSON (RFC 8259). */
export class JsonSyntaxError extends QuantizeError {}

/** A string is not valid UTF-8, or holds half of a surrogate pair. */
export class JsonEncodingError extends QuantizeError {}

/** An object has a key twice. `JSON.parse` would keep the last one and hide the first. */
export class JsonDuplicateKeyError extends QuantizeError {}

/** Objects and arrays are nested deeper than any header's are. */
export class JsonDepthError extends QuantizeError {}

/** Nesting allowed in a header or index, which need 3. */
const MAX_DEPTH = 32;

/** A number written with a fraction or an exponent: never an extent or an offset, whatever its value. */
export class JsonFraction {
  readonly literal: string;

  constructor(literal: string) {
    this.literal = literal;
  }
}

/** Objects are maps, so that `__proto__` is a key like any other and keys keep their order. */
export type StrictJson = null | boolean | string | number | JsonFraction | StrictJson[] | StrictJsonObject;
export type StrictJsonObject = Map<string, StrictJson>;

/** Says for an error message where in the file the keys leading to a place are (a tensor's name, say). */
export type Locate = (keys: readonly string[]) => ErrorDetails;

/**
 * Parses the whole of what the cursor covers as one JSON value with white space around it, in bounded pieces.
 * What is built never takes much more memory than its text.
 */
export function parseStrictJson(cursor: Cursor, locate: Locate): StrictJson {
  return new Parser(cursor, locate).document();
}

/** A value as an error message shows it. */
export function showJson(value: StrictJson | undefined): string {
  if (value === undefined) return 'nothing';
  if (value instanceof JsonFraction) return value.literal;
  if (value instanceof Map) return 'an object';
  if (Array.isArray(value)) {
    return value.length > 8 ? `an array of ${value.length} items` : `[${value.map(showJson).join(', ')}]`;
  }
  return Object.is(value, -0) ? '-0' : clip(JSON.stringify(value));
}

const clip = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}...` : text);

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

class Parser {
  readonly #cursor: Cursor;
  readonly #locate: Locate;
  /** Keys of the objects that enclose the place being read. */
  readonly #keys: string[] = [];
  #depth = 0;

  constructor(cursor: Cursor, locate: Locate) {
    this.#cursor = cursor;
    this.#locate = locate;
  }

  document(): StrictJson {
    const value = this.#value();
    if (this.#peek() !== -1) throw this.#unexpected('nothing after the JSON value');
    return value;
  }

  #value(): StrictJson {
    const byte = this.#peek();
    if (byte === OPEN_OBJECT) return this.#nested(() => this.#object());
    if (byte === OPEN_ARRAY) return this.#nested(() => this.#array());
    if (byte === QUOTE) return this.#string();
    return this.#word();
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) {
      throw new JsonDepthError('the JSON is nested too deeply', {
        ...this.#locate(this.#keys),
        expected: `at most ${MAX_DEPTH} levels`,
        got: `another level at byte ${this.#cursor.position}`,
      });
    }
    this.#cursor.skip(1);
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): StrictJsonObject {
    const object: StrictJsonObject = new Map();
    if (this.#closes(CLOSE_OBJECT)) return object;
    for (;;) {
      if (this.#peek() !== QUOTE) throw this.#unexpected('a key in double quotes');
      const key = this.#string();
      this.#keys.push(key);
      if (object.has(key)) {
        throw new JsonDuplicateKeyError('a JSON object has the same key twice', {
          ...this.#locate(this.#keys),
          expected: 'every key once',
          got: `a second ${clip(JSON.stringify(key))} before byte ${this.#cursor.position}`,
        });
      }
      if (this.#peek() !== COLON) throw this.#unexpected('":" after a key');
      this.#cursor.skip(1);
      object.set(key, this.#value());
      this.#keys.pop();
      if (this.#closes(CLOSE_OBJECT)) return object;
      if (this.#peek() !== COMMA) throw this.#unexpected('"," or "}"');
      this.#cursor.skip(1);
    }
  }

  #array(): StrictJson[] {
    const array: StrictJson[] = [];
    if (this.#closes(CLOSE_ARRAY)) return array;
    for (;;) {
      array.push(this.#value());
      if (this.#closes(CLOSE_ARRAY)) return array;
      if (this.#peek() !== COMMA) throw this.#unexpected('"," or "]"');
      this.#cursor.skip(1);
    }
  }

  #closes(bracket: number): boolean {
    if (this.#peek() !== bracket) return false;
    this.#cursor.skip(1);
    return true;
  }

  #string(): string {
    const start = this.#cursor.position;
    this.#cursor.skip(1);
    const pieces: Buffer[] = [];
    let plain = true; // no escape and no byte beyond ASCII
    let escaped = false; // the previous byte was a backslash that escapes this one
    for (;;) {
      const window = this.#cursor.window();
      let i = 0;
      for (; i < window.length; i++) {
        const byte = window[i];
        if (escaped) escaped = false;
        else if (byte === QUOTE) break;
        else if (byte === BACKSLASH) escaped = true;
        if (byte < 0x20) {
          this.#cursor.skip(i);
          throw this.#unexpected('no control character in a string');
        }
        if (byte >= 0x80 || byte === BACKSLASH) plain = false;
      }
      if (i < window.length) {
        const last = window.subarray(0, i);
        const text = this.#decode(
          pieces.length === 0 ? last : Buffer.concat([...pieces, last]),
          plain,
          start,
        );
        this.#cursor.skip(i + 1);
        return text;
      }
      if (i === 0) throw this.#unexpected('the end of a string');
      pieces.push(Buffer.from(window));
      this.#cursor.skip(i);
    }
  }

  /** Text of the bytes between a string's quotes. */
  #decode(raw: Buffer, plain: boolean, start: number): string {
    if (plain) return raw.toString('latin1');
    const at = `in the string at byte ${start}`;
    if (!isUtf8(raw)) throw this.#badEncoding('bytes that are not UTF-8', at);
    let text: string;
    try {
      text = JSON.parse(`"${raw.toString('utf8')}"`) as string;
    } catch (cause) {
      throw new JsonSyntaxError('invalid JSON', {
        ...this.#locate(this.#keys),
        expected: 'an escape sequence of JSON',
        got: `another one ${at}`,
        cause,
      });
    }
    if (/\p{Surrogate}/u.test(text)) throw this.#badEncoding('half of a surrogate pair', at);
    return text;
  }

  #word(): StrictJson {
    const start = this.#cursor.position;
    let word = '';
    for (let byte = this.#peek(); isWordByte(byte) && word.length < 1000; byte = this.#cursor.peek()) {
      word += String.fromCharCode(byte);
      this.#cursor.skip(1);
    }
    if (/^-?(0|[1-9][0-9]*)$/.test(word)) return Number(word);
    if (/^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$/.test(word)) return new JsonFraction(word);
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    if (word === '') throw this.#unexpected('a JSON value');
    throw new JsonSyntaxError('invalid JSON', {
      ...this.#locate(this.#keys),
      expected: 'a JSON value',
      got: `${clip(word)} at byte ${start}`,
    });
  }

  /** The next byte that is not white space, or -1 at the end. */
  #peek(): number {
    for (;;) {
      const byte = this.#cursor.peek();
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
      this.#cursor.skip(1);
    }
  }

  #unexpected(expected: string): JsonSyntaxError {
    const byte = this.#cursor.peek();
    const shown = byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `0x${byte.toString(16)}`;
    return new JsonSyntaxError('invalid JSON', {
      ...this.#locate(this.#keys),
      expected,
      got: byte === -1 ? 'the end of the text' : `${shown} at byte ${this.#cursor.position}`,
    });
  }

  #badEncoding(what: string, at: string): JsonEncodingError {
    return new JsonEncodingError('text in the JSON is not Unicode', {
      ...this.#locate(this.#keys),
      expected: 'valid UTF-8',
      got: `${what} ${at}`,
    });
  }
}

const isWordByte = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || // 0-9
  (byte >= 0x41 && byte <= 0x5a) || // A-Z
  (byte >= 0x61 && byte <= 0x7a) || // a-z
  byte === 0x2b || // +
  byte === 0x2d || // -
  byte === 0x2e; // .
