import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { BlasError, openBlas, usualBlas } from '../../src/compute/blas.ts';
import { multiply, multiplyHere, type Product } from '../../src/compute/gemm.ts';
import { type Gemm, gemmFacts, openGemm, REPRODUCIBLE } from '../../src/compute/gemm-choice.ts';
import { largestError } from '../../src/compute/self-test.ts';
import * as module from '../../src/compute/tasks.ts';
import { Team } from '../../src/compute/team.ts';
import { UsageError } from '../../src/core/errors.ts';
import { uniform } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const open: Team[] = [];
function team(gemm: Gemm, threads = 1, bytes = 1 << 26): Team {
  const made = new Team({
    threads,
    bytes,
    scratchBytes: 0,
    modules: [{ specifier: '#compute-tasks', module }],
    quantization: null,
    gemm,
  });
  open.push(made);
  return made;
}
afterAll(() => {
  for (const made of open) made.close();
});

/** How a product is stored: the defaults are neighbours. */
interface Layout {
  transposeA: boolean;
  transposeB: boolean;
  accumulate: boolean;
  /** Floats between the end of a row and the next. */
  gap: number;
}
const plain: Layout = { transposeA: false, transposeB: true, accumulate: false, gap: 0 };
const GAP = 7777;

/** Fills A, B and C by `value`, the gaps by GAP, and calls `act`; what is at C then, gaps and all, and what was there. */
function produce(
  crew: Team,
  [m, n, k]: readonly [number, number, number],
  layout: Layout,
  value: () => number,
  act: (product: Product) => void,
) {
  const { transposeA, transposeB, accumulate, gap } = layout;
  return crew.arena.scoped(() => {
    const matrix = (rows: number, columns: number) => {
      const ld = columns + gap;
      const at = crew.arena.takeFloats(rows * ld, 'a matrix');
      const floats = crew.scope.floats(at, rows * ld).fill(GAP);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) floats[row * ld + column] = value();
      }
      return { at, ld, floats };
    };
    const a = transposeA ? matrix(k, m) : matrix(m, k);
    const b = transposeB ? matrix(n, k) : matrix(k, n);
    const c = matrix(m, n);
    const before = c.floats.slice();
    const rest = { transposeA, transposeB, accumulate };
    act({ m, n, k, a: a.at, lda: a.ld, b: b.at, ldb: b.ld, c: c.at, ldc: c.ld, ...rest });
    return {
      a: (row: number, step: number) => a.floats[transposeA ? step * a.ld + row : row * a.ld + step],
      b: (step: number, column: number) => b.floats[transposeB ? column * b.ld + step : step * b.ld + column],
      before,
      after: c.floats.slice(),
      ld: c.ld,
      copies: { a: a.floats.slice(), b: b.floats.slice() },
    };
  });
}
type Produced = ReturnType<typeof produce>;

/** C as `element` defines it, the gaps as they were. */
function defined(
  { before, ld }: Produced,
  m: number,
  n: number,
  element: (row: number, column: number, before: number) => number,
) {
  const expected = before.slice();
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      const i = row * ld + column;
      expected[i] = element(row, column, before[i]);
    }
  }
  return expected;
}

/** Where two arrays first differ in a bit of a number, or -1. */
const difference = (got: Float32Array, expected: Float32Array) =>
  got.length === expected.length ? got.findIndex((value, i) => !Object.is(value, expected[i])) : 0;

/** The kernel's definition: slices of 256 steps, in each of them sums in float32 from 0 on. */
function inFloat32({ a, b }: Produced, k: number, accumulate: boolean) {
  return (row: number, column: number, before: number) => {
    let total = accumulate ? before : 0;
    for (let first = 0; first < k; first += 256) {
      let sum = 0;
      for (let step = first; step < Math.min(k, first + 256); step++) {
        sum = Math.fround(sum + Math.fround(a(row, step) * b(step, column)));
      }
      total = first === 0 && !accumulate ? sum : Math.fround(total + sum);
    }
    return total;
  };
}

