import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/core/errors.ts';
import { ruleName } from '../../src/core/ranges.ts';
import type { TypedTensor } from '../../src/plan/policy.ts';
import { resolveScheme, type SchemeOptions } from '../../src/plan/presets.ts';
import { rangeWarnings } from '../../src/plan/ranges.ts';

/** What the options about ranges choose, and what they refuse. */

const rangeOf = (
  options: SchemeOptions,
  type: Parameters<ReturnType<typeof resolveScheme>['encoderFor']>[0],
) => resolveScheme(options).ranges.specFor(type);

describe('without options', () => {
  it.each([
    ['absmax', 8, 'Q8_0'],
    ['absmax', 4, 'Q4_0'],
    ['absmax', 5, 'Q5_0'],
    ['zero-point', 4, 'Q4_1'],
    ['zero-point', 5, 'Q5_1'],
    ['zero-point', 8, 'I8'],
    ['binary', undefined, 'Q1_0'],
    ['kquant', 4, 'Q4_K'],
    ['gptq', 4, 'Q4_K'],
  ] as const)('%s, %s bits: as ggml codes %s', (method, bits, type) => {
    expect(rangeOf({ method, bits }, type)).toBeNull();
  });

  it('ternary is absmean of the tensor, and 2-bit zero-point min-max of super-blocks', () => {
    expect(rangeOf({ method: 'ternary' }, 'TQ2_0')).toEqual({
      ...{ rule: { kind: 'absmean' }, granularity: 'tensor', symmetry: null, center: false },
    });
    expect(rangeOf({ method: 'ternary' }, 'Q6_K')).toBeNull();
    expect(rangeOf({ method: 'zero-point', bits: 2 }, 'Q2_K')).toMatchObject({
      ...{ rule: { kind: 'minmax' }, granularity: 'block' },
    });
  });
});

it.each<[SchemeOptions, Parameters<typeof rangeOf>[1]]>([
  [{ type: 'Q8_0', range: 'absmax' }, 'Q8_0'],
  [{ type: 'Q8_0', granularity: 'block', symmetric: 'restricted' }, 'Q8_0'],
  [{ type: 'Q4_0', symmetric: 'full' }, 'Q4_0'],
  [{ type: 'Q4_1', range: 'minmax' }, 'Q4_1'],
  [{ method: 'binary', range: 'absmean', granularity: 'block' }, 'Q1_0'],
  [{ method: 'ternary', range: 'absmax', granularity: 'block' }, 'TQ2_0'],
  [{ method: 'zero-point', bits: 8, granularity: 'channel' }, 'I8'],
])('%o is what ggml does anyway', (options, type) => {
  expect(rangeOf(options, type)).toBeNull();
  const { ranges, encoderFor } = resolveScheme(options);
  expect(encoderFor(type)).not.toMatch(/:range/);
  // It is measured by the same rule all the same, but for rows of I8.
  if (type === 'I8') expect(ranges.measuredFor(type)).toBeNull();
  else expect(ranges.measuredFor(type)).toMatchObject({ granularity: 'block', center: false });
});

it.each<[SchemeOptions, Parameters<typeof rangeOf>[1], boolean]>([
  [{ type: 'Q8_0' }, 'Q8_0', false],
  [{ method: 'absmax', bits: 4 }, 'Q4_0', false],
  [{ method: 'binary' }, 'Q1_0', true],
  [{ method: 'binary' }, 'Q6_K', false],
])('%o: ranges of %s are measured: %s', (options, type, measured) => {
  expect(resolveScheme(options).ranges.measuredFor(type) !== null).toBe(measured);
});

