import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CalibrationFileError, listTextFiles, TextReader } from '../../src/calibrate/text-files.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();
let count = 0;
function reader(content: string): TextReader {
  const name = `${count++}.txt`;
  put(directory, name, content);
  return new TextReader(listTextFiles([join(directory, name)])[0]);
}

const content = fc
  .array(fc.constantFrom('a', 'bc', ' ', '\n', '\n\n', 'é', '日本', '😀'), { minLength: 1, maxLength: 40 })
  .map((parts) => parts.join(''));
const cuts = fc.array(fc.integer({ min: 0, max: 120 }), { maxLength: 6 });

/** Parts of a file between these offsets. */
const parts = (size: number, at: readonly number[]): [number, number][] => {
  const ends = [...at.filter((cut) => cut < size).sort((a, b) => a - b), size];
  return ends.map((end, i) => [i === 0 ? 0 : ends[i - 1], end]);
};

describe('parts of a text file', () => {
  it('make up the whole, wherever it is cut', () => {
    fc.assert(
      fc.property(content, cuts, (text, at) => {
        const file = reader(text);
        const got = parts(file.file.bytes, at).map(([start, end]) => file.text(start, end));
        file.close();
        expect(got.join('')).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it('end with a line, or else with a word, or else with a character', () => {
    for (const [text, end, expected] of [
      ['one two\nthree', 1, 'one two\n'],
      ['one two three', 1, 'one '],
      ['日本語', 1, '日'],
      ['日本語', 3, '日'],
    ] as const) {
      const file = reader(text);
      expect(file.text(0, end)).toBe(expected);
      file.close();
    }
  });
});

describe('lines of a file', () => {
  it('are each in the part in which they begin, and know their numbers', () => {
    fc.assert(
      fc.property(content, cuts, (text, at) => {
        const file = reader(text);
        const got = parts(file.file.bytes, at).flatMap(([start, end]) => [...file.lines(start, end)]);
        const numbers = got.map(({ offset }) => file.lineNumber(offset));
        file.close();
        const expected = text.match(/[^\n]*\n|[^\n]+$/g);
        expect(got.map((line) => line.text)).toEqual(expected);
        expect(numbers).toEqual(expected!.map((_, i) => i + 1));
      }),
      { numRuns: 300 },
    );
  });

  it('may be longer than what is read at once', () => {
    const long = 'x'.repeat(700_000);
    const file = reader(`a\n${long}\nb`);
    expect([...file.lines(0, file.file.bytes)].map(({ text }) => text.length)).toEqual([2, 700_001, 1]);
    expect([...file.lines(3, file.file.bytes)].map(({ text }) => text)).toEqual(['b']);
    file.close();
  });
});

describe('a file that changes between listing and reading', () => {
  it('is refused', () => {
    put(directory, 'growing.txt', 'abc');
    const [file] = listTextFiles([join(directory, 'growing.txt')]);
    put(directory, 'growing.txt', 'abcd');
    expect(() => new TextReader(file)).toThrow(CalibrationFileError);
  });
});
