import type { PlannedCalibration, Rounding } from '../core/calibration.ts';
import { UsageError } from '../core/errors.ts';
import type { EncoderName } from '../core/plan.ts';
import { isRangedType } from '../core/ranges.ts';
import { didYouMean } from '../core/suggest.ts';
import type { TypeName } from '../core/types.ts';
import { takesGptq } from './calibration.ts';
import { type Mixture, type MixtureName, mixtures, parseMixture } from './mixtures.ts';
import { type RangeChoice, type RangeOptions, resolveRanges } from './ranges.ts';

/** Named choices of grid, range and rounding (`--method`). */
export const methods = ['absmax', 'zero-point', 'kquant', 'ternary', 'binary', 'gptq'] as const;
export type Method = (typeof methods)[number];

/** What `--type`, `--method`, `--bits` and the options about ranges say, as typed. */
export interface SchemeOptions extends RangeOptions {
  readonly type?: string | undefined;
  readonly method?: string | undefined;
  readonly bits?: number | undefined;
  /** How codes are chosen under a method that calibrates. */
  readonly rounding?: Rounding | undefined;
  /** Every matrix gets the mixture's base type. */
  readonly pure?: boolean | undefined;
}

export interface Scheme {
  readonly mixture: Mixture;
  /** The preset; "none" for float types, "ggml" for types that no preset covers. */
  readonly method: Method | 'none' | 'ggml';
  /** Whether stock llama.cpp can run such a file; if not, why. */
  readonly runnable: { readonly yes: true } | { readonly yes: false; readonly reason: string };
  /** Null for a method that asks nothing of the model's inputs. */
  readonly calibration: PlannedCalibration | null;
  /** How ranges are chosen. */
  readonly ranges: RangeChoice;
  /** How weights are coded onto a type. */
  encoderFor(type: TypeName): EncoderName;
  /** What was decided for the user, one sentence each. */
  readonly notes: readonly string[];
}

/** Eight-bit codes with a float scale and an integer zero point for each row: no GGUF block type holds them. */
const zeroPoint8: Mixture = { name: 'I8', fileType: null, base: 'I8' };

interface Preset {
  /** What `--bits` selects; empty for a preset of one width. */
  readonly byBits: Readonly<Record<number, Mixture>>;
  /** What is taken when neither bits nor type are given. */
  readonly usual: Mixture;
  /** The types it may be combined with. */
  readonly types: readonly MixtureName[];
  readonly encoders: Readonly<Partial<Record<TypeName, EncoderName>>>;
  /** Why other types cannot be had by it. */
  readonly refusal?: string;
  /** What to do for other `--bits`. */
  readonly otherBits?: string;
}

const { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K_M, Q4_K_M, Q5_K_M, Q6_K, TQ2_0, Q1_0 } = mixtures;

const kquantBits = { 2: Q2_K, 3: Q3_K_M, 4: Q4_K_M, 5: Q5_K_M, 6: Q6_K, 8: Q8_0 };

