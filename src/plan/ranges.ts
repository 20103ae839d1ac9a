import { listed, UsageError } from '../core/errors.ts';
import { FLOAT16_LEAST, FLOAT16_MOST, roundToFloat16 } from '../core/float.ts';
import { storedType } from '../core/plan.ts';
import {
  type Granularity,
  granularities,
  gridOf,
  isRangedType,
  type RangedType,
  type RangeRule,
  type RangeSpec,
  ruleName,
  type Symmetry,
  symmetries,
} from '../core/ranges.ts';
import { didYouMean } from '../core/suggest.ts';
import { dataTypes, type TypeName } from '../core/types.ts';
import type { TypedTensor } from './policy.ts';

/** The options about ranges, as typed. */
export interface RangeOptions {
  readonly range?: string | undefined;
  readonly granularity?: string | undefined;
  readonly symmetric?: string | undefined;
  /** Signs of weights less their mean. */
  readonly center?: boolean | undefined;
}

type RuleName = RangeRule['kind'];

/** What a method lets ranges be. The first rule and the first granularity are what it means without options. */
interface MethodRanges {
  readonly rules: readonly [RuleName, ...RuleName[]];
  readonly granularities: readonly [Granularity, ...Granularity[]];
  /** Types whose ranges it chooses; the others keep ggml's own coding. */
  readonly types: readonly TypeName[];
}

const byMethod: Readonly<Record<string, MethodRanges>> = {
  absmax: {
    rules: ['absmax', 'percentile', 'clip', 'mse', 'entropy'],
    granularities: ['block', 'channel', 'tensor'],
    types: ['Q8_0', 'Q5_0', 'Q4_0', 'TQ1_0', 'TQ2_0'],
  },
  'zero-point': {
    rules: ['minmax', 'percentile', 'clip', 'mse', 'entropy'],
    granularities: ['block', 'channel', 'tensor'],
    types: ['Q4_1', 'Q5_1', 'Q2_K'],
  },
  ternary: {
    rules: ['absmean', 'absmax', 'percentile', 'clip', 'mse'],
    granularities: ['tensor', 'channel', 'block'],
    types: ['TQ1_0', 'TQ2_0'],
  },
  binary: { rules: ['absmean'], granularities: ['block', 'channel', 'tensor'], types: ['Q1_0'] },
};

/** Rules that every name of `--range` may be. */
const ruleNames = ['absmax', 'minmax', 'percentile', 'clip', 'mse', 'entropy', 'absmean'] as const;

/** How the tensors of a type get their ranges. */
export interface RangeChoice {
  /** Null for a type that is coded as ggml does. */
  specFor(type: TypeName): RangeSpec | null;
  /** What the ranges of a type are reported as: of ggml's own too, where an option or the method is about ranges. */
  measuredFor(type: TypeName): RangeSpec | null;
  /** Whether an option chose it, or it is what the method means. */
  readonly asked: boolean;
}

/**
 * Ranges by the options, for a method and the base type of its mixture. A choice that is what ggml's coding of a type does
 * anyway is none.
 *
 * @throws UsageError for what a method or type does not have
 */
