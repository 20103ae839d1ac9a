import type { TypeName } from './types.ts';

/**
 * How the weights of a tensor are distributed, before (the source as float32) and after (what the written blocks
 * decode to), in the same bins. Bin i covers magnitudes [(first + i) w, (first + i + 1) w) above 0 and is mirrored
 * below, w the bin width, a power of two.
 */
export interface Histogram {
  readonly binWidth: number;
  /** Number of the first bin; bin 0 begins at 0, bin -1 ends there. */
  readonly first: number;
  /** Weights that were counted: all, or of a large tensor a part, spread evenly over it. */
  readonly counted: number;
  readonly before: Distribution;
  readonly after: Distribution;
  /** The values that the weights of one group take, a group being those that share one scale. */
  readonly group: ScaleGroup;
}

export interface Distribution {
  /** Of all weights, counted or not. */
  readonly min: number;
  readonly max: number;
  /** Weights below the first bin, and above the last. */
  readonly below: number;
  readonly above: number;
  readonly counts: readonly number[];
}

/** Weights of a tensor that share one scale, and the distinct values they decode to. */
export interface ScaleGroup {
  /** Place in the tensor, and number of weights. */
  readonly start: number;
  readonly weights: number;
  /** Ascending. */
  readonly values: readonly number[];
}

/** Types of 16 weights a scale. */
const sixteen: ReadonlySet<TypeName> = new Set<TypeName>([
  'Q2_K',
  'Q3_K',
  'Q6_K',
  'NVFP4',
  'IQ2_XS',
  'IQ2_S',
  'IQ1_M',
]);
/** Types whose blocks are longer than 32 weights and have one scale. */
const whole: Partial<Record<TypeName, number>> = { Q1_0: 128, Q2_0: 64, TQ1_0: 256, TQ2_0: 256 };

/** Weights that share one scale in blocks of a type; of a type whose scales belong to rows, as many as make a picture. */
export const groupWeights = (type: TypeName): number => (sixteen.has(type) ? 16 : (whole[type] ?? 32));
