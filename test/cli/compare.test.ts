import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CompareStages, compareCommand, NothingInCommonError } from '../../src/cli/compare.ts';
import { Interrupted } from '../../src/cli/io.ts';
import { COMPARE_ARENA, comparePairs, matchTensors, sourcesOf } from '../../src/compare-tensors.ts';
import type { Checkpoint, StoredTensor } from '../../src/core/checkpoint.ts';
import { SUM_RANGE } from '../../src/core/error-sums.ts';
import { toBfloat16 } from '../../src/core/float.ts';
import { compileKernels, scalarKernels, simdKernels } from '../../src/quantize/kernels.ts';
import { ShortReadError } from '../../src/read/byte-source.ts';
import { fakeIo } from '../support/io.ts';
import { gaussian } from '../support/random.ts';
import { checkpoint, stored } from '../support/results.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'quantize-compare-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A checkpoint in one file; the tensors' values lie one after another behind some padding. */
function model(
  name: string,
  tensors: Readonly<Record<string, { shape: readonly number[]; values: Float32Array | Uint16Array }>>,
  over: Partial<Checkpoint> = {},
): Checkpoint {
  const path = join(directory, name);
  const found = new Map<string, StoredTensor>();
  const chunks: Uint8Array[] = [new Uint8Array(40)];
  let offset = 40;
  for (const [tensor, { shape, values }] of Object.entries(tensors)) {
    const type = values instanceof Uint16Array ? 'BF16' : 'F32';
    found.set(tensor, stored({ name: tensor, shape, type, offset }));
    chunks.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    offset += values.byteLength;
  }
  writeFileSync(path, Buffer.concat(chunks));
  return checkpoint({ path, files: [{ path, size: offset }], tensors: found, ...over });
}

const random = (n: number, seed: number) => Float32Array.from({ length: n }, gaussian(seed));

describe('comparePairs', () => {
  const n = 2 * SUM_RANGE + 768; // three ranges, the last short
  const x = random(n, 1);
  const q = x.map((value, i) => value + (i === SUM_RANGE + 5 || i === n - 1 ? 0.5 : 0.01));

  it.each([
    ['simd', () => simdKernels(compileKernels(), COMPARE_ARENA)],
    ['scalar', () => scalarKernels(COMPARE_ARENA)],
  ])('measures over several ranges, %s', async (_name, kernels) => {
    const [a, b] = [
      model('a', { first: { shape: [n / 256, 256], values: x } }),
      model('b', { first: { shape: [n / 256, 256], values: q } }),
    ];
    const { pairs } = matchTensors(sourcesOf(a), sourcesOf(b));
    for await (const { sums } of comparePairs(pairs, { a, b }, kernels())) {
      expect(sums.count).toBe(n);
      expect(sums.sumX2 / x.reduce((sum, value) => sum + value ** 2, 0)).toBeCloseTo(1, 12);
      expect(sums.sumE2 / x.reduce((sum, value, i) => sum + (value - q[i]) ** 2, 0)).toBeCloseTo(1, 12);
      expect(sums.maxErrorAt).toBe(SUM_RANGE + 5);
      expect(sums.maxError).toBe(Math.abs(x[SUM_RANGE + 5] - q[SUM_RANGE + 5]));
    }
  });

  it('reads rotary rows and stacked parts in output order', async () => {
    const parts = [random(8 * 32, 2), random(8 * 32, 3)];
    const a = model('a', {
      e0: { shape: [8, 32], values: parts[0] },
      e1: { shape: [8, 32], values: parts[1] },
    });
    // Two heads of four rows each: 0 2 1 3 | 4 6 5 7.
    const order = [0, 2, 1, 3, 4, 6, 5, 7];
    const expected = parts.flatMap((part) =>
      order.flatMap((row) => [...part.subarray(32 * row, 32 * row + 32)]),
    );
    const b = model('b', { e: { shape: [2, 8, 32], values: Float32Array.from(expected) } });
    const stacked = {
      name: 'e',
      shape: [32, 8, 2],
      source: {
        kind: 'stored' as const,
        parts: [...a.tensors.values()],
        rows: { kind: 'rotary' as const, heads: 2 },
      },
    };
    const { pairs } = matchTensors([stacked], sourcesOf(b));
    for await (const { sums } of comparePairs(pairs, { a, b }, scalarKernels(COMPARE_ARENA))) {
      expect([sums.count, sums.sumE2]).toEqual([512, 0]);
    }
    expect(pairs).toHaveLength(1);
  });

  it('names the file and tensor that ended early', async () => {
    const [a, b] = ['a', 'b'].map((name) => model(name, { w: { shape: [256], values: random(256, 4) } }));
    truncateSync(b.path, 500);
    const { pairs } = matchTensors(sourcesOf(a), sourcesOf(b));
    const all = comparePairs(pairs, { a, b }, scalarKernels(COMPARE_ARENA));
    const failure = await all.next().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ShortReadError);
    expect((failure as ShortReadError).details).toMatchObject({
      file: b.path,
      tensor: 'w',
      got: 'a file of 500 bytes',
    });
  });

  it('ends when it is interrupted', async () => {
    const [a, b] = ['a', 'b'].map((name) => model(name, { w: { shape: [n], values: x } }));
    const { pairs } = matchTensors(sourcesOf(a), sourcesOf(b));
    const signal = AbortSignal.abort(new Interrupted('SIGTERM'));
    const all = comparePairs(pairs, { a, b }, scalarKernels(COMPARE_ARENA), signal);
    await expect(all.next()).rejects.toThrow(Interrupted);
  });
});

