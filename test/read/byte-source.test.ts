import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openSource, ShortReadError, withSource } from '../../src/read/byte-source.ts';
import { Cursor } from '../../src/read/cursor.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';

const directory = temporaryDirectory();

describe('byte source', () => {
  it('reads exactly what is asked for, beyond 4 GiB too', () => {
    const path = put(directory, 'large', 'start');
    truncateSync(path, 2 ** 33);
    writeFileSync(path, 'end', { flag: 'a' });
    withSource(path, (source) => {
      expect(source.size).toBe(2 ** 33 + 3);
      expect(source.read(0, 5).toString()).toBe('start');
      expect(source.read(2 ** 33 - 1, 4).toString()).toBe('\0end');
      const target = new Uint8Array(2);
      source.readInto(target, 2 ** 33 + 1);
      expect([...target]).toEqual([...Buffer.from('nd')]);
      expect(source.read(source.size, 0)).toHaveLength(0);
    });
  });

  it.each([
    [0, 7],
    [6, 1],
    [-1, 1],
    [0, -1],
    [0, 2 ** 60],
    [2 ** 60, 1],
    [Number.NaN, 1],
  ])('refuses %d, %d bytes of a file of 6 before it allocates', (position, length) => {
    const path = put(directory, 'small', 'abcdef');
    withSource(path, (source) => expect(() => source.read(position, length)).toThrow(ShortReadError));
  });

  it('refuses to go on when the file shrinks while it is read', () => {
    const path = put(directory, 'shrinking', 'abcdef');
    withSource(path, (source) => {
      truncateSync(path, 3);
      expect(() => source.read(0, 6)).toThrow(ShortReadError);
      expect(() => source.read(0, 6)).toThrow('became shorter');
    });
  });

  it('closes the file when the work on it fails', () => {
    const path = put(directory, 'closing', 'abcdef');
    const sources = [openSource(path)];
    sources[0].close();
    expect(() =>
      withSource(path, (source) => {
        sources.push(source);
        throw new Error('work failed');
      }),
    ).toThrow('work failed');
    expect(() => sources[1].read(0, 1)).toThrow('EBADF');
  });

  it('says what is there instead of a file', () => {
    mkdirSync(join(directory, 'folder'));
    expect(() => openSource(join(directory, 'folder'))).toThrow(/a directory/);
    expect(() => openSource('/dev/null')).toThrow(/a device/);
  });
});

describe('cursor', () => {
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 2654435761) >>> 24));
  const path = put(directory, 'cursor', bytes);

  it('gives the same bytes however they are asked for', () => {
    withSource(path, (source) => {
      const cursor = new Cursor(source, 3, bytes.length);
      let at = 3;
      for (const length of [1, 2, 65_535, 65_536, 65_537, 5, 0, 60_000]) {
        expect(cursor.position).toBe(at);
        expect(cursor.bytes(length).equals(bytes.subarray(at, at + length))).toBe(true);
        at += length;
        expect(cursor.u8()).toBe(bytes[at++]);
        expect(cursor.u32()).toBe(bytes.readUInt32LE(at));
        at += 4;
        cursor.skip(7);
        at += 7;
        expect(cursor.window()[0]).toBe(bytes[at]);
        const target = new Uint8Array(10);
        cursor.into(target);
        expect([...target]).toEqual([...bytes.subarray(at, at + 10)]);
        at += 10;
      }
      expect(cursor.remaining).toBe(bytes.length - at);
    });
  });

  it('shows nothing beyond its end', () => {
    withSource(path, (source) => {
      const cursor = new Cursor(source, 0, 5);
      expect(cursor.window()).toHaveLength(5);
      cursor.skip(5);
      expect(cursor.window()).toHaveLength(0);
    });
  });

  it('reads 64-bit numbers, exactly as far as a number can', () => {
    const numbers = [0n, 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 63n, 2n ** 64n - 1n];
    const file = Buffer.alloc(8 * numbers.length);
    for (const [i, value] of numbers.entries()) file.writeBigUInt64LE(value, 8 * i);
    withSource(put(directory, 'numbers', file), (source) => {
      const cursor = new Cursor(source, 0, file.length);
      expect(numbers.map(() => cursor.u64())).toEqual(numbers.map(Number));
    });
  });
});