it.each<[SchemeOptions, Parameters<typeof rangeOf>[1], object]>([
  [
    { type: 'Q8_0', symmetric: 'full' },
    'Q8_0',
    { rule: { kind: 'absmax' }, symmetry: 'full', granularity: 'block' },
  ],
  [{ type: 'Q4_0', symmetric: 'Restricted' }, 'Q4_0', { symmetry: 'restricted' }],
  [{ type: 'Q4_0', granularity: 'tensor' }, 'Q4_0', { granularity: 'tensor', symmetry: 'full' }],
  [{ type: 'Q4_0', granularity: 'tensor' }, 'Q8_0', { granularity: 'tensor', symmetry: 'restricted' }],
  [{ type: 'Q8_0', range: 'percentile=99.9' }, 'Q8_0', { rule: { kind: 'percentile', percent: 99.9 } }],
  [{ type: 'Q8_0', range: 'clip=-5,5' }, 'Q8_0', { rule: { kind: 'clip', low: -5, high: 5 } }],
  [
    { type: 'Q4_1', range: 'clip=-7.59, 10.8' },
    'Q4_1',
    { rule: { kind: 'clip', low: -7.59, high: 10.8 }, symmetry: null },
  ],
  [{ type: 'Q4_1', range: 'clip=-0.5,-0.1' }, 'Q4_1', { rule: { kind: 'clip', low: -0.5, high: -0.1 } }],
  [{ method: 'binary', center: true }, 'Q1_0', { center: true, granularity: 'block' }],
  [{ method: 'ternary', granularity: 'block' }, 'TQ1_0', { granularity: 'block', rule: { kind: 'absmean' } }],
])('%o', (options, type, spec) => {
  expect(rangeOf(options, type)).toMatchObject(spec);
  expect(resolveScheme(options).encoderFor(type)).toBe(`${type}:range`);
  expect(resolveScheme(options).encoderFor('Q6_K')).toBe('Q6_K');
});

it.each<[SchemeOptions, RegExp]>([
  [{ granularity: 'tensor' }, /--granularity chooses ranges, and method kquant searches/],
  [{ method: 'gptq', range: 'mse' }, /--range chooses ranges, and method gptq searches/],
  [{ type: 'F16', symmetric: 'full' }, /--symmetric chooses ranges, and F16 chooses/],
  [{ type: 'Q2_0', range: 'mse' }, /--range chooses ranges, and Q2_0 chooses/],
  [
    { method: 'absmax', range: 'minmax' },
    /contradict[\s\S]*absmax, percentile, clip, mse, entropy[\s\S]*zero-point/,
  ],
  [{ method: 'absmax', range: 'absmean' }, /contradict[\s\S]*ternary or binary/],
  [{ method: 'zero-point', range: 'absmax' }, /contradict[\s\S]*--method absmax/],
  [{ method: 'binary', range: 'mse' }, /contradict/],
  [{ method: 'zero-point', bits: 4, symmetric: 'full' }, /around zero; Q4_1/],
  [{ method: 'ternary', symmetric: 'full' }, /around zero; TQ2_0/],
  [{ method: 'ternary', center: true }, /--center is about signs/],
  [{ method: 'absmax', bits: 8, range: 'clip=-5,6' }, /not symmetric[\s\S]*zero-point/],
  [{ method: 'absmax', bits: 4, range: 'entropy' }, /channel or tensor[\s\S]*blocks of 32/],
  [{ method: 'zero-point', bits: 2, range: 'entropy' }, /channel or tensor[\s\S]*blocks of 256/],
  [
    { method: 'absmax', bits: 8, range: 'clip=-1e-30,1e-30' },
    /1e-30 gives Q8_0[\s\S]*0.00000757 to 8.32e\+6[\s\S]*scale of 0/,
  ],
  [
    { method: 'absmax', bits: 4, range: 'clip=-1e30,1e30' },
    /gives Q4_0[\s\S]*5.24e\+5[\s\S]*scale of Infinity/,
  ],
  [{ method: 'zero-point', bits: 4, range: 'clip=0,1e-30' }, /gives Q4_1[\s\S]*HIGH - LOW from 8.94e-7/],
  [{ method: 'zero-point', bits: 4, range: 'clip=-70000,0' }, /minimum of -Infinity/],
  [{ method: 'absmax', bits: 8, range: 'clip=-0.5,-0.1' }, /not symmetric[\s\S]*clip=-0.5,0.5/],
  [{ method: 'absmax', type: 'TQ2_0', range: 'entropy', granularity: 'tensor' }, /two magnitudes/],
  [{ method: 'zero-point', bits: 8, granularity: 'tensor' }, /8-bit zero-point[\s\S]*--bits 4 or 5/],
  [{ method: 'zero-point', bits: 8, range: 'mse' }, /8-bit zero-point/],
  [{ type: 'Q8_0', range: 'mean' }, /--range has no "mean"/],
  [{ type: 'Q8_0', range: 'percentil=3' }, /did you mean percentile/],
  [{ type: 'Q8_0', range: 'percentile' }, /more than 0 and up to 100/],
  [{ type: 'Q8_0', range: 'percentile=0' }, /more than 0 and up to 100/],
  [{ type: 'Q8_0', range: 'percentile=101' }, /more than 0 and up to 100/],
  [{ type: 'Q8_0', range: 'clip=5' }, /LOW below HIGH/],
  [{ type: 'Q8_0', range: 'clip=1,2,3' }, /LOW below HIGH/],
  [{ type: 'Q8_0', range: 'clip=5,-5' }, /LOW below HIGH/],
  [{ type: 'Q8_0', range: 'clip=,5' }, /LOW below HIGH/],
  [{ type: 'Q8_0', range: 'mse=3' }, /without a value/],
  [{ type: 'Q8_0', granularity: 'row' }, /--granularity has no "row"[\s\S]*block, channel, tensor/],
  [{ type: 'Q8_0', symmetric: 'half' }, /restricted, full/],
])('%o is refused', (options, message) => {
  expect(() => resolveScheme(options)).toThrow(UsageError);
  expect(() => resolveScheme(options)).toThrow(message);
});