export function resolveRanges(method: string, base: TypeName, options: RangeOptions): RangeChoice {
  const { range, granularity, symmetric, center = false } = options;
  const given = (
    [
      ['--range', range],
      ['--granularity', granularity],
      ['--symmetric', symmetric],
      ['--center', center || undefined],
    ] as const
  ).find(([, value]) => value !== undefined)?.[0];
  const ranges = byMethod[method];
  if (ranges === undefined || !(base === 'I8' || ranges.types.includes(base))) {
    if (given !== undefined) refuse(given, method, base);
    return noRanges;
  }
  const rule = range === undefined ? ({ kind: ranges.rules[0] } as RangeRule) : parseRule(range);
  const shared = oneOf('--granularity', granularity, granularities) ?? ranges.granularities[0];
  const symmetry = oneOf('--symmetric', symmetric, symmetries);
  if (!ranges.rules.includes(rule.kind)) {
    throw new UsageError(`--range ${rule.kind} and --method ${method} contradict each other`, {
      expected: ranges.rules.join(', '),
      advice: advice[rule.kind],
    });
  }
  if (base === 'I8') {
    if ((granularity !== undefined && shared !== 'channel') || rule.kind !== 'minmax' || center || symmetry) {
      throw new UsageError(`${given} is not to be had with 8-bit zero-point`, {
        expected: '--range minmax and --granularity channel, which is what it does',
        advice: 'choose --bits 4 or 5 (Q4_1, Q5_1), or --method absmax --bits 8',
      });
    }
    return noRanges;
  }
  const { kind } = isRangedType(base) ? gridOf(base, null) : { kind: undefined };
  if (symmetry !== undefined && kind !== 'symmetric') {
    throw new UsageError(`--symmetric is about codes around zero; ${base} has one form only`, {
      expected: 'Q8_0, Q5_0 or Q4_0 (--method absmax)',
      advice: 'leave out --symmetric',
    });
  }
  if (center && kind !== 'signs') {
    throw new UsageError(`--center is about signs; ${base} has none`, {
      expected: '--method binary',
      advice: 'leave out --center',
    });
  }
  if (rule.kind === 'clip' && kind !== 'affine' && rule.low !== -rule.high) {
    throw new UsageError(`--range clip=${rule.low},${rule.high} is not symmetric, and ${base} is`, {
      expected: `clip=${-widest(rule)},${widest(rule)}, or the like`,
      advice: 'for two different ends choose --method zero-point',
    });
  }
  if (rule.kind === 'entropy' && (shared === 'block' || kind === 'ternary')) {
    throw new UsageError('--range entropy compares distributions, and there is none to compare here', {
      got: kind === 'ternary' ? 'two magnitudes' : `blocks of ${dataTypes[base].blockSize} weights`,
      expected: '--granularity channel or tensor, and codes of 4 bits or more',
      advice: 'or choose --range mse',
    });
  }
  const meant = (type: TypeName): RangeSpec | null =>
    isRangedType(type) && ranges.types.includes(type)
      ? {
          rule,
          granularity: shared,
          symmetry: gridOf(type, null).kind === 'symmetric' ? (symmetry ?? nativeSymmetry(type)) : null,
          center,
        }
      : null;
  const specFor = (type: TypeName): RangeSpec | null => {
    const spec = meant(type);
    if (spec !== null) requireScale(type as RangedType, spec);
    return spec === null || isOwn(type as RangedType, spec) ? null : spec;
  };
  const asked = given !== undefined;
  specFor(base); // refuses what no tensor can have
  return {
    asked,
    specFor,
    measuredFor: asked || method === 'ternary' || method === 'binary' ? meant : specFor,
  };
}

/** The end that is farther from 0. */
const widest = ({ low, high }: { low: number; high: number }): number =>
  Math.max(Math.abs(low), Math.abs(high));

/** UsageError for ends that a block cannot hold: a scale of 0 or infinity as float16, or such a minimum. */
function requireScale(type: RangedType, { rule, symmetry }: RangeSpec): void {
  if (rule.kind !== 'clip') return;
  const { kind, lowest, highest } = gridOf(type, symmetry);
  const steps = kind === 'affine' ? highest : -lowest;
  const reach = kind === 'affine' ? Math.fround(rule.high - rule.low) : rule.high;
  const scale = roundToFloat16(Math.fround(reach / steps));
  const offset = kind === 'affine' ? roundToFloat16(Math.fround(rule.low)) : 0;
  if (scale > 0 && Number.isFinite(scale) && Number.isFinite(offset)) return;
  const [least, most] = [FLOAT16_LEAST, FLOAT16_MOST].map((half) => (half * steps).toPrecision(3));
  throw new UsageError(`--range ${ruleName(rule)} gives ${type} a scale that is no float16`, {
    expected:
      kind === 'affine'
        ? `HIGH - LOW from ${least} to ${most}, and LOW from -65504 to 65504`
        : `HIGH from ${least} to ${most}`,
    got: Number.isFinite(offset) ? `a scale of ${scale}` : `a minimum of ${offset}`,
  });
}

/** All types are coded as ggml does. */
export const noRanges: RangeChoice = { specFor: () => null, measuredFor: () => null, asked: false };

/** Codes around zero as ggml has them. */
const nativeSymmetry = (type: TypeName): Symmetry => (type === 'Q8_0' ? 'restricted' : 'full');

/** Whether a choice is what ggml does anyway. */
const isOwn = (type: RangedType, { rule, granularity, symmetry, center }: RangeSpec): boolean =>
  type !== 'Q2_K' &&
  rule.kind === ownRules[gridOf(type, null).kind] &&
  granularity === 'block' &&
  !center &&
  (symmetry === null || symmetry === nativeSymmetry(type));

/** What ggml's coding of each kind of grid does, Q2_K aside. */
const ownRules = { symmetric: 'absmax', affine: 'minmax', ternary: 'absmax', signs: 'absmean' } as const;

