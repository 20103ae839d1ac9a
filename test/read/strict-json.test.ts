import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withSource } from '../../src/read/byte-source.ts';
import { Cursor } from '../../src/read/cursor.ts';
import {
  JsonFraction,
  JsonSyntaxError,
  parseStrictJson,
  type StrictJson,
} from '../../src/read/strict-json.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();

function parse(text: string): StrictJson {
  return withSource(put(directory, 'x.json', text), (source) =>
    parseStrictJson(new Cursor(source, 0, source.size), () => ({ file: source.path })),
  );
}

/** What `JSON.parse` would have given. */
function plain(value: StrictJson): unknown {
  if (value instanceof JsonFraction) return Number(value.literal);
  if (Array.isArray(value)) return value.map(plain);
  if (!(value instanceof Map)) return value;
  const object: Record<string, unknown> = {};
  for (const [key, item] of value) {
    Object.defineProperty(object, key, {
      value: plain(item),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return object;
}

describe('strict JSON', () => {
  it('agrees with JSON.parse on any value, however it is spaced', () => {
    const spaces = fc.constantFrom(undefined, 1, '\t', '\n \r'.slice(0, 2));
    fc.assert(
      fc.property(fc.json({ stringUnit: 'binary', maxDepth: 8 }), spaces, (json, space) => {
        const text = JSON.stringify(JSON.parse(json), null, space);
        expect(plain(parse(text))).toEqual(JSON.parse(text));
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it('accepts only what JSON.parse accepts, and fails only as it should', () => {
    const alphabet = fc.constantFrom(
      ...'{}[]":,\\ \n\t0123456789-+.eEtrufalsn/bx\u00e9',
      '"a":',
      'true',
      'null',
      '1e5',
    );
    fc.assert(
      fc.property(fc.string({ unit: alphabet, maxLength: 12 }), (text) => {
        let value: StrictJson;
        try {
          value = parse(text);
        } catch (error) {
          expect((error as Error).name).toMatch(/^Json/);
          return;
        }
        expect(plain(value)).toEqual(JSON.parse(text));
      }),
      { seed: 2, numRuns: 1000 },
    );
  });

  it('accepts every short text that JSON.parse accepts, duplicate keys aside', () => {
    const alphabet = fc.constantFrom(...'{}[]":,0-.e1 ', '""', '{}', '"a":1', '\\n', 'null');
    fc.assert(
      fc.property(fc.string({ unit: alphabet, maxLength: 6 }), (text) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parse(text)).toThrow(JsonSyntaxError);
          return;
        }
        if (/"a":1.*"a":1|"":.*"":/.test(text)) return;
        expect(plain(parse(text))).toEqual(expected);
      }),
      { seed: 3, numRuns: 1000 },
    );
  });

  it('reads strings across the edges of its buffer', () => {
    for (const unit of ['x', 'é', '€', '😀', '\\n', '\\u20ac', '\\"', '\\\\']) {
      const expected = JSON.parse(`"${unit}"`) as string;
      for (let padding = 65_520; padding < 65_540; padding++) {
        expect(parse(`${' '.repeat(padding)}"${unit.repeat(9)}"`)).toBe(expected.repeat(9));
      }
    }
  });

  it('keeps apart numbers that JSON.parse makes equal', () => {
    expect(parse('4')).toBe(4);
    expect(parse('4.0')).toEqual(new JsonFraction('4.0'));
    expect(parse('4e0')).toEqual(new JsonFraction('4e0'));
    expect(Object.is(parse('-0'), -0)).toBe(true);
  });
});
