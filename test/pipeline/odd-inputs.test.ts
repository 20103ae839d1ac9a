import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { fromBfloat16, fromFloat16 } from '../../src/core/float.ts';
import { elementsOf } from '../../src/core/types.ts';
import { type QuantizeOptions, quantize } from '../../src/pipeline.ts';
import { NoTensorsError } from '../../src/plan/plan.ts';
import { methods } from '../../src/plan/presets.ts';
import { buildReport } from '../../src/report/report.ts';
import { bundledModel, hashOf } from '../support/cli.ts';
import { distributions } from '../support/distributions.ts';
import { readOutput, relativeError, type WrittenTensor } from '../support/output.ts';
import {
  floatTensor,
  safetensorsBytes,
  type TensorToWrite,
  writeShards,
} from '../support/safetensors-writer.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

/** Weights of no known network, and whatever else is rare, from file to file; outputs are read back and compared. */

let directory: string;
let output: string;
beforeAll(() => {
  directory = temporaryDirectory();
  output = join(directory, 'm.gguf');
});

async function run(input: string, options: Partial<QuantizeOptions>) {
  const result = await quantize({ input, output, force: true, threads: 1, ...options });
  return { ...readOutput(output), report: buildReport(result) };
}

const tensor = (
  name: string,
  dtype: string,
  shape: number[],
  data: { buffer: ArrayBufferLike },
): TensorToWrite => ({
  name,
  dtype,
  shape,
  data: new Uint8Array(data.buffer),
});
const save = (tensors: readonly TensorToWrite[], name = 'weights.safetensors'): string =>
  put(directory, name, safetensorsBytes(tensors));

