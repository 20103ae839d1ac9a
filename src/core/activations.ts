import type { GemmFacts, ImportanceRun } from './calibration.ts';
import { UsageError } from './errors.ts';

/** How a static range is chosen from what a calibration text gave; docs/activations.md defines each. */
export const rangeMethods = ['absmax', 'percentile', 'mse', 'entropy'] as const;
export type RangeMethod = (typeof rangeMethods)[number];

/** Bits of a simulated activation. */
export const activationBits = [8, 4] as const;
export type ActivationBits = (typeof activationBits)[number];

/** Codes around 0 with a scale, or codes from 0 on with a scale and a zero point. */
export interface ActivationGrid {
  readonly bits: ActivationBits;
  readonly symmetric: boolean;
}

/** What becomes of the inputs of every product with a matrix, before it is calculated. */
export type ActivationScheme =
  | { readonly kind: 'none' }
  /** Products of integers with ternary weights, by additions (BitNet b1.58); other matrices stay float. */
  | { readonly kind: 'bitlinear' }
  /** A scale for each token, or each run of a token's values that llama.cpp's CPU code gives one. */
  | ({ readonly kind: 'dynamic' | 'dynamic-block' } & ActivationGrid)
  /** One scale for all inputs of a matrix, from calibration. */
  | ({ readonly kind: 'static'; readonly range: RangeMethod } & ActivationGrid);

/** Largest code: of restricted codes around 0, or of codes from 0 on. */
export const highestCode = ({ bits, symmetric }: ActivationGrid): number =>
  symmetric ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;

/** Bits that an activation takes under a scheme; 16 stands for a float. */
export function bitsOf(scheme: ActivationScheme): number {
  if (scheme.kind === 'none') return 16;
  return scheme.kind === 'bitlinear' ? 8 : scheme.bits;
}

const DEFAULT_RANGE: RangeMethod = 'mse';
const SYNTAX =
  'none, dynamic[:BITS][:asymmetric], dynamic-block[:BITS][:asymmetric], static[:BITS][:asymmetric][:RANGE] or bitlinear; ' +
  `BITS ${activationBits.join(' or ')} (default 8), RANGE ${rangeMethods.join(', ')} (default ${DEFAULT_RANGE})`;

/**
 * Reads a scheme as `activationsName` writes it; words behind the first may be left out, in any order.
 *
 * @throws UsageError
 */
export function parseActivations(text: string): ActivationScheme {
  const refuse = (): never => {
    throw new UsageError('no such quantization of activations', { expected: SYNTAX, got: text });
  };
  const [kind, ...words] = text.split(':');
  if (kind === 'none' || kind === 'bitlinear') return words.length === 0 ? { kind } : refuse();
  if (kind !== 'dynamic' && kind !== 'dynamic-block' && kind !== 'static') return refuse();
  let bits: ActivationBits | undefined;
  let symmetric: boolean | undefined;
  let range: RangeMethod | undefined;
  for (const word of words) {
    const number = activationBits.find((each) => String(each) === word);
    const method = rangeMethods.find((each) => each === word);
    if (number !== undefined && bits === undefined) bits = number;
    else if ((word === 'symmetric' || word === 'asymmetric') && symmetric === undefined) {
      symmetric = word === 'symmetric';
    } else if (method !== undefined && range === undefined && kind === 'static') range = method;
    else refuse();
  }
  const grid: ActivationGrid = { bits: bits ?? 8, symmetric: symmetric ?? true };
  return kind === 'static' ? { kind, ...grid, range: range ?? DEFAULT_RANGE } : { kind, ...grid };
}

/** "static:8:asymmetric:mse": a scheme as the command line takes it, nothing left out. */
export function activationsName(scheme: ActivationScheme): string {
  if (scheme.kind === 'none' || scheme.kind === 'bitlinear') return scheme.kind;
  const { kind, bits, symmetric } = scheme;
  const words = [kind, String(bits), ...(symmetric ? [] : ['asymmetric'])];
  return [...words, ...(scheme.kind === 'static' ? [scheme.range] : [])].join(':');
}