/** The sums in float64; A and the columns of B are put side by side first, for there are millions of products. */
function inFloat64({ a, b }: Produced, [m, n, k]: readonly [number, number, number], accumulate: boolean) {
  const [rows, columns] = [new Float64Array(m * k), new Float64Array(n * k)];
  for (let step = 0; step < k; step++) {
    for (let row = 0; row < m; row++) rows[row * k + step] = a(row, step);
    for (let column = 0; column < n; column++) columns[column * k + step] = b(step, column);
  }
  return (row: number, column: number, before: number) => {
    let total = accumulate ? before : 0;
    for (let step = 0; step < k; step++) total += rows[row * k + step] * columns[column * k + step];
    return total;
  };
}

const ways = [0, 1, 2, 3, 4, 5, 6, 7].map((way) => ({
  transposeA: (way & 1) > 0,
  transposeB: (way & 2) > 0,
  accumulate: (way & 4) > 0,
}));
const integers = () => {
  const next = uniform(5);
  return () => Math.floor(next() * 17) - 8;
};
const fractions = () => {
  const next = uniform(6);
  return () => next() - 0.5;
};
const relaxed = openGemm('wasm-relaxed');

describe.each([REPRODUCIBLE, relaxed])('$name', (gemm) => {
  const crew = team(gemm);
  const here = (product: Product) => multiplyHere(crew.scope, product);

  test('every shape of up to 18, every way to store it: whole numbers are exact', () => {
    const value = integers();
    for (let m = 1; m <= 18; m++) {
      for (let n = 1; n <= 18; n++) {
        for (let k = 1; k <= 18; k++) {
          const layout = { ...ways[(m + n + k) % 8], gap: (m + n) % 4 };
          const got = produce(crew, [m, n, k], layout, value, here);
          const sum = inFloat64(got, [m, n, k], layout.accumulate);
          expect(difference(got.after, defined(got, m, n, sum)), `${m} x ${n} x ${k}`).toBe(-1);
        }
      }
    }
  });

  test.each(ways)('slices and blocks, A^T: $transposeA, B^T: $transposeB, accumulate: $accumulate', (way) => {
    for (const shape of [
      [131, 519, 257],
      [5, 8, 513],
      [261, 9, 300],
    ] as const) {
      const [m, n] = shape;
      const got = produce(crew, shape, { ...way, gap: 5 }, integers(), here);
      const sum = inFloat64(got, shape, way.accumulate);
      expect(difference(got.after, defined(got, m, n, sum))).toBe(-1);
    }
  });

  test('is as exact as float32 is', () =>
    expect(largestError((memory) => onto(gemm, memory))).toBeLessThan(5e-7));

  test('no steps: C is cleared, or stays', () => {
    for (const accumulate of [false, true]) {
      const got = produce(crew, [7, 9, 0], { ...plain, accumulate, gap: 1 }, fractions(), here);
      expect(got.after).toEqual(defined(got, 7, 9, (_row, _column, before) => (accumulate ? before : 0)));
    }
  });

  test('a NaN stays in its row and an infinity in its column', () => {
    const got = produce(
      crew,
      [7, 11, 10],
      plain,
      () => 1,
      ({ a, lda, b, ldb, ...product }) => {
        crew.scope.floats(a, 7 * lda)[6 * lda + 3] = Number.NaN;
        crew.scope.floats(b, 11 * ldb)[10 * ldb + 2] = Number.POSITIVE_INFINITY;
        here({ a, lda, b, ldb, ...product });
      },
    );
    expect(got.after).toEqual(
      defined(got, 7, 11, (row, column) =>
        row === 6 ? Number.NaN : column === 10 ? Number.POSITIVE_INFINITY : 10,
      ),
    );
  });
});

/** A product as a team with another memory computes it: copies there and back. */
function onto(gemm: Gemm, memory: WebAssembly.Memory) {
  const crew = team(gemm);
  const size = memory.buffer.byteLength;
  const at = crew.arena.take(size, 'a copy');
  return (product: Product) => {
    const copy = crew.scope.bytes(at, size);
    copy.set(new Uint8Array(memory.buffer));
    const { a, b, c } = product;
    multiplyHere(crew.scope, { ...product, a: at + a, b: at + b, c: at + c });
    new Uint8Array(memory.buffer).set(copy);
  };
}

