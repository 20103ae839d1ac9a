import { describe, expect, it } from 'vitest';
import { SUM_RANGE } from '../../src/core/error-sums.ts';
import { ChunkCounter, HISTOGRAM_BYTES, HistogramCollector } from '../../src/quantize/histogram.ts';
import type { TensorJob } from '../../src/quantize/job.ts';
import { compileKernels, type Kernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { gaussian } from '../support/random.ts';

const TILE = SUM_RANGE;
const ARENA = HISTOGRAM_BYTES + 8 * TILE + 128;
const implementations = [simdKernels(compileKernels(), ARENA), scalarKernels(ARENA)];

const job = (elements: number): TensorJob => ({
  name: 'w',
  elements,
  rowLength: elements,
  source: { kind: 'values', values: [] },
  encoder: 'Q4_0',
  file: 0,
  offset: 0,
});

/** The histogram of x against q, counted in chunks of `chunk` weights that are added in the order of `order`. */
function collect(
  kernels: Kernels,
  x: Float32Array,
  q: Float32Array,
  chunk = TILE,
  order = (a: number[]) => a,
) {
  const tensor = job(x.length);
  const [memory, before] = [kernels.base, kernels.base + HISTOGRAM_BYTES];
  const [after, out] = [before + 4 * TILE, before + 8 * TILE];
  const starts = Array.from({ length: Math.ceil(x.length / chunk) }, (_, i) => i * chunk);
  const collector = new HistogramCollector([tensor]);
  for (const start of order(starts)) {
    const counter = new ChunkCounter(kernels, tensor, memory, out);
    const end = Math.min(x.length, start + chunk);
    for (let at = start; at < end; at += TILE) {
      const n = Math.min(TILE, end - at);
      new Float32Array(kernels.buffer, before, n).set(x.subarray(at, at + n));
      new Float32Array(kernels.buffer, after, n).set(q.subarray(at, at + n));
      counter.take(before, after, at, n);
    }
    collector.add(0, counter.finish(), end - start);
  }
  return collector.of(0)!;
}

const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
const normal = (n: number, seed = 1) => Float32Array.from({ length: n }, gaussian(seed));

describe.each(implementations)('histograms, $flavour', (kernels) => {
  it('count what a plain loop counts', () => {
    const x = normal(10_001);
    const q = x.map((value) => Math.round(value * 4) / 4);
    const { binWidth, first, before, after, group } = collect(kernels, x, q);
    for (const [values, side] of [
      [x, before],
      [q, after],
    ] as const) {
      const expected = new Array(side.counts.length).fill(0);
      for (const value of values) {
        const steps = Math.floor(Math.abs(value) / binWidth);
        const bin = (value < 0 ? -1 - steps : steps) - first;
        if (bin in expected) expected[bin]++;
      }
      expect(side.counts).toEqual(expected);
      expect(side.below + total(side.counts) + side.above).toBe(x.length);
      expect([side.min, side.max]).toEqual([Math.min(...values), Math.max(...values)]);
    }
    expect(before.counts.length).toBeGreaterThan(64);
    expect(group.start).toBe(4992); // the group of 32 that holds the middle
    const values = [...new Set(q.subarray(4992, 5024))].map((v) => v + 0);
    expect(group.values).toEqual(values.sort((a, b) => a - b));
  });

  it('do not depend on chunks or their order, however the range grows', () => {
    const x = normal(5 * TILE);
    x.forEach((_, i) => {
      x[i] *= 2 ** Math.floor(i / 20000);
    });
    const whole = collect(kernels, x, x, x.length);
    expect(collect(kernels, x, x, 2 * TILE)).toEqual(whole);
    expect(collect(kernels, x, x, TILE, (starts) => starts.reverse())).toEqual(whole);
  });

  it('show the bulk where one weight is far away, and count it beyond', () => {
    const x = normal(20_000);
    x[777] = 500;
    const { binWidth, first, before } = collect(kernels, x, x);
    expect(before).toMatchObject({ max: 500, above: 1, below: 0 });
    expect(binWidth).toBeLessThanOrEqual(0.25); // 2048 bins for 0 .. 512
    expect((first + before.counts.length) * binWidth).toBeLessThan(16);
  });

  it('count every third tile of a tensor of 96 tiles, and know all of its extremes', () => {
    const tensor = job(96 * TILE);
    const [memory, x] = [kernels.base, kernels.base + HISTOGRAM_BYTES];
    const collector = new HistogramCollector([tensor]);
    const values = new Float32Array(kernels.buffer, x, TILE);
    for (let tile = 0; tile < 96; tile++) {
      values.fill(tile % 3 === 0 ? 1 : 0.25);
      if (tile === 31) values[5] = 3;
      const counter = new ChunkCounter(kernels, tensor, memory, x + 4 * TILE);
      counter.take(x, x, tile * TILE, TILE);
      collector.add(0, counter.finish(), TILE);
    }
    const { counted, before, binWidth, first } = collector.of(0)!;
    expect(counted).toBe(32 * TILE);
    expect(before.counts[1 / binWidth - first]).toBe(counted);
    expect(before).toMatchObject({ min: 0.25, max: 3, below: 0, above: 0 });
  });

  it.each([
    ['zeros', [0, -0, 0, 0, 0]],
    [
      'the smallest and the largest float32',
      [2 ** -149, -(2 ** -149), 3.4028234663852886e38, -3.4028234663852886e38],
    ],
    ['powers of two, at the edges of bins', [1, -1, 2, -2, 0.5, -0.5, 4]],
  ])('take %s', (_name, values) => {
    const x = Float32Array.from(values);
    const { before, after } = collect(kernels, x, x);
    expect(before.below + total(before.counts) + before.above).toBe(x.length);
    expect(after).toEqual(before);
    expect([before.min, before.max]).toEqual([Math.min(...x) + 0, Math.max(...x) + 0]);
  });

  it('count damaged blocks somewhere, and write nowhere else', () => {
    const { base, buffer } = kernels;
    const counters = new Uint32Array(buffer, base, 4096).fill(0);
    const x = base + 4 * 4112;
    new Float32Array(buffer, x, 5).set([Infinity, -Infinity, NaN, 1e30, NaN]);
    kernels.histogram(x, 5, 2 ** 11, base);
    expect([counters[0], counters[2048], counters[4095]]).toEqual([1, 2, 2]);
    expect(counters.reduce((sum, count) => sum + count, 0)).toBe(5);
  });
});

it('the kernel and its twin give the same histogram', () => {
  const x = normal(3 * TILE + 3);
  const q = x.map(Math.fround).map((value) => Math.round(8 * value) / 8);
  const [simd, scalar] = implementations.map((kernels) => collect(kernels, x, q));
  expect(simd).toEqual(scalar);
});
