import { describe, expect, it } from 'vitest';
import { roundToFloat16 } from '../../src/core/float.ts';
import { type CodedRange, gridOf, type RangedType } from '../../src/core/ranges.ts';
import { bytesOf, dataTypes } from '../../src/core/types.ts';
import { rangeEncoders } from '../../src/quantize/format/index.ts';
import type { Kernels } from '../../src/quantize/kernels.ts';
import { distributions } from '../support/distributions.ts';
import { bitsOf, decode, difference, scalar, simd } from './byte-identity.ts';

/** Coding over a range given from outside, and the sums that ranges are chosen from: kernels, twins and definition. */

const types = Object.keys(rangeEncoders) as RangedType[];
const f = Math.fround;

function encode(
  { buffer, base, quantizeRange }: Kernels,
  type: RangedType,
  x: Float32Array,
  range: CodedRange,
) {
  const dst = base + (1 << 20);
  new Float32Array(buffer, base, x.length).set(x);
  const blocks = new Uint8Array(buffer, dst, bytesOf(type, x.length)).fill(0xa5); // every byte must be written
  quantizeRange(type, base, dst, x.length, range);
  return blocks.slice();
}

/** Ranges that weights of this distribution may be coded over: of its peak, narrower, reversed, and none. */
function rangesFor(type: RangedType, x: Float32Array): CodedRange[] {
  const grid = gridOf(type, 'full');
  const peak = Math.max(...x.map(Math.abs));
  const offset = grid.kind === 'affine' ? roundToFloat16(-peak) : 0;
  const width = grid.highest - (grid.kind === 'affine' ? 0 : grid.lowest);
  const scale = roundToFloat16(f((2 * peak) / width));
  const { lowest, highest } = grid;
  const reversed = grid.kind === 'symmetric' ? [{ scale: -scale, offset, lowest, highest }] : [];
  return [
    { scale, offset, lowest, highest },
    { scale: roundToFloat16(scale / 3), offset: roundToFloat16(offset / 3), lowest, highest },
    ...reversed,
    ...(grid.kind === 'symmetric' ? [{ scale, offset, lowest: -highest, highest }] : []),
    { scale: 0, offset, lowest, highest },
  ];
}

describe.each(types)('%s over a range', (type) => {
  const { blockSize } = dataTypes[type];

  it.each(Object.keys(distributions))('kernel and twin agree: %s', (name) => {
    const x = distributions[name](9 * blockSize, 5);
    for (const range of rangesFor(type, x)) {
      const expected = encode(scalar, type, x, range);
      expect(difference(encode(simd, type, x, range), expected, type)).toBeNull();
    }
  });

  it('every weight gets the nearest number that a code stands for', () => {
    const x = distributions['heavy tails'](8 * blockSize, 3);
    const [first, narrow] = rangesFor(type, x);
    for (const range of [first, narrow]) {
      const { scale, offset, lowest, highest } = range;
      const decoded = decode(simd, type, encode(simd, type, x, range), x.length);
      const levels =
        type === 'Q1_0'
          ? [-scale, scale]
          : Array.from({ length: highest - lowest + 1 }, (_, i) => f(f(scale * (lowest + i)) + offset));
      x.forEach((value, i) => {
        const nearest = Math.min(...levels.map((level) => Math.abs(value - level)));
        expect(Math.abs(value - decoded[i])).toBeLessThanOrEqual(nearest + 2 ** -22 * Math.abs(value));
      });
    }
  });

  it('touches nothing behind its blocks', () => {
    const x = distributions.gaussian(3 * blockSize, 1);
    const dst = simd.base + (1 << 20);
    const bytes = new Uint8Array(simd.buffer, dst, bytesOf(type, x.length) + 64).fill(0xa5);
    new Float32Array(simd.buffer, simd.base, x.length).set(x);
    simd.quantizeRange(type, simd.base, dst, x.length, rangesFor(type, x)[0]);
    expect(bytes.subarray(-64)).toEqual(new Uint8Array(64).fill(0xa5));
  });
});

it('halves go to even codes', () => {
  const range = { scale: 0.25, offset: 0, lowest: -127, highest: 127 };
  const x = Float32Array.from({ length: 32 }, (_, i) => 0.125 * (i - 16));
  for (const kernels of [simd, scalar]) {
    const codes = [...new Int8Array(encode(kernels, 'Q8_0', x, range).buffer, 2, 32)];
    expect(codes.slice(13, 20)).toEqual([-2, -1, 0, 0, 0, 1, 2]); // -0.375, -0.25, -0.125, 0, 0.125, 0.25, 0.375
  }
});

it('a sign is + from the offset on', () => {
  const x = new Float32Array(128).fill(-1);
  x.set([0.5, f(0.5 - 2 ** -25), 0.75, 0]);
  const range = { scale: 2, offset: 0.5, lowest: -1, highest: 1 };
  for (const kernels of [simd, scalar]) {
    const decoded = decode(kernels, 'Q1_0', encode(kernels, 'Q1_0', x, range), 128);
    expect([...decoded.subarray(0, 5)]).toEqual([2, -2, 2, -2, -2]);
  }
});

it.each([1, 2, 3, 5, 31, 32, 1023])('extent of %i weights', (n) => {
  const x = distributions.cauchy(n, 4);
  const [got, expected] = [simd, scalar].map((kernels) => {
    new Float32Array(kernels.buffer, kernels.base, n).set(x);
    kernels.extent(kernels.base, n, kernels.base + 8192);
    return [...new Float64Array(kernels.buffer, kernels.base + 8192, 5)];
  });
  expect(got).toEqual(expected);
  const sum = (term: (value: number) => number) => x.reduce((total, value) => total + term(value), 0);
  const plain = [Math.min(...x), Math.max(...x), sum((v) => v), sum(Math.abs), sum((v) => v * v)];
  got.forEach((value, i) => {
    expect(value).toBeCloseTo(plain[i], 6);
  });
});

it.each(['Q8_0', 'Q4_1', 'TQ2_0'] as const)('errors over ranges are those of coding: %s', (type) => {
  const x = distributions['one outlier'](2048, 2);
  const ranges = rangesFor(type, x);
  const [got, expected] = [simd, scalar].map((kernels) => {
    const { buffer, base } = kernels;
    const [scales, offsets, out] = [base + 16384, base + 20480, base + 24576];
    new Float32Array(buffer, base, x.length).set(x);
    new Float32Array(buffer, scales, ranges.length).set(ranges.map(({ scale }) => scale));
    new Float32Array(buffer, offsets, ranges.length).set(ranges.map(({ offset }) => offset));
    const { lowest, highest } = ranges[0];
    kernels.rangeErrors(base, x.length, { scales, offsets, count: ranges.length, lowest, highest }, out);
    return [...new Float64Array(buffer, out, ranges.length)];
  });
  expect(bitsOf(Float32Array.from(got))).toEqual(bitsOf(Float32Array.from(expected)));
  expect(got).toEqual(expected);
  ranges
    .filter(({ lowest }) => lowest === ranges[0].lowest)
    .forEach((range) => {
      const q = decode(simd, type, encode(simd, type, x, range), x.length);
      const measured = x.reduce((sum, value, i) => sum + (value - q[i]) ** 2, 0);
      expect(got[ranges.indexOf(range)] / measured).toBeCloseTo(1, 6);
    });
});