describe('weights of no known network', () => {
  const values = distributions.gaussian;

  it('keep names, shapes and values', async () => {
    const shapes = {
      vector: [100],
      matrix: [6, 256],
      conv: [8, 4, 3, 3],
      five: [2, 3, 4, 5, 32],
      scalar: [],
    };
    const sources = Object.entries(shapes).map(([name, shape], i) => ({
      name,
      shape,
      values: values(elementsOf(shape), i),
    }));
    const input = save(sources.map(({ name, shape, values }) => floatTensor(name, 'F32', shape, values)));
    const { tensors, metadata, report } = await run(input, { type: 'F32' });
    expect([...tensors.keys()].sort()).toEqual(Object.keys(shapes).sort());
    for (const { name, values } of sources) expect(tensors.get(name)!.values).toEqual(values);
    expect(tensors.get('conv')!.shape).toEqual([8, 4, 3, 3]);
    expect(tensors.get('five')!.shape).toEqual([6, 4, 5, 32]);
    expect(tensors.get('scalar')!.shape).toEqual([1]);
    expect(metadata.get('general.architecture')).toBe('unknown');
    expect(report.model).toMatchObject({ architecture: null, runnable: false });
    expect(report.model.notRunnableReason).toContain('no config.json');
    expect(report.warnings).toContainEqual(
      'five: GGUF holds 4 dimensions, so [2, 3, 4, 5, 32] is written as [6, 4, 5, 32]',
    );
  });

  it.each(['Q8_0', 'Q4_K_M', 'F16'])('%s: the report is what the written bytes say', async (type) => {
    const sources = [
      { name: 'matrix', shape: [300, 512], values: values(300 * 512, 1) },
      { name: 'conv', shape: [64, 32, 3, 3], values: values(64 * 32 * 9, 2) },
      { name: 'stack', shape: [3, 2, 5, 96], values: values(30 * 96, 3) },
      { name: 'vector', shape: [4096], values: values(4096, 4) },
    ];
    const input = save(sources.map(({ name, shape, values }) => floatTensor(name, 'F32', shape, values)));
    const { tensors, report } = await run(input, { type, chunkSize: 32768 });
    expect(report.tensors.map(({ name }) => name)).toEqual([...tensors.keys()]);
    for (const { name, values } of sources) {
      const written = tensors.get(name)!;
      const reported = report.tensors.find((each) => each.name === name)!;
      expect(reported.type).toBe(written.type);
      expect(reported.bytesAfter).toBe(written.bytes.length);
      expect(reported.metrics.relativeError).toBeCloseTo(relativeError(values, written.values), 12);
      const { value, row, column } = reported.metrics.maxError;
      const at = row * reported.shape[0] + column;
      expect(Math.abs(values[at] - written.values[at])).toBe(value);
    }
    expect(tensors.get('vector')!.type).toBe('F32');
  });

  it('read every dtype', async () => {
    const halves = Uint16Array.from({ length: 64 }, (_, i) => 0x3c00 + 37 * i);
    const brains = Uint16Array.from({ length: 64 }, (_, i) => 0xbf80 - 11 * i);
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => 4 * i + 1);
    const doubles = Float64Array.from({ length: 64 }, (_, i) => (i - 31) / 7);
    const int8 = Int8Array.from({ length: 64 }, (_, i) => 4 * i - 128);
    const int16 = Int16Array.from({ length: 64 }, (_, i) => 1000 * i - 32768);
    const int32 = Int32Array.from({ length: 64 }, (_, i) => 67108863 * i - 2 ** 31);
    const int64 = BigInt64Array.from({ length: 64 }, (_, i) => (1n << 57n) * BigInt(i) - (1n << 62n) + 1n);
    const uint16 = Uint16Array.from({ length: 64 }, (_, i) => 1040 * i);
    const uint32 = Uint32Array.from({ length: 64 }, (_, i) => 1 << (i % 32));
    const uint64 = BigUint64Array.from({ length: 64 }, (_, i) => 1n << BigInt(i));
    const bool = Uint8Array.from({ length: 64 }, (_, i) => i % 2);
    const input = save([
      tensor('f16', 'F16', [2, 32], halves),
      tensor('bf16', 'BF16', [64], brains),
      tensor('f64', 'F64', [64], doubles),
      tensor('i8', 'I8', [2, 32], int8),
      tensor('i16', 'I16', [2, 32], int16),
      tensor('i32', 'I32', [2, 32], int32),
      tensor('i64', 'I64', [2, 32], int64),
      tensor('u8', 'U8', [2, 32], bytes),
      tensor('u16', 'U16', [2, 32], uint16),
      tensor('u32', 'U32', [2, 32], uint32),
      tensor('u64', 'U64', [2, 32], uint64),
      tensor('bool', 'BOOL', [2, 32], bool),
    ]);
    const { tensors } = await run(input, { type: 'Q8_0' });
    const written = (name: string): WrittenTensor => tensors.get(name)!;
    const f32 = (array: Iterable<number | bigint>) => Float32Array.from(array, Number);

    // What is no float keeps its numbers, matrix or not.
    for (const [name, type, array] of [
      ['i8', 'I8', int8],
      ['i16', 'I16', int16],
      ['i32', 'I32', int32],
      ['i64', 'I64', int64],
    ] as const) {
      expect(written(name).type).toBe(type);
      expect(Buffer.from(written(name).bytes).equals(Buffer.from(array.buffer))).toBe(true);
    }
    for (const [name, array] of [
      ['u8', bytes],
      ['u16', uint16],
      ['u32', uint32],
      ['u64', uint64],
      ['bool', bool],
    ] as const) {
      expect([name, written(name).type]).toEqual([name, 'F32']);
      expect(written(name).values).toEqual(f32(array));
    }
    expect(written('f64')).toMatchObject({ type: 'F32', values: f32(doubles) });
    expect(written('bf16')).toMatchObject({ type: 'BF16', values: Float32Array.from(brains, fromBfloat16) });
    expect(written('f16').type).toBe('Q8_0');
    expect(relativeError(Float32Array.from(halves, fromFloat16), written('f16').values)).toBeLessThan(1e-4);
  });

  it('warn of whole numbers that float32 may not hold', async () => {
    const input = save([tensor('u32', 'U32', [1], Uint32Array.of(2 ** 24 + 1))]);
    const { report } = await run(input, { type: 'Q8_0' });
    expect(report.warnings).toContainEqual(expect.stringMatching(/^u32: U32 is written as F32/));
  });

  it.each(['F8_E4M3', 'F8_E5M2'])('%s: every finite value survives in F16 and F32', async (dtype) => {
    const codes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const hasValue = (code: number) =>
      dtype === 'F8_E4M3' ? (code & 0x7f) !== 0x7f : (code & 0x7c) !== 0x7c;
    const finite = codes.filter(hasValue);
    const decode = (code: number): number => {
      const [bits, bias] = dtype === 'F8_E4M3' ? [3, 7] : [2, 15];
      const exponent = (code & 0x7f) >> bits;
      const mantissa = (code & ((1 << bits) - 1)) / (1 << bits);
      const magnitude = exponent === 0 ? mantissa * 2 ** (1 - bias) : (1 + mantissa) * 2 ** (exponent - bias);
      return code & 0x80 ? -magnitude : magnitude;
    };
    const input = save([
      tensor('kept', dtype, [finite.length], finite),
      tensor('matrix', dtype, [2, finite.length], Uint8Array.from([...finite, ...finite])),
    ]);
    const { tensors } = await run(input, { type: 'F32' });
    const expected = Float32Array.from(finite, decode);
    expect(tensors.get('kept')).toMatchObject({ type: 'F16', values: expected });
    expect(tensors.get('matrix')).toMatchObject({
      type: 'F32',
      values: Float32Array.from([...expected, ...expected]),
    });
  });

  it('tensors without values', async () => {
    const empty = { buffer: new ArrayBuffer(0) };
    const x = values(512, 9);
    const input = save([
      tensor('a.none', 'F32', [0], empty),
      tensor('b.rows', 'BF16', [0, 256], empty),
      floatTensor('c.weight', 'F32', [2, 256], x),
      tensor('d.columns', 'F32', [5, 0], empty),
    ]);
    for (const options of [{ type: 'Q4_K_M' }, { type: 'F32' }, { method: 'zero-point', bits: 8 }]) {
      const { tensors, report } = await run(input, options);
      for (const name of ['a.none', 'b.rows', 'd.columns']) {
        expect(tensors.get(name)!.bytes.length).toBe(0);
        expect(report.tensors.find((each) => each.name === name)).toMatchObject({
          weights: 0,
          bytesAfter: 0,
        });
      }
      expect(report.model.metrics.relativeError).toBeLessThan(0.01);
    }
    rmSync(output);
  });

  it('of nothing at all is refused', async () => {
    await expect(run(save([]), { type: 'Q4_K_M' })).rejects.toThrow(NoTensorsError);
  });

  it.each(['Q4_K', 'Q4_K_M'])('%s is a type there, as there is no mixture', async (type) => {
    const { report, metadata } = await run(save([floatTensor('w', 'F32', [2, 256], values(512, 1))]), {
      type,
    });
    expect(report.model.fileType).toBe('Q4_K');
    expect(metadata.get('general.file_type')).toBe(14);
  });

  it('any name', async () => {
    const names = [
      '',
      ' ',
      '__proto__',
      'constructor',
      'ünï/çødé.重み',
      'emoji 🦙',
      'a\nb',
      'q"\\',
      '7',
      'x'.repeat(300),
    ];
    const input = save(names.map((name, i) => floatTensor(name, 'F32', [2, 32], values(64, i))));
    const { tensors, report } = await run(input, { type: 'F32' });
    expect([...tensors.keys()].sort()).toEqual([...names].sort());
    for (const [i, name] of names.entries()) expect(tensors.get(name)!.values).toEqual(values(64, i));
    expect(report.tensors).toHaveLength(names.length);
  });

  it('in many tensors', async () => {
    const input = save(
      Array.from({ length: 5000 }, (_, i) => floatTensor(`t${i}`, 'F32', [1, 32], values(32, i % 7))),
    );
    const { tensors } = await run(input, { type: 'Q8_0' });
    expect(tensors.size).toBe(5000);
    expect(tensors.get('t4999')!.values).toEqual(tensors.get(`t${4999 % 7}`)!.values);
  });
});

