import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { roundToFloat16 } from '../../src/core/float.ts';
import { dataTypes, type TypeName } from '../../src/core/types.ts';
import { type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { decoders } from '../../src/quantize/format/index.ts';
import { readGguf } from '../../src/read/gguf.ts';
import { buildReport } from '../../src/report/report.ts';
import { distributions } from '../support/distributions.ts';
import { floatTensor, writeSafetensors } from '../support/safetensors-writer.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Files whose ranges were chosen: what lies in them, and what the report says of it. */

const f = Math.fround;
const directory = temporaryDirectory();

/** Quantizes one matrix of [rows, width] and reads it back. By one thread: every pass over the weights starts its own. */
async function run(values: Float32Array, width: number, options: Partial<QuantizeOptions>) {
  const [input, output] = ['in.safetensors', 'out.gguf'].map((name) => join(directory, name));
  writeSafetensors(input, [floatTensor('w.weight', 'F32', [values.length / width, width], values)]);
  const result = await quantize({
    ...{ input, output, force: true, threads: 1, chunkSize: 32_768 },
    ...options,
  });
  const { type, offset, byteLength } = readGguf(output).tensors.find(({ name }) => name === 'w.weight')!;
  const bytes = Uint8Array.from(readFileSync(output).subarray(offset, offset + byteLength));
  const decoded = new Float32Array(values.length);
  decoders[type](bytes, decoded);
  const report = buildReport(result);
  return {
    type,
    bytes,
    decoded,
    ranges: report.tensors[0].ranges!,
    metrics: report.tensors[0].metrics,
    report,
  };
}

/** Bytes [at, at + length) of every block, each set once. */
function distinct(bytes: Uint8Array, type: TypeName, at: number, length: number): string[] {
  const { typeSize } = dataTypes[type];
  const found = new Set<string>();
  for (let block = 0; block < bytes.length; block += typeSize) {
    found.add(Buffer.from(bytes.subarray(block + at, block + at + length)).toString('hex'));
  }
  return [...found];
}

/** Where the scale (and minimum) of a block lies. */
const scaleAt = {
  Q8_0: [0, 2],
  Q4_0: [0, 2],
  Q5_0: [0, 2],
  Q4_1: [0, 4],
  Q5_1: [0, 4],
  Q2_K: [80, 4],
} as const;

const schemes = [
  { method: 'absmax', bits: 8 },
  { method: 'absmax', bits: 5 },
  { method: 'absmax', bits: 4 },
  { method: 'zero-point', bits: 4 },
  { method: 'zero-point', bits: 5 },
  { method: 'zero-point', bits: 2 },
] as const;

describe.each(schemes)('$method, $bits bits', (scheme) => {
  const [rowCount, width] = [40, 1280]; // two chunks, the first of which ends within a row
  const values = distributions['heavy tails'](rowCount * width, 5).map(
    (x, i) => x * (1 + Math.floor(i / width) / 8),
  );

  const made = new Map<string, ReturnType<typeof run>>();
  /** With the range that each granularity has of itself; made once. */
  const plainly = (granularity: 'block' | 'channel' | 'tensor') => {
    const found = made.get(granularity) ?? run(values, width, { ...scheme, granularity });
    made.set(granularity, found);
    return found;
  };

  it('a tensor has one scale in all its blocks, a row one in its own', async () => {
    const tensor = await plainly('tensor');
    const [at, length] = scaleAt[tensor.type as keyof typeof scaleAt];
    expect(distinct(tensor.bytes, tensor.type, at, length)).toHaveLength(1);
    const rows = await plainly('channel');
    const rowBytes = rows.bytes.length / rowCount;
    const scales = Array.from({ length: rowCount }, (_, row) =>
      distinct(rows.bytes.subarray(row * rowBytes, (row + 1) * rowBytes), rows.type, at, length),
    );
    expect(scales.every(({ length: count }) => count === 1)).toBe(true);
    expect(new Set(scales.flat()).size).toBeGreaterThan(rowCount / 2);
    expect(rows.metrics.mse).toBeLessThan(tensor.metrics.mse);
  });

  it.each(['block', 'channel', 'tensor'] as const)(
    'least squared error is no more than that of the whole range: %s',
    async (granularity) => {
      const [plain, mse] = [
        await plainly(granularity),
        await run(values, width, { ...scheme, granularity, range: 'mse' }),
      ];
      expect(mse.metrics.mse).toBeLessThan(plain.metrics.mse);
      const { outliers, bulk } = mse.ranges;
      expect(outliers.weights + bulk.weights).toBe(values.length);
      // Bulk and outliers add up to the whole.
      const squares = outliers.rmse ** 2 * outliers.weights + bulk.rmse ** 2 * bulk.weights;
      expect(squares / values.length / mse.metrics.mse).toBeCloseTo(1, 9);
    },
  );
});

describe('what the report says', () => {
  const width = 256;
  const values = distributions.uniform(64 * width, 2);

  it('clipping at -0.5 .. 0.5', async () => {
    const { ranges, decoded } = await run(values, width, {
      ...{ method: 'absmax', bits: 8, granularity: 'tensor', range: 'clip=-0.5,0.5' },
    });
    const scale = roundToFloat16(0.5 / 127);
    expect(ranges.high).toEqual({ least: 127 * scale, most: 127 * scale });
    expect(ranges.low).toEqual({ least: -127 * scale, most: -127 * scale });
    const beyond = values.filter((x) => Math.abs(x) > 127.5 * scale).length;
    expect(ranges.clipped).toBe(beyond / values.length);
    expect(ranges.clipped).toBeGreaterThan(0.45);
    expect(ranges.zeros).toBe(decoded.filter((q) => q === 0).length / values.length);
    expect(ranges.outliers).toEqual({ weights: 0, relativeError: 0, rmse: 0 });
  });

  it('the ends of a percentile, exact over chunks', async () => {
    const many = distributions.gaussian(300 * width, 4);
    const { ranges } = await run(many, width, {
      ...{ method: 'absmax', bits: 8, granularity: 'tensor', range: 'percentile=99', threads: 2 },
    });
    const sorted = many.map(Math.abs).sort();
    const threshold = sorted[Math.ceil(0.99 * many.length) - 1];
    expect(ranges.high.most).toBe(127 * roundToFloat16(f(threshold / 127)));
    const both = await run(many, width, {
      ...{ method: 'zero-point', bits: 5, granularity: 'tensor', range: 'percentile=99', threads: 2 },
    });
    const signed = many.slice().sort();
    const high = Math.ceil((199 / 200) * many.length);
    expect(both.ranges.low.least).toBe(roundToFloat16(signed[many.length - high]));
    expect(both.ranges.high.most).toBeCloseTo(signed[high - 1], 3);
  });

  it('weights with one 100 times the rest: what clipping gives the bulk it takes from the outlier', async () => {
    const spread = distributions.gaussian(4096, 3);
    spread[1234] = 2; // standard deviation 0.02
    const outcome = async (range: string, bits: number) =>
      (await run(spread, width, { method: 'absmax', bits, granularity: 'tensor', range })).ranges;
    for (const bits of [8, 4]) {
      const wide = await outcome('absmax', bits);
      const narrow = await outcome('percentile=99.9', bits);
      const least = await outcome('mse', bits);
      expect([wide.outliers.weights, narrow.outliers.weights]).toEqual([1, 1]);
      expect(wide.clipped).toBe(0);
      expect(narrow.clipped).toBeGreaterThan(0);
      expect(narrow.bulk.relativeError).toBeLessThan(wide.bulk.relativeError! / 50);
      expect(narrow.outliers.relativeError).toBeGreaterThan(0.8);
      expect(wide.outliers.relativeError).toBeLessThan(1e-4);
      const total = ({ bulk, outliers }: typeof wide) =>
        bulk.rmse ** 2 * bulk.weights + outliers.rmse ** 2 * outliers.weights;
      expect(total(least)).toBeLessThanOrEqual(Math.min(total(wide), total(narrow)));
    }
  });
});

describe("ggml's own ranges, where they were asked for", () => {
  const values = distributions['one outlier'](256 * 200, 6).map((x, i) => (i % 1000 < 64 ? 0 : x));

  it.each([
    [{ type: 'Q8_0' }, { range: 'absmax' }],
    [{ type: 'Q5_0' }, { symmetric: 'full' }],
    [{ type: 'Q4_0' }, { granularity: 'block' }],
    [{ type: 'Q5_1' }, { range: 'minmax' }],
    [{ type: 'Q4_1' }, { granularity: 'block' }],
    [{ type: 'TQ1_0' }, { method: 'ternary', range: 'absmax', granularity: 'block' }],
    [{ type: 'TQ2_0' }, { method: 'ternary', range: 'absmax', granularity: 'block' }],
    [{ type: 'Q1_0' }, { method: 'binary' }],
  ])('%o, %o: the same bytes, and measured', async (plainly, asked) => {
    const plain = await run(values, 256, plainly);
    const measured = await run(values, 256, { ...plainly, ...asked });
    expect(Buffer.compare(measured.bytes, plain.bytes)).toBe(0);
    // Q1_0 is binary whether that is said or not.
    if (plainly.type !== 'Q1_0') expect(plain.ranges).toBeNull();
    const { decoded, ranges, metrics } = measured;
    expect(ranges.granularity).toBe('block');
    expect(ranges.zeros).toBe(decoded.filter((q) => q === 0).length / values.length);
    const far = [...values.keys()].filter((i) => Math.abs(values[i]) > ranges.outlierAbove);
    expect(far.length).toBeGreaterThan(0);
    const e2 = far.reduce((sum, i) => sum + (values[i] - decoded[i]) ** 2, 0);
    expect(ranges.outliers.weights).toBe(far.length);
    expect(ranges.outliers.rmse).toBeCloseTo(Math.sqrt(e2 / far.length), 9);
    const squares = ranges.outliers.rmse ** 2 * far.length + ranges.bulk.rmse ** 2 * ranges.bulk.weights;
    expect(squares / values.length / metrics.mse).toBeCloseTo(1, 9);
    // Every weight lies within half a step of its range, and the ends are what blocks decode to.
    const [least, most] = [
      decoded.reduce((a, q) => Math.min(a, q)),
      decoded.reduce((a, q) => Math.max(a, q)),
    ];
    expect(ranges.low.least).toBeLessThanOrEqual(least);
    expect(ranges.high.most).toBeGreaterThanOrEqual(most);
    expect(ranges.high.most).toBeLessThan(1.2 * Math.max(most, -least));
  });
});

describe('BitNet', () => {
  const trits = Float32Array.from({ length: 256 * 400 }, (_, i) => ((i * 7919) % 3) - 1);
  const share = trits.filter((t) => t === 0).length / trits.length;

  it.each(
    (['TQ1_0', 'TQ2_0'] as const).flatMap((type) =>
      ([undefined, 'channel', 'block'] as const).map((granularity) => [type, granularity] as const),
    ),
  )('%s: trits times one scale come back exactly, a scale a %s', async (type, granularity) => {
    const scale = roundToFloat16(0.0123);
    const values = trits.map((t) => t * scale);
    const { bytes, decoded, ranges, report } = await run(values, 256, {
      method: 'ternary',
      type,
      granularity,
    });
    const at = type === 'TQ1_0' ? 52 : 64;
    expect(distinct(bytes, type, at, 2)).toHaveLength(1);
    decoded.forEach((q, i) => {
      if (q !== values[i]) expect.fail(`weight ${i}: ${q}, not ${values[i]}`);
    });
    expect(ranges.zeros).toBe(share);
    expect(report.model.ranges!.zeros).toBe(share);
    expect(report.warnings.join()).toMatch(/ternary weights are for models that were trained with them/);
  });

  it('what absmean made of any weights, coded once more, comes back exactly', async () => {
    const first = await run(distributions.gaussian(256 * 400, 8), 256, { method: 'ternary' });
    const second = await run(first.decoded, 256, { method: 'ternary' });
    expect(Buffer.compare(first.bytes, second.bytes)).toBe(0);
    expect(second.metrics.mse).toBe(0);
  });

  it.each([undefined, 'channel', 'tensor'])(
    'binary: signs times one scale too, a scale a %s',
    async (granularity) => {
      const scale = roundToFloat16(0.0123);
      const values = trits.map((t) => (t > 0 ? scale : -scale));
      const { decoded } = await run(values, 256, { method: 'binary', granularity });
      decoded.forEach((q, i) => {
        if (q !== values[i]) expect.fail(`weight ${i}: ${q}, not ${values[i]}`);
      });
    },
  );

  it('binary: one scale a tensor, and signs of what is above the mean', async () => {
    const values = distributions.gaussian(256 * 400, 8).map((x) => x + 0.01);
    const { decoded } = await run(values, 256, { method: 'binary', granularity: 'tensor', center: true });
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const magnitude = values.reduce((sum, x) => sum + Math.abs(x), 0) / values.length;
    const scale = roundToFloat16(magnitude);
    values.forEach((x, i) => {
      if (decoded[i] !== (x > f(mean) ? scale : -scale))
        expect.fail(`weight ${i}: ${x} became ${decoded[i]}`);
    });
  });

  it.each(['block', 'channel', 'tensor'])(
    'binary, centred: equal weights keep their sign, a scale a %s',
    async (granularity) => {
      const rows = granularity === 'tensor' ? [0.5] : [0.5, -0.25, 0];
      const values = Float32Array.from({ length: 256 * 240 }, (_, i) => rows[(i >> 8) % rows.length]);
      const { decoded, metrics } = await run(values, 256, { method: 'binary', granularity, center: true });
      expect([...new Set(decoded)].map((q) => q + 0)).toEqual(rows);
      expect(metrics.mse).toBe(0);
    },
  );
});

it('a weight that is not finite is named, whatever chooses ranges', async () => {
  const values = distributions.gaussian(64 * 256, 2);
  values[33 * 256 + 5] = Number.NaN;
  for (const granularity of ['block', 'channel', 'tensor']) {
    await expect(run(values, 256, { method: 'absmax', bits: 8, granularity, range: 'mse' })).rejects.toThrow(
      /not a finite number[\s\S]*NaN at row 33, column 5/,
    );
  }
});
