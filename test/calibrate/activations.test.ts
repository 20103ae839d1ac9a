import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chooseActivationRange, Histogram, SIDE } from '../../src/calibrate/activation-histogram.ts';
import { collectActivationRanges } from '../../src/calibrate/activation-ranges.ts';
import { Activations } from '../../src/calibrate/forward/activations.ts';
import type { GroupInput } from '../../src/calibrate/forward/step.ts';
import type { Weight } from '../../src/calibrate/forward/weights.ts';
import { multiply } from '../../src/compute/gemm.ts';
import type { Team } from '../../src/compute/team.ts';
import { parseActivations, rangeMethods } from '../../src/core/activations.ts';
import { UsageError } from '../../src/core/errors.ts';
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from '../../src/core/float.ts';
import type { TypeName } from '../../src/core/types.ts';
import { forwardModel, forwardPass, forwardTeam } from '../support/forward.ts';
import { tinyMixtral } from '../support/mixtral.ts';
import { gaussian, uniform } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { tinyLlama } from '../support/tiny-llama.ts';

let team: Team;
let single: Team;
beforeAll(() => {
  team = forwardTeam(3, 128 << 20);
  single = forwardTeam(1, 128 << 20);
});
afterAll(() => {
  team.close();
  single.close();
});

const f = Math.fround;
const next = gaussian(5);

