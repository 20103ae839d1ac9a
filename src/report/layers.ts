import type { LayerError } from '../core/evaluation.ts';

/** What stands for the inputs as they are, among the schemes. */
const WEIGHTS_ONLY = 'weights only';

/** The errors of one layer's matrices together. */
export interface LayerMeans {
  /** "0", or "output" for the matrix behind the last layer. */
  readonly layer: string;
  readonly matrices: number;
  /** Mean of the matrices' relative errors, in the order of `errorNames`; null where none has one. */
  readonly errors: readonly (number | null)[];
}

/** What the errors of each matrix are called: weights alone, then each scheme. */
export const errorNames = ([first]: readonly LayerError[]): string[] => [
  WEIGHTS_ONLY,
  ...first.activations.map(({ scheme }) => scheme),
];

/** Errors of a matrix, in the order of `errorNames`. */
export const errorsOf = ({ weightsOnly, activations }: LayerError): (number | null)[] => [
  weightsOnly,
  ...activations.map(({ error }) => error),
];

/** "blk.0.ffn_down_exps.weight expert 3". */
export const matrixName = ({ tensor, expert }: LayerError): string =>
  expert === null ? tensor : `${tensor} expert ${expert}`;

/** Means over the matrices of each layer, of stacked experts over each expert, in the order of the calculation. */
export function meansByLayer(layers: readonly LayerError[]): LayerMeans[] {
  return [...new Set(layers.map(({ layer }) => layer))].map((number) => {
    const matrices = layers.filter(({ layer }) => layer === number);
    return {
      layer: number === null ? 'output' : String(number),
      matrices: matrices.length,
      errors: errorNames(layers).map((_, i) => meanOf(matrices.map((matrix) => errorsOf(matrix)[i]))),
    };
  });
}

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** The largest error of a matrix under any scheme; -1 where it has none. */
export const largestError = (matrix: LayerError): number =>
  Math.max(-1, ...errorsOf(matrix).map((error) => error ?? -1));