/** A static range, and the codes over it. */
export interface StaticRange {
  /** What codes reach; of a symmetric grid -high .. high. */
  readonly low: number;
  readonly high: number;
  /** Float32. An input x has the code round(x / scale) + zeroPoint. */
  readonly scale: number;
  readonly zeroPoint: number;
  /** E[(x - q)^2] / E[x^2] over the calibration text. */
  readonly relativeError: number;
}

/** The inputs of some matrices, which share them, over a calibration text. */
export interface ActivationGroup {
  /** Names in GGUF files. */
  readonly tensors: readonly string[];
  /** Which expert of stacked ones; null where they are not stacked. */
  readonly expert: number | null;
  /** Length of an input. */
  readonly columns: number;
  /** Inputs seen; 0 for an expert that no token was sent to. */
  readonly inputs: number;
  /** Of all their values, and 0. */
  readonly min: number;
  readonly max: number;
  readonly ranges: readonly (ActivationGrid & {
    readonly method: RangeMethod;
    readonly range: StaticRange;
  })[];
}

/** What `quantize calibrate` finds, and its file holds. */
export interface ActivationStatistics {
  readonly corpus: Omit<ImportanceRun['corpus'], keyof GemmFacts>;
  /** Share of the values that the range of the method `percentile` holds, in percent. */
  readonly percentile: number;
  /** In the order of the calculation. */
  readonly groups: readonly ActivationGroup[];
}

/** The text that statistics are from, and what their range `percentile` holds. */
export type ActivationSource = Omit<ActivationStatistics, 'groups'>;

/** The facts of a source alone, whatever else a file of statistics holds. */
export const sourceOf = ({ corpus, percentile }: ActivationStatistics): ActivationSource => ({
  corpus,
  percentile,
});

/** What a file of statistics says it is. */
export const STATISTICS = { schema: 'gguf-quantize/activations', version: 1 } as const;

/** What `collectActivations` gives. */
export interface ActivationRun extends GemmFacts {
  readonly statistics: ActivationStatistics;
  /** What the user should know of the text, one sentence each. */
  readonly warnings: readonly string[];
}

/** What identifies the inputs of a matrix. */
export const inputKey = (tensor: string, expert: number | null): string =>
  expert === null ? tensor : `${tensor}, expert ${expert}`;

/** Whether a tensor holds static scales of the inputs of another, as llama.cpp names them. */
export const isInputScale = (name: string): boolean => name.endsWith('.input_scale');

/** Static scales of the inputs of a matrix, as they are written beside it. */
export interface InputScale extends ActivationGrid {
  readonly method: RangeMethod;
  /** One, or one for each expert. */
  readonly scales: readonly number[];
}

/** The ranges of one choice for the inputs of each matrix, by `inputKey`. */
export function staticRanges(
  { groups }: Pick<ActivationStatistics, 'groups'>,
  grid: ActivationGrid,
  method: RangeMethod,
): Map<string, StaticRange> {
  const found = new Map<string, StaticRange>();
  for (const { tensors, expert, ranges } of groups) {
    const own = ranges.find(
      (each) => each.method === method && each.bits === grid.bits && each.symmetric === grid.symmetric,
    );
    if (own === undefined) continue;
    for (const tensor of tensors) found.set(inputKey(tensor, expert), own.range);
  }
  return found;
}

/**
 * Ranges of the inputs of one tensor over the calibration text: largest magnitudes, beyond which a value is clipped,
 * by four ways of choosing them. In units of the activations.
 */
export interface ActivationRange {
  /** Name of the tensor whose inputs they are. */
  readonly tensor: string;
  readonly absmax: number;
  readonly percentile: number;
  /** Of least mean squared error. */
  readonly mse: number;
  /** Of least Kullback-Leibler divergence. */
  readonly entropy: number;
}