/** To the nearest integer, half to even. */
function nearest(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** The definitions, in float32 as the kernels round, on a run of values. */
const scalar = {
  symmetric(x: Float32Array, highest: number, half: boolean): number[] {
    const amax = Math.max(...x.map(Math.abs));
    const inverse = f(highest / amax);
    if (inverse === Number.POSITIVE_INFINITY) return [...x].map(() => 0);
    const scale = half ? fromFloat16(toFloat16(f(amax / highest))) : f(1 / inverse);
    return [...x].map((value) => f(nearest(f(value * inverse)) * scale));
  },
  affine(x: Float32Array, highest: number): number[] {
    const [low, high] = [Math.min(0, ...x), Math.max(0, ...x)];
    const scale = f(f(high - low) / highest);
    const inverse = f(1 / scale);
    if (inverse === Number.POSITIVE_INFINITY) return [...x].map(() => 0);
    return scalar.fixed(x, scale, nearest(f(-low * inverse)), 0, highest);
  },
  fixed(x: Float32Array, scale: number, zero: number, lowest: number, highest: number): number[] {
    const inverse = f(1 / scale);
    return [...x].map((value) => {
      const code = Math.min(highest, Math.max(lowest, nearest(f(value * inverse)) + zero));
      return f((code - zero) * scale);
    });
  },
};

const runs = (x: Float32Array, block: number, act: (run: Float32Array) => number[]): number[] =>
  Array.from({ length: Math.ceil(x.length / block) }, (_, i) =>
    act(x.subarray(i * block, (i + 1) * block)),
  ).flat();

/** Inputs as a scheme makes them, seen through a matrix of ones on the diagonal; rows further apart than they are long. */
function codedRows(
  scheme: string,
  type: TypeName,
  rows: Float32Array[],
  range?: Parameters<typeof rangesOf>[0],
) {
  return team.arena.scoped(() => {
    const columns = rows[0].length;
    const ld = columns + 3;
    const x = team.arena.takeFloats(rows.length * ld, 'test');
    for (const [i, row] of rows.entries()) team.scope.floats(x + 4 * i * ld, columns).set(row);
    const address = team.arena.takeFloats(columns * columns, 'test');
    const identity = team.scope.floats(address, columns * columns).fill(0);
    for (let i = 0; i < columns; i++) identity[i * (columns + 1)] = 1;
    const weight: Weight = { name: 'w', type, address, rows: columns, columns };
    const group = { tensors: ['w'], expert: null, columns };
    const input: GroupInput = { group, x, ldx: ld, rows: rows.length };
    const c = team.arena.takeFloats(rows.length * columns, 'test');
    const activations = new Activations(team, parseActivations(scheme), range ? rangesOf(range) : null);
    activations.multiply(input, weight, { x: c, ld: columns }, false);
    return rows.map((_, i) => [...team.scope.floats(c + 4 * i * columns, columns)]);
  });
}

const rangesOf = (range: { scale: number; zeroPoint: number }) =>
  new Map([['w', { low: 0, high: 0, relativeError: 0, ...range }]]);

describe.each([512, 96, 37])('rows of %i', (columns) => {
  const rows = Array.from({ length: 70 }, (_, i) => {
    if (i === 3) return new Float32Array(columns);
    const scale = 10 ** (i % 4);
    return Float32Array.from({ length: columns }, () => f(next() * scale + (i % 7 === 0 ? 3 * scale : 0)));
  });
  rows[4].fill(2 ** -140);

  it.each([
    ['dynamic', 'F32', (x: Float32Array) => scalar.symmetric(x, 127, false)],
    ['dynamic:4', 'Q4_0', (x: Float32Array) => scalar.symmetric(x, 7, false)],
    ['dynamic:asymmetric', 'Q4_K', (x: Float32Array) => scalar.affine(x, 255)],
    ['dynamic:4:asymmetric', 'Q4_K', (x: Float32Array) => scalar.affine(x, 15)],
    ['dynamic-block', 'Q8_0', (x: Float32Array) => runs(x, 32, (run) => scalar.symmetric(run, 127, true))],
    ['dynamic-block', 'Q6_K', (x: Float32Array) => runs(x, 256, (run) => scalar.symmetric(run, 127, false))],
    ['dynamic-block:4', 'Q4_0', (x: Float32Array) => runs(x, 32, (run) => scalar.symmetric(run, 7, true))],
    ['dynamic-block:asymmetric', 'Q4_0', (x: Float32Array) => runs(x, 32, (run) => scalar.affine(run, 255))],
    ['dynamic-block', 'F16', (x: Float32Array) => [...x].map((value) => fromFloat16(toFloat16(value)))],
    ['dynamic-block', 'BF16', (x: Float32Array) => [...x].map((value) => fromBfloat16(toBfloat16(value)))],
    ['dynamic-block', 'F32', (x: Float32Array) => [...x]],
    ['none', 'Q4_K', (x: Float32Array) => [...x]],
  ] as const)('%s before %s', (scheme, type, expected) => {
    const found = codedRows(scheme, type, rows);
    for (const [i, row] of rows.entries()) {
      const own = expected(row);
      expect([i, found[i].map((value) => value + 0)]).toEqual([i, own.map((value) => value + 0)]);
    }
  });

  it.each([
    ['static', { scale: f(0.01), zeroPoint: 0 }, -127, 127],
    ['static:4:asymmetric', { scale: f(0.5), zeroPoint: 6 }, 0, 15],
  ] as const)('%s', (scheme, range, lowest, highest) => {
    const found = codedRows(scheme, 'Q4_K', rows, range);
    for (const [i, row] of rows.entries()) {
      const own = scalar.fixed(row, range.scale, range.zeroPoint, lowest, highest);
      expect(found[i].map((value) => value + 0)).toEqual(own.map((value) => value + 0));
    }
  });
});

it('static needs a range for every matrix', () => {
  expect(() => codedRows('static', 'Q4_K', [new Float32Array(4)])).toThrow(UsageError);
});

describe.each([
  ['TQ2_0', 512, true],
  ['TQ1_0', 768, false],
  ['Q1_0', 384, false],
] as const)('BitLinear with %s', (type, k, shared) => {
  const [m, n] = [131, 37];
  const block = type === 'Q1_0' ? 128 : 256;
  const random = uniform(9);
  const codes = Int8Array.from({ length: n * k }, () => {
    const sign = random() < 0.5 ? -1 : 1;
    return type !== 'Q1_0' && random() < 0.4 ? 0 : sign;
  });
  const scaleOf = (place: number) => (shared ? 0.25 : f(0.1 + (Math.floor(place / block) % 5) / 7));
  const inputs = Float32Array.from({ length: m * k }, () => next());

  /** Codes of a token as floats, and its scale. */
  const token = (row: number) => {
    const x = inputs.subarray(row * k, (row + 1) * k);
    const inverse = f(127 / Math.max(...x.map(Math.abs)));
    return { codes: [...x].map((value) => nearest(f(value * inverse))), scale: f(1 / inverse) };
  };

  const product = (weightOf: (place: number) => number) =>
    team.arena.scoped(() => {
      const x = team.arena.takeFloats(m * k, 'test');
      team.scope.floats(x, m * k).set(inputs);
      const address = team.arena.takeFloats(n * k, 'test');
      team.scope.floats(address, n * k).set(Float32Array.from(codes, (_, i) => weightOf(i)));
      const c = team.arena.takeFloats(m * (n + 2), 'test');
      team.scope.floats(c, m * (n + 2)).fill(0.5);
      const activations = new Activations(team, { kind: 'bitlinear' }, null);
      const group = { tensors: ['w'], expert: null, columns: k };
      const weight: Weight = { name: 'w', type, address, rows: n, columns: k };
      activations.multiply({ group, x, ldx: k, rows: m }, weight, { x: c, ld: n + 2 }, true);
      return { found: team.scope.floats(c, m * (n + 2)).slice(), operations: activations.operations! };
    });

  it('has the integers of the float product of the same codes', () => {
    // Scales of 1 leave the integer: codes of tokens times codes of weights, in float32, exact below 2^24.
    const exact = team.arena.scoped(() => {
      const [a, b, c] = [m * k, n * k, m * n].map((size) => team.arena.takeFloats(size, 'test'));
      for (let row = 0; row < m; row++) team.scope.floats(a + 4 * row * k, k).set(token(row).codes);
      team.scope.floats(b, n * k).set(codes);
      multiply(team, { m, n, k, a, lda: k, b, ldb: k, transposeB: true, c, ldc: n });
      return team.scope.floats(c, m * n).slice();
    });
    const { found } = team.arena.scoped(() => {
      const { compute, scope } = { compute: team.scope.compute, scope: team.scope };
      const arena = team.arena;
      const w = arena.takeFloats(n * k, 'test');
      scope.floats(w, n * k).set(codes);
      const [masks, scales] = [arena.take(2 * n * k, 'test'), arena.takeFloats((n * k) / block, 'test')];
      const counted = compute.ternaryMasks(w, n, k, block, masks, scales);
      expect(counted).toBe(codes.reduce((sum, code) => sum + Math.abs(code), 0));
      const [bytes, ones] = [arena.take(m * k, 'test'), arena.takeFloats(m, 'test')];
      for (let row = 0; row < m; row++) scope.bytes(bytes + row * k, k).set(Int8Array.from(token(row).codes));
      scope.floats(ones, m).fill(1);
      const c = arena.takeFloats(m * n, 'test');
      compute.ternaryProduct(m, n, k, bytes, ones, masks, scales, block, 1, c, n, 0);
      const whole = scope.floats(c, m * n).slice();
      compute.ternaryProduct(m, n, k, bytes, ones, masks, scales, block, 0, c, n, 0);
      expect(scope.floats(c, m * n)).toEqual(whole);
      return { found: whole };
    });
    expect(found).toEqual(exact);
  });

  it('scales them at the end, and counts', () => {
    const { found, operations } = product((place) => f(codes[place] * scaleOf(place)));
    for (let row = 0; row < m; row += 13) {
      const own = token(row);
      for (let column = 0; column < n; column++) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += own.codes[i] * codes[column * k + i] * scaleOf(column * k + i);
        expect(found[row * (n + 2) + column]).toBeCloseTo(0.5 + sum * own.scale, 4);
      }
      expect([...found.subarray(row * (n + 2) + n, (row + 1) * (n + 2))]).toEqual([0.5, 0.5]);
    }
    const counted = codes.reduce((sum, code) => sum + Math.abs(code), 0);
    const multiplications = m * (n + (shared ? n : (n * k) / block));
    expect(operations).toEqual({
      ...{
        ternaryMatrices: 1,
        otherMatrices: 0,
        additions: m * counted,
        skippedZeros: m * (n * k - counted),
      },
      ...{ multiplications, multiplicationsSaved: m * n * k - multiplications, otherMultiplications: 0 },
    });
  });

  it('refuses weights that are not ternary', () => {
    expect(() => product((place) => (place === 5 ? 0.125 : codes[place] * 0.25))).toThrow(/not ternary/);
  });
});

