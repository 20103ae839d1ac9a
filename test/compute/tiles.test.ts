import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ScratchFileError } from '../../src/compute/scratch-file.ts';
import { elementOf, TILE_BYTES, TILE_LENGTH, TilePool, Tiles } from '../../src/compute/tiles.ts';
import { closeTeams, linearTeam } from './linear-team.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tiles-'));
});
afterEach(() => {
  closeTeams();
  rmSync(directory, { recursive: true });
});

test('the elements of a tile each have their own number', () => {
  const numbers = new Set<number>();
  for (let i = 0; i < 256; i++) for (let j = 0; j < 256; j++) numbers.add(elementOf(i, j));
  expect(numbers.size).toBe(TILE_LENGTH);
  expect(Math.max(...numbers)).toBe(TILE_LENGTH - 1);
});

test.each([0, Number.POSITIVE_INFINITY])('tiles keep what is stored; limit %f bytes', (maxBytes) => {
  const team = linearTeam();
  const pool = new TilePool(team, { maxBytes, directory });
  const { handle } = pool.take(40);
  expect(handle.file === null).toBe(maxBytes > 0);
  const tiles = new Tiles(team.scope, handle);
  const buffer = team.arena.take(TILE_BYTES, 'a tile');
  const values = team.scope.doubles(buffer, TILE_LENGTH);
  expect(tiles.view(39, buffer).every((value) => value === 0)).toBe(true);
  for (const tile of [0, 15, 16, 39]) {
    for (let i = 0; i < TILE_LENGTH; i++) values[i] = tile + i / TILE_LENGTH;
    tiles.store(tile, buffer);
  }
  for (const tile of [39, 0, 16, 15]) {
    const view = tiles.view(tile, buffer);
    expect([view[0], view[1000], view.at(-1)]).toEqual(
      [0, 1000, TILE_LENGTH - 1].map((i) => tile + i / TILE_LENGTH),
    );
    tiles.load(tile, buffer, 1000, 2);
    expect(values[0]).toBe(tile + 1000 / TILE_LENGTH);
  }
  pool.close();
});

test('what fits is in memory, the rest in files without a name; memory is used again', () => {
  const team = linearTeam(3);
  const pool = new TilePool(team, { maxBytes: 32 * TILE_BYTES, directory });
  const first = pool.take(16);
  const second = pool.take(10);
  expect([first, second].map(({ handle }) => handle.file)).toEqual([null, null]);
  const third = pool.take(1);
  expect(third.handle.file).not.toBe(null);
  if (process.platform !== 'win32') expect(readdirSync(directory)).toEqual([]);
  first.free();
  first.free(); // once is enough
  const fourth = pool.take(16);
  expect(fourth.handle.segments).toEqual(first.handle.segments);
  expect(pool.take(1).handle.file).not.toBe(null);
  pool.close();
  expect(readdirSync(directory)).toEqual([]);
  expect(pool.take(32).handle.file).toBe(null);
});

test('a folder that is not there', () => {
  const pool = new TilePool(linearTeam(), { maxBytes: 0, directory: join(directory, 'missing') });
  expect(() => pool.take(3)).toThrow(ScratchFileError);
  expect(() => pool.take(3)).toThrow(/missing[\s\S]*--memory/);
});

// Writing to it fails as writing to a full disk does.
test.skipIf(process.platform !== 'linux')('a full disk', () => {
  const team = linearTeam();
  const pool = new TilePool(team, { maxBytes: 0, directory });
  const address = team.arena.take(4 * TILE_BYTES, 'tiles');
  const file = openSync('/dev/full', 'r+');
  const act = () => pool.run('storeTiles', 3, [2, address], { pool: 1, segments: [], file });
  expect(act).toThrow(ScratchFileError);
  expect(act).toThrow(/ENOSPC[\s\S]*free space/);
  closeSync(file);
});
