import { describe, expect, it, test } from 'vitest';
import { exponentOf, widenBins } from '../../src/core/bins.ts';

test.each([
  [1, 1],
  [1 - 2 ** -24, 0],
  [3, 2],
  [2 ** -40, -39],
  [0, -126],
  [2 ** -149, -126],
  [(2 - 2 ** -23) * 2 ** 127, 128],
  [Number.POSITIVE_INFINITY, 129],
  [Number.NaN, 129],
])('%d is below 2^%d', (magnitude, exponent) => {
  expect(exponentOf(magnitude)).toBe(exponent);
});

describe('wider bins', () => {
  const counts = Float64Array.from({ length: 16 }, (_, i) => 2 ** i);

  it.each([0, 1, 2, 3, 4, 200])('%d doublings: every count is in the bin that holds its own', (doublings) => {
    const expected = new Float64Array(16);
    for (const [i, count] of counts.entries()) expected[8 + Math.floor((i - 8) / 2 ** doublings)] += count;
    const found = counts.slice();
    widenBins(found, doublings);
    expect(found).toEqual(expected);
  });

  it('are the same made one doubling at a time', () => {
    const [once, twice] = [counts.slice(), counts.slice()];
    widenBins(once, 2);
    for (let i = 0; i < 2; i++) widenBins(twice, 1);
    expect(twice).toEqual(once);
  });
});