const advice: Readonly<Record<RuleName, string>> = {
  absmax: 'symmetric codes: choose --method absmax',
  minmax: 'codes with a minimum: choose --method zero-point',
  absmean:
    'the mean of the magnitudes is a scale for -1, 0 and 1, or signs: choose --method ternary or binary',
  percentile: 'choose --method absmax or zero-point',
  clip: 'choose --method absmax or zero-point',
  mse: 'choose --method absmax or zero-point',
  entropy: 'choose --method absmax or zero-point',
};

function refuse(option: string, method: string, base: TypeName): never {
  const what = method === 'kquant' || method === 'gptq' ? `method ${method} searches` : `${base} chooses`;
  throw new UsageError(`${option} chooses ranges, and ${what} them by itself`, {
    expected:
      'a method of absmax, zero-point, ternary or binary, or a type of theirs: Q8_0, Q5_0, Q4_0, Q5_1, ...',
    advice: `leave out ${option}, or choose such a method`,
  });
}

function oneOf<T extends string>(
  option: string,
  text: string | undefined,
  names: readonly T[],
): T | undefined {
  if (text === undefined) return undefined;
  const found = names.find((name) => name === text.trim().toLowerCase());
  if (found !== undefined) return found;
  throw new UsageError(`${option} has no "${text}"`, {
    expected: names.join(', '),
    advice: didYouMean(text, names),
  });
}

/** `absmax`, `percentile=99.9`, `clip=-5,5`, ... */
function parseRule(text: string): RangeRule {
  const [name, value] = text.trim().toLowerCase().split('=', 2);
  const kind = oneOf('--range', name, ruleNames)!;
  const bad = (expected: string) =>
    new UsageError(`--range ${kind} is not as expected`, { expected, got: text });
  if (kind === 'percentile') {
    const percent = number(value);
    if (!(percent > 0 && percent <= 100))
      throw bad('percentile=P, P more than 0 and up to 100: percentile=99.9');
    return { kind, percent };
  }
  if (kind === 'clip') {
    const [low, high, ...more] = (value ?? '').split(',').map(number);
    if (!(low < high && more.length === 0)) throw bad('clip=LOW,HIGH, LOW below HIGH: clip=-5,5');
    return { kind, low, high };
  }
  if (value !== undefined) throw bad(`${kind}, without a value`);
  return { kind };
}

const number = (text: string | undefined): number =>
  text === undefined || text.trim() === '' || !Number.isFinite(Number(text)) ? Number.NaN : Number(text);

/** Types for weights that a model was trained with, and the stored types whose weights are so already. */
const trainedTypes: readonly {
  readonly what: string;
  readonly types: readonly TypeName[];
  readonly stored: readonly TypeName[];
}[] = [
  // ggml codes onto -1, 0 and 1 of Q2_0; a file from elsewhere may hold its fourth level, 2, too.
  { what: 'ternary', types: ['TQ1_0', 'TQ2_0', 'Q2_0'], stored: ['TQ1_0', 'TQ2_0'] },
  { what: 'binary', types: ['Q1_0'], stored: ['Q1_0'] },
];

/** What such types do to any other model, where weights become so that were not stored so. */
function trainedWarning(
  { what, types, stored }: (typeof trainedTypes)[number],
  coded: readonly TypedTensor[],
): string[] {
  const made = coded.filter(
    ({ tensor, type }) => types.includes(type) && !stored.includes(storedType(tensor.source)),
  );
  if (made.length === 0) return [];
  const names = [...new Set(made.map(({ type }) => type))].join(', ');
  return [
    `${what} weights are for models that were trained with them, such as BitNet; any other model is ruined: expect a ` +
      `perplexity several times that of the original, and no sense in what it writes ` +
      `(${made.length} tensor${made.length === 1 ? '' : 's'} of ${names})`,
  ];
}

/** Tensors a warning names. */
const NAMED = 3;

/**
 * What the user should know of the ranges: tensors of types that they are not for, and what codes of one or two bits do to
 * a model.
 */
export function rangeWarnings(
  method: string,
  ranges: RangeChoice,
  tensors: readonly TypedTensor[],
): string[] {
  const coded = tensors.filter(({ tensor, type }) => type !== tensor.keep);
  const others = coded.filter(({ type }) => byMethod[method]?.types.includes(type) === false);
  const names = others.map(({ tensor, type }) => `${tensor.name} (${type})`);
  return [
    ...(ranges.asked && others.length > 0
      ? [
          `${others.length} tensor${others.length === 1 ? ' is' : 's are'} coded as ggml does, as the chosen ranges are not ` +
            `for ${others.length === 1 ? 'its type' : 'their types'}: ${listed(names, NAMED)} (--pure makes all matrices one type)`,
        ]
      : []),
    ...(method === 'gptq' ? [] : trainedTypes.flatMap((of) => trainedWarning(of, coded))),
  ];
}