test('wasm computes what its definition says, bit for bit', () => {
  const crew = team(REPRODUCIBLE);
  for (const accumulate of [false, true]) {
    const shape = [33, 21, 600] as const;
    const layout = { ...plain, accumulate };
    const got = produce(crew, shape, layout, fractions(), (product) => multiplyHere(crew.scope, product));
    expect(difference(got.after, defined(got, 33, 21, inFloat32(got, 600, accumulate)))).toBe(-1);
  }
});

const shapes = [
  [1, 1, 3],
  [130, 128, 20],
  [131, 129, 20],
  [700, 3, 40],
  [3, 700, 40],
  [1100, 1300, 30],
  [300, 520, 700],
] as const;

/** Runs all shapes over whole teams; the bits must not depend on how many threads there are. */
function sameAtAnyNumberOfThreads(gemm: Gemm) {
  const crews = [1, 2, 3].map((threads) => team(gemm, threads));
  for (const shape of shapes) {
    for (const layout of ways.filter(({ accumulate }) => !accumulate)) {
      const run = (crew: Team) =>
        produce(crew, shape, { ...layout, gap: 1 }, fractions(), (product) => multiply(crew, product));
      const [one, ...more] = crews.map(run);
      for (const other of more)
        expect(Buffer.from(other.after.buffer).equals(Buffer.from(one.after.buffer))).toBe(true);
      // A few elements of each: that the tiles are where they belong.
      const [m, n, k] = shape;
      for (let probe = 0; probe < 200; probe++) {
        const row = (probe * 7919) % m;
        const column = (probe * 104_729) % n;
        let sum = 0;
        for (let step = 0; step < k; step++) sum += one.a(row, step) * one.b(step, column);
        expect(one.after[row * one.ld + column]).toBeCloseTo(sum, 4);
      }
      const gaps = Array.from({ length: m - 1 }, (_, row) => one.after[row * one.ld + n]);
      expect(gaps.filter((value) => value !== GAP)).toEqual([]);
    }
  }
}
test.each([REPRODUCIBLE, relaxed])('$name: the same bits at 1, 2 and 3 threads', sameAtAnyNumberOfThreads);

test('wasm: the bits of a row do not depend on the rows around it', () => {
  const crew = team(REPRODUCIBLE);
  const run = (m: number) => {
    const product = (whole: Product) => multiplyHere(crew.scope, { ...whole, m });
    return produce(crew, [300, 40, 300], plain, fractions(), product).after;
  };
  expect(run(137).subarray(0, 137 * 40)).toEqual(run(300).subarray(0, 137 * 40));
});

test('the self-test finds what may be wrong with a product', () => {
  const passes = (act: (right: (product: Product) => void, product: Product, floats: Float32Array) => void) =>
    largestError((memory) => {
      const right = onto(REPRODUCIBLE, memory);
      return (product) => act(right, product, new Float32Array(memory.buffer));
    }) <= 1e-5;
  expect(passes((right, product) => right(product))).toBe(true);
  for (const change of [
    { transposeA: false },
    { transposeB: false },
    { transposeB: true },
    { accumulate: false },
    { accumulate: true },
  ]) {
    expect(passes((right, product) => right({ ...product, ...change }))).toBe(false);
  }
  for (const ld of ['lda', 'ldb', 'ldc'] as const) {
    expect(passes((right, product) => right({ ...product, [ld]: product[ld] - 1 }))).toBe(false);
  }
  const shortInputs = (right: (product: Product) => void, product: Product, floats: Float32Array) => {
    const inputs = floats.slice(0, product.c / 4);
    const bits = new Uint32Array(floats.buffer, 0, product.c / 4);
    for (let i = 0; i < bits.length; i++) bits[i] &= 0xffffe000; // 10 bits of mantissa: TF32
    right(product);
    floats.set(inputs);
  };
  expect(passes(shortInputs)).toBe(false);
});

/** Why there is no BLAS here, or null. */
function whyNoBlas(): string | null {
  try {
    openBlas(usualBlas());
    return null;
  } catch (error) {
    if (error instanceof BlasError) return error.message;
    throw error;
  }
}
const absent = whyNoBlas();