it('names rules as they are typed', () => {
  const names = ['percentile=99.9', 'clip=-5,5', 'mse'];
  expect(names.map((range) => ruleName(rangeOf({ type: 'Q8_0', range }, 'Q8_0')!.rule))).toEqual(names);
});

describe('warnings', () => {
  const typed = (name: string, type: TypedTensor['type']): TypedTensor => ({
    tensor: {
      name,
      keep: 'F32',
      shape: [256, 4],
      source: { kind: 'values', values: [] },
    } as TypedTensor['tensor'],
    type,
    reason: '',
  });
  const tensors = [typed('a', 'Q4_0'), typed('b', 'Q6_K'), typed('c', 'F32')];

  it('say which tensors keep their own coding, where ranges were asked for', () => {
    const { method, ranges } = resolveScheme({ type: 'Q4_0', range: 'mse' });
    expect(rangeWarnings(method, ranges, tensors)).toEqual([
      expect.stringMatching(/^1 tensor is coded.*b \(Q6_K\)/),
    ]);
    const many = ['b', 'c', 'd', 'e', 'f'].map((name) => typed(name, 'Q6_K'));
    expect(rangeWarnings(method, ranges, many)).toEqual([
      expect.stringMatching(/: b \(Q6_K\), c \(Q6_K\), d \(Q6_K\) and 2 more \(--pure/),
    ]);
    const plain = resolveScheme({ type: 'Q4_0' });
    expect(rangeWarnings(plain.method, plain.ranges, tensors)).toEqual([]);
  });

  const ruined = (options: SchemeOptions, ...made: TypedTensor[]) => {
    const { method, ranges } = resolveScheme(options);
    return rangeWarnings(method, ranges, made);
  };

  it.each<[SchemeOptions, TypedTensor['type'], string]>([
    [{ method: 'ternary' }, 'TQ2_0', 'ternary'],
    [{ method: 'binary' }, 'Q1_0', 'binary'],
    [{ type: 'TQ1_0' }, 'TQ1_0', 'ternary'],
    [{ type: 'TQ2_0' }, 'TQ2_0', 'ternary'],
    [{ type: 'Q2_0' }, 'Q2_0', 'ternary'], // ggml's coding of it has no other codes
    [{ type: 'Q1_0' }, 'Q1_0', 'binary'],
    [{ type: 'Q4_K_M' }, 'TQ2_0', 'ternary'], // --tensor-type
  ])('say what %o does to a model with tensors of %s', (options, type, what) => {
    expect(ruined(options, typed('a', type), typed('b', 'Q6_K'))).toEqual([
      expect.stringMatching(new RegExp(`^${what} weights.*trained.*ruined.*\\(1 tensor of ${type}\\)`)),
    ]);
  });

  it('say nothing of such types where none is made, where GPTQ makes them, or where weights were stored so', () => {
    expect(ruined({ method: 'ternary' }, typed('a', 'Q4_0'), typed('c', 'F32'))).toEqual([]);
    expect(ruined({ method: 'gptq', type: 'TQ2_0' }, typed('a', 'TQ2_0'))).toEqual([]);
    const from = (stored: string, type: TypedTensor['type']) => {
      const source = { kind: 'stored', parts: [{ type: stored }], rows: { kind: 'file' } };
      const again = typed('a', type);
      return { ...again, tensor: { ...again.tensor, source } } as unknown as TypedTensor;
    };
    expect(ruined({ type: 'TQ2_0' }, from('TQ1_0', 'TQ2_0'))).toEqual([]);
    expect(ruined({ type: 'Q2_0' }, from('TQ2_0', 'Q2_0'))).toEqual([]);
    expect(ruined({ type: 'Q1_0' }, from('TQ1_0', 'Q1_0'))).toHaveLength(1);
    expect(ruined({ type: 'TQ2_0' }, from('Q2_0', 'TQ2_0'))).toHaveLength(1); // it may hold a fourth level
  });
});