const presets: Readonly<Record<Method, Preset>> = {
  absmax: {
    byBits: { 4: Q4_0, 5: Q5_0, 8: Q8_0 },
    usual: Q4_0,
    types: ['Q4_0', 'Q5_0', 'Q8_0', 'Q2_0', 'TQ1_0', 'TQ2_0'],
    encoders: {},
  },
  'zero-point': {
    // A Q2_K holds one scale and one minimum for all its sub-blocks exactly. Nothing llama.cpp runs does so at 3, 6 or 7.
    byBits: { 2: Q2_K, 4: Q4_1, 5: Q5_1, 8: zeroPoint8 },
    usual: Q4_1,
    types: ['Q4_1', 'Q5_1'],
    encoders: { I8: 'I8:zero-point' },
    otherBits:
      'no type that llama.cpp runs has codes of other widths over a float minimum; --method kquant has 3 and 6 bits',
  },
  kquant: {
    byBits: kquantBits,
    usual: Q4_K_M,
    types: [
      ...(['Q2_K', 'Q2_K_S', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M'] as const),
      ...(['Q6_K', 'Q8_0'] as const),
    ],
    encoders: {},
  },
  ternary: {
    byBits: {},
    usual: TQ2_0,
    types: ['TQ1_0', 'TQ2_0'],
    encoders: {},
  },
  // ggml codes Q1_0 as the mean of |x| and signs already.
  binary: { byBits: {}, usual: Q1_0, types: ['Q1_0'], encoders: {} },
  // IQ3_M keeps half of its weights in types of codebooks; the mixtures below it have next to nothing else.
  gptq: {
    byBits: kquantBits,
    usual: Q4_K_M,
    types: [
      ...(Object.keys(mixtures) as MixtureName[]).filter((name) => takesGptq(mixtures[name].base)),
      'IQ3_M',
    ],
    encoders: {},
    refusal: 'GPTQ chooses codes one weight at a time, which the codes of this type do not allow',
  },
};

/**
 * Turns `--type`, `--method` and `--bits` into a mixture and a way of coding each type. A type wins over bits; without
 * either it is the preset's usual type, and without anything Q4_K_M. UsageError, with the list of what there is, for
 * unknown names, for bits the method does not have and for a type that contradicts it. `canWrite` says which types the
 * list may name.
 */
export function resolveScheme(options: SchemeOptions, canWrite?: (type: TypeName) => boolean): Scheme {
  const { type, method, bits, pure } = options;
  const chosen = method === undefined ? undefined : parseMethod(method);
  if (type !== undefined) {
    const mixture = parseMixture(type, canWrite);
    if (chosen !== undefined && !presets[chosen].types.includes(mixture.name as MixtureName)) {
      throw new UsageError(`--method ${chosen} and --type ${mixture.name} contradict each other`, {
        expected: `${presets[chosen].types.join(' or ')} with ${chosen}`,
        got: presets[chosen].refusal,
        advice: `leave out --method to get ${mixture.name} as llama.cpp codes it`,
      });
    }
    if (chosen === 'gptq' && pure && !takesGptq(mixture.base)) {
      throw new UsageError(`--method gptq and --type ${mixture.name} --pure contradict each other`, {
        got: `${mixture.base} for every matrix: ${presets.gptq.refusal}`,
        advice: 'leave out --pure',
      });
    }
    const notes = bits === undefined ? [] : [`--type ${mixture.name} wins over --bits ${bits}`];
    return scheme(mixture, chosen ?? methodOf(mixture), notes, options);
  }
  const preset = chosen ?? 'kquant';
  const { byBits, usual } = presets[preset];
  if (bits === undefined) {
    const unnamed = method === undefined ? `${usual.name} (method ${preset})` : usual.name;
    const note = `no --type or --bits was given: ${unnamed}`;
    return scheme(usual, preset, preset === 'ternary' || preset === 'binary' ? [] : [note], options);
  }
  const mixture = byBits[bits];
  if (mixture === undefined) {
    const widths = Object.entries(byBits).map(([width, { name }]) => `${width} (${name})`);
    throw new UsageError(`--method ${preset} has no --bits ${bits}`, {
      expected: widths.length > 0 ? widths.join(', ') : `no --bits: ${preset} is ${usual.name}`,
      advice: presets[preset].otherBits ?? 'choose one of these, or name a type by --type',
    });
  }
  return scheme(mixture, preset, [], options);
}

/** Whether a method calibrates. UsageError for an unknown one. */
export const calibrates = (method: string | undefined): boolean =>
  method !== undefined && parseMethod(method) === 'gptq';

function parseMethod(text: string): Method {
  const found = methods.find((method) => method === text.trim().toLowerCase());
  if (found) return found;
  throw new UsageError(`no method is named "${text}"`, {
    expected: methods.join(', '),
    advice: didYouMean(text, methods),
  });
}

/** The preset whose coding a type has anyway: never one that calibrates. */
function methodOf({ name, base }: Mixture): Scheme['method'] {
  if (base === 'F32' || base === 'F16' || base === 'BF16') return 'none';
  return (
    methods.find((method) => method !== 'gptq' && presets[method].types.includes(name as MixtureName)) ??
    'ggml'
  );
}

function scheme(
  mixture: Mixture,
  method: Scheme['method'],
  notes: readonly string[],
  options: SchemeOptions,
): Scheme {
  const encoders = method === 'none' || method === 'ggml' ? {} : presets[method].encoders;
  const ranges = resolveRanges(method, mixture.base, options);
  return {
    mixture,
    method,
    runnable:
      mixture === zeroPoint8
        ? {
            yes: false,
            reason:
              'no GGUF block type has an integer zero point, so the codes are I8 with .scale and .zero_point tensors',
          }
        : { yes: true },
    calibration: method === 'gptq' ? { method, rounding: options.rounding ?? 'gptq' } : null,
    ranges,
    encoderFor: (type) =>
      isRangedType(type) && ranges.specFor(type) !== null ? `${type}:range` : (encoders[type] ?? type),
    notes,
  };
}