describe('ranges over a text', () => {
  const windows = Array.from({ length: 5 }, (_, w) =>
    Int32Array.from({ length: 40 }, (_, i) => (7919 * (w * 40 + i)) % 2048),
  );

  it.each(['dense', 'experts'])('are the same at any number of threads: %s', (kind) => {
    const place = temporaryDirectory();
    const model = forwardModel(kind === 'dense' ? tinyLlama(place, { layers: 1 }) : tinyMixtral(place));
    const [one, three] = [single, team].map((crew) => {
      const pass = forwardPass(crew, model, windows);
      const found = collectActivationRanges(pass, 99.9);
      pass.close();
      return found;
    });
    expect(three).toEqual(one);
    expect(one.some(({ expert }) => expert !== null)).toBe(kind === 'experts');
    for (const { inputs, ranges } of one) expect(ranges).toHaveLength(inputs === 0 ? 0 : 16);
  });

  it('are those of the inputs themselves', () => {
    const model = forwardModel(tinyLlama(temporaryDirectory(), { layers: 1 }));
    const all = new Map<string, number[]>();
    const pass = forwardPass(team, model, windows);
    for (const step of pass.steps()) {
      step.advance(({ group, x, ldx, rows }) => {
        const values = all.get(group.tensors[0]) ?? [];
        for (let row = 0; row < rows; row++)
          values.push(...team.scope.floats(x + 4 * row * ldx, group.columns));
        all.set(group.tensors[0], values);
      });
    }
    pass.close();
    const again = forwardPass(team, model, windows);
    const found = collectActivationRanges(again, 99.9);
    again.close();
    expect(found).toHaveLength(all.size + 1); // and the output
    for (const { tensors, columns, inputs, min, max, ranges } of found.slice(0, -1)) {
      const values = all.get(tensors[0])!;
      expect(values).toHaveLength(columns * inputs);
      const histogram = new Histogram();
      const [low, high] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [0, 0]);
      histogram.reachTo(low, high);
      const counts = new Uint32Array(2 * SIDE);
      for (const value of values) counts[SIDE + Math.floor(f(value * f(1 / histogram.width)))]++;
      histogram.add(counts);
      expect([min, max]).toEqual([low, high]);
      for (const { bits, symmetric, method, range } of ranges) {
        expect(range).toEqual(chooseActivationRange(histogram, { bits, symmetric }, method, 99.9));
      }
      expect(new Set(ranges.map(({ method }) => method))).toEqual(new Set(rangeMethods));
    }
  });
});