describe('one checkpoint, however it is given', () => {
  it('gives the same bytes as a directory, a file, an index and a shard', async () => {
    const whole = join(directory, 'whole', 'model');
    cpSync(bundledModel, whole, { recursive: true });
    const sharded = join(directory, 'sharded', 'model');
    mkdirSync(sharded, { recursive: true });
    const file = readFileSync(join(whole, 'model.safetensors'));
    const headerBytes = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
      string,
      { dtype: string; shape: number[]; data_offsets: [number, number] }
    >;
    const tensors = Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => ({
          name,
          dtype,
          shape,
          data: file.subarray(8 + headerBytes + begin, 8 + headerBytes + end),
        }),
      );
    const index = writeShards(sharded, [tensors.slice(0, 5), tensors.slice(5, 20), tensors.slice(20)]);
    for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) {
      copyFileSync(join(whole, name), join(sharded, name));
    }
    const forms = [
      ...[whole, join(whole, 'model.safetensors'), sharded, index],
      join(sharded, 'model-00002-of-00003.safetensors'),
    ];
    const hashes = [];
    for (const [i, form] of forms.entries()) {
      await quantize({ input: form, output, force: true, threads: 1 + (i % 2), type: 'Q8_0' });
      hashes.push(hashOf(output));
    }
    expect(new Set(hashes).size).toBe(1);
    await expect(
      quantize({ input: sharded, output: join(sharded, basename(index)), force: true, type: 'Q4_K_M' }),
    ).rejects.toThrow('the output is one of the input files');
    expect(dirname(index)).toBe(sharded);
  });
});