describe.skipIf(absent !== null)('BLAS (skipped where there is none)', () => {
  test('passes the self-test and says what it is', () => {
    const gemm = openGemm('blas');
    expect(gemm.name).toMatch(/^blas: \S+/);
    expect(openGemm('auto')).toEqual(gemm);
    expect(openGemm(`blas:${usualBlas()}`)).toEqual(gemm);
  });

  test('the same bits at 1, 2 and 3 threads', () => sameAtAnyNumberOfThreads(openGemm('blas')));
});

test.each(absent === null ? ['wasm', 'blas'] : ['wasm'])('%s: matrices at the end of 4 GiB', (kind) => {
  const crew = team(openGemm(kind), 1, 2 ** 32);
  crew.arena.take(crew.arena.free - 2 ** 16, 'everything before');
  const layout = { ...plain, accumulate: true };
  const got = produce(crew, [21, 23, 25], layout, integers(), (product) => multiplyHere(crew.scope, product));
  expect(crew.arena.peak).toBeGreaterThan(2 ** 32 - 2 ** 16);
  const sum = (row: number, column: number, before: number) => {
    let total = before;
    for (let step = 0; step < 25; step++) total += got.a(row, step) * got.b(step, column);
    return total;
  };
  expect(difference(got.after, defined(got, 21, 23, sum))).toBe(-1);
});

test('without koffi all but BLAS works', () => {
  const folder = temporaryDirectory();
  const root = fileURLToPath(new URL('../..', import.meta.url));
  for (const part of ['package.json', 'dist/compute', 'dist/core', 'dist/kernels']) {
    cpSync(join(root, part), join(folder, part), { recursive: true });
  }
  const script = `
    const { openGemm } = await import('./dist/compute/gemm-choice.js');
    const say = (kind) => {
      try { return openGemm(kind).name; } catch (error) { return error.message.split('\\n')[0]; }
    };
    console.log(['auto', 'wasm', 'wasm-relaxed', 'blas'].map(say).join('; '));
    console.log(openGemm('auto').withoutBlas);`;
  const options = { cwd: folder, encoding: 'utf8' } as const;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], options);
  const why = 'BLAS needs the package koffi, which is not installed';
  expect(output).toBe(`wasm-relaxed; wasm; wasm-relaxed; ${why}\n${why}\n`);
});

/** Calls with another library as the usual one. */
function withBlas(path: string, act: () => void): void {
  const before = process.env.QUANTIZE_BLAS;
  process.env.QUANTIZE_BLAS = path;
  try {
    act();
  } finally {
    if (before === undefined) delete process.env.QUANTIZE_BLAS;
    else process.env.QUANTIZE_BLAS = before;
  }
}

test('auto without BLAS takes the relaxed kernels and says why; who asks for BLAS is told, too', () => {
  withBlas('/nowhere/libblas.so', () => {
    const auto = openGemm('auto');
    expect(auto).toMatchObject({ name: 'wasm-relaxed', blas: null });
    expect(auto.withoutBlas).toMatch(/^cannot load the BLAS library \(\/nowhere\/libblas\.so\): .*\S$/);
    expect(gemmFacts(auto)).toEqual({ gemm: 'wasm-relaxed', withoutBlas: auto.withoutBlas });
    expect(gemmFacts(openGemm('wasm'))).toEqual({ gemm: 'wasm' });
    const blas = () => openGemm('blas');
    expect(blas).toThrow(BlasError);
    expect(blas).toThrow(/cannot load the BLAS library\n {2}file: {5}\/nowhere\/libblas\.so/);
  });
});

test.runIf(process.platform === 'linux')('a library without the function is refused', () => {
  withBlas('libc.so.6', () =>
    expect(openGemm('auto').withoutBlas).toBe('the library has no cblas_sgemm (libc.so.6)'),
  );
  expect(() => openGemm('blas:libc.so.6')).toThrow(/no cblas_sgemm\n {2}file: {5}libc\.so\.6/);
});

test('other names are refused with the list', () => {
  expect(() => openGemm('fast')).toThrow(UsageError);
  expect(() => openGemm('blas:')).toThrow(/expected: auto, wasm, wasm-relaxed, blas or blas:PATH/);
});