describe('matchTensors', () => {
  it('tells what is missing and what differs', () => {
    const tensors = (...list: StoredTensor[]) =>
      sourcesOf(checkpoint({ tensors: new Map(list.map((tensor) => [tensor.name, tensor])) }));
    const a = tensors(
      stored({ name: 'same', shape: [4, 256, 1] }),
      stored({ name: 'onlyA' }),
      stored({ name: 'shape', shape: [4, 8] }),
    );
    const b = tensors(
      stored({ name: 'shape', shape: [8, 4] }),
      stored({ name: 'onlyB' }),
      stored({ name: 'same', shape: [4, 256, 1] }),
    );
    const { pairs, ...rest } = matchTensors(a, b);
    expect(pairs.map(({ name }) => name)).toEqual(['same']);
    expect(rest).toEqual({
      onlyA: ['onlyA'],
      onlyB: ['onlyB'],
      unlike: [{ name: 'shape', reason: 'shapes [8, 4] and [4, 8]' }],
    });
  });

  it('ignores axes of length one at the slow end', () => {
    const [a, b] = [
      [1, 4, 8],
      [4, 8],
    ].map((shape) => sourcesOf(checkpoint({ tensors: new Map([['w', stored({ name: 'w', shape })]]) })));
    expect(matchTensors(a, b).pairs).toHaveLength(1);
  });
});

describe('quantize compare', () => {
  const x = random(1024, 5);
  const stagesFor = (...models: Checkpoint[]): CompareStages => ({
    openCheckpoint: (path) => models.find((candidate) => candidate.path === path)!,
    asGguf: (mapped) => sourcesOf(mapped).map((tensor) => ({ ...tensor, name: `gguf.${tensor.name}` })),
  });
  const shape = [4, 256];
  const rounded = () => ({ shape, values: Uint16Array.from(x, toBfloat16) });

  it('prints a table of two models of one format, and tells what it left out', async () => {
    const a = model('a', { w: { shape, values: x }, inf: { shape: [1], values: Float32Array.of(1) } });
    const b = model('b', {
      w: rounded(),
      inf: { shape: [1], values: Float32Array.of(Number.POSITIVE_INFINITY) },
      ...Object.fromEntries(['p', 'q', 'r', 's'].map((name) => [name, rounded()])),
    });
    const fake = fakeIo();
    await compareCommand(a.path, b.path, {}, fake.io, stagesFor(a, b));
    expect(fake.stdout()).toMatch(/^w +F32 +BF16 /m);
    expect(fake.stdout()).toContain('1.02 k weights in 1 tensors');
    expect(fake.stderr()).toContain(`warning: only in ${b.path}: 4 (p, q, r and 1 more)`);
    expect(fake.stderr()).toContain('warning: not compared: inf: NaN or infinity among the values');
  });

  it('maps the safetensors side when formats differ', async () => {
    const a = model('a', { w: { shape, values: x } });
    const b = model('b', { 'gguf.w': rounded() }, { format: 'gguf' });
    for (const [first, second] of [
      [a, b],
      [b, a],
    ]) {
      const fake = fakeIo();
      await compareCommand(first.path, second.path, { json: true }, fake.io, stagesFor(a, b));
      const json = JSON.parse(fake.stdout());
      expect(json).toMatchObject({ schema: 'gguf-quantize/compare', onlyA: [], onlyB: [], notCompared: [] });
      expect(json.tensors).toHaveLength(1);
      expect(json.tensors[0]).toMatchObject({ name: 'gguf.w', shape: [256, 4] });
      expect(json.tensors[0].metrics.sqnrDb).toBeGreaterThan(45);
      expect(json.total.weights).toBe(1024);
      expect(fake.stderr()).toBe('');
    }
  });

  it('refuses models without a tensor in common', async () => {
    const [a, b] = [model('a', { v: rounded() }), model('b', { w: rounded() })];
    const attempt = compareCommand(a.path, b.path, {}, fakeIo().io, stagesFor(a, b));
    await expect(attempt).rejects.toThrow(NothingInCommonError);
  });
});