describe('8-bit zero-point', () => {
  /** Codes, scales and zero points by their definition. */
  function reference(x: Float32Array, rows: number) {
    const width = x.length / rows;
    const codes = new Int8Array(x.length);
    const scales = new Float32Array(rows);
    const zeroPoints = new Int8Array(rows);
    const even = (v: number) => {
      const r = Math.round(v);
      return Math.abs(v % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
    };
    for (let row = 0; row < rows; row++) {
      const part = x.subarray(row * width, (row + 1) * width);
      const low = part.reduce((a, b) => Math.min(a, b), 0);
      const high = part.reduce((a, b) => Math.max(a, b), 0);
      const scale = Math.fround((high - low) / 255) || 1;
      const zero = Math.max(-128, Math.min(127, even(-128 - low / scale)));
      scales[row] = scale;
      zeroPoints[row] = zero;
      part.forEach((value, i) => {
        codes[row * width + i] = Math.max(-128, Math.min(127, even(Math.fround(value / scale)) + zero));
      });
    }
    return { codes, scales, zeroPoints };
  }

  it.each([
    ['rows of 256', [16, 256]],
    ['rows that are no multiple of 4', [33, 37]],
    ['rows of 5', [1000, 5]],
    ['two rows', [2, 1000]],
    ['rows longer than a chunk', [3, 70_001]],
    ['rows of several chunks', [2, 200_003]],
    ['a kernel of four dimensions', [6, 5, 3, 7]],
  ])('%s', async (_name, shape) => {
    const x = distributions.gaussian(elementsOf(shape), 5);
    const rows = x.length / shape.at(-1)!;
    const { codes, scales, zeroPoints } = reference(x, rows);
    const input = save([floatTensor('layer.weight', 'F32', shape, x)]);
    for (const kernels of ['simd', 'scalar'] as const) {
      const options = { method: 'zero-point', bits: 8, chunkSize: 32768, kernels };
      const { tensors, report } = await run(input, options);
      const stem = shape.slice(0, -1);
      expect([...tensors.keys()]).toEqual(['layer.weight', 'layer.scale', 'layer.zero_point']);
      expect(tensors.get('layer.weight')).toMatchObject({ type: 'I8', shape });
      expect(tensors.get('layer.scale')).toMatchObject({ type: 'F32', shape: stem, values: scales });
      expect(tensors.get('layer.zero_point')).toMatchObject({ type: 'I8', shape: stem });
      expect(Buffer.from(tensors.get('layer.weight')!.bytes).equals(Buffer.from(codes.buffer))).toBe(true);
      expect(Buffer.from(tensors.get('layer.zero_point')!.bytes)).toEqual(Buffer.from(zeroPoints.buffer));
      const q = Float32Array.from(codes, (code, i) => {
        const row = Math.floor(i / shape.at(-1)!);
        return (code - zeroPoints[row]) * scales[row];
      });
      expect(report.tensors[0].metrics.relativeError).toBeCloseTo(relativeError(x, q), 12);
      expect(report.model.runnable).toBe(false);
    }
  });

  it('constant rows and rows of zeros are exact', async () => {
    const x = new Float32Array(5 * 64);
    x.fill(0.37, 64, 128).fill(-12, 128, 192).fill(1e-30, 192, 256).fill(-1e30, 256, 320);
    const input = save([floatTensor('layer.weight', 'F32', [5, 64], x)]);
    const { tensors } = await run(input, { method: 'zero-point', bits: 8 });
    const scales = tensors.get('layer.scale')!.values;
    const zeroPoints = tensors.get('layer.zero_point')!.values;
    tensors.get('layer.weight')!.values.forEach((code, i) => {
      const row = Math.floor(i / 64);
      expect((code - zeroPoints[row]) * scales[row]).toBeCloseTo(x[i], Math.abs(x[i]) > 1e6 ? -24 : 6);
    });
  });

  it('keeps a single row, which is no matrix to ggml', async () => {
    const input = save([floatTensor('layer.weight', 'F32', [1, 1000], distributions.gaussian(1000, 8))]);
    const { tensors } = await run(input, { method: 'zero-point', bits: 8 });
    expect([...tensors.keys()]).toEqual(['layer.weight']);
    expect(tensors.get('layer.weight')!.type).toBe('F32');
  });

  it('says what scales of short rows cost', async () => {
    const input = save([
      floatTensor('a', 'F32', [4, 4, 3, 3], distributions.gaussian(144, 8)),
      floatTensor('b.weight', 'F32', [2, 3], distributions.gaussian(6, 8)),
      floatTensor('c', 'F32', [2, 256], distributions.gaussian(512, 8)),
    ]);
    const { report } = await run(input, { method: 'zero-point', bits: 8 });
    expect(report.warnings).toEqual([
      '2 tensors (a, ...) have rows of 3: their scales and zero points add 13.33 bits per weight',
    ]);
  });
});

describe('presets', () => {
  // GPTQ's runs, which take a text, are in tests of their own.
  type Plain = Exclude<(typeof methods)[number], 'gptq'>;
  const bitsOf: Record<Plain, readonly number[]> = {
    absmax: [4, 5, 8],
    'zero-point': [4, 5, 8],
    kquant: [2, 3, 4, 5, 6, 8],
    ternary: [],
    binary: [],
  };
  it.each(methods.filter((method): method is Plain => method !== 'gptq'))(
    '%s runs at each width',
    async (method) => {
      const model = tinyLlama(join(directory, 'tiny'), { layers: 1 });
      for (const bits of [undefined, ...bitsOf[method]]) {
        const { report } = await run(model, { method, ...(bits && { bits }) });
        expect(report.model.method).toBe(method);
        expect(report.model.runnable).toBe(!(method === 'zero-point' && bits === 8));
        // Each bit is worth about 6 dB; without scales of their own, signs and ternary codes give few.
        const least = bits === undefined ? 0 : 6 * bits - 8;
        expect(report.model.metrics.sqnrDb).toBeGreaterThan(least);
      }
    },
  );
});
