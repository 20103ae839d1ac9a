import { InvalidArgumentError } from 'commander';
import { SUM_RANGE } from '../core/error-sums.ts';
import type { QuantizeOptions } from '../pipeline.ts';

/** Options of the main command as commander hands them over. */
export interface QuantizeFlags {
  output?: string;
  type?: string;
  method?: string;
  bits?: number;
  pure?: boolean;
  leaveOutputTensor?: boolean;
  outputTensorType?: string;
  tokenEmbeddingType?: string;
  tensorType?: { pattern: string; type: string }[];
  imatrix?: string;
  includeWeights?: string[];
  excludeWeights?: string[];
  allowRequantize?: boolean;
  overrideKv?: string[];
  pruneLayers?: number[];
  /** Set by `quantize dequantize`. */
  decode?: boolean;
  threads?: number;
  chunkSize?: number;
  kernels?: 'auto' | 'simd' | 'scalar';
  force?: boolean;
  dryRun?: boolean;
  report?: string;
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
  maxError?: number;
  minSqnr?: number;
}

/** What the pipeline has to know of the flags; the rest is the command line's own. */
export function pipelineOptions(input: string, flags: QuantizeFlags): QuantizeOptions {
  const {
    tensorType,
    dryRun: _d,
    report: _r,
    json: _j,
    quiet: _q,
    verbose: _v,
    maxError: _e,
    minSqnr: _s,
    ...rest
  } = flags;
  return { input, ...rest, ...(tensorType && { tensorTypes: tensorType }) };
}

/** Parser for whole numbers of at least `least`, multiples of `step`. */
export const wholeNumber =
  (least: number, step = 1) =>
  (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < least || value % step !== 0) {
      const multiple = step === 1 ? '' : `, a multiple of ${step}`;
      throw new InvalidArgumentError(`Expected a whole number of at least ${least}${multiple}.`);
    }
    return value;
  };

export const parseChunkSize = wholeNumber(SUM_RANGE, SUM_RANGE);

/** Parser for finite decimal numbers of at least `least`. */
export const decimal =
  (least = Number.NEGATIVE_INFINITY) =>
  (text: string): number => {
    const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (!Number.isFinite(value) || value < least) {
      const bound = Number.isFinite(least) ? ` of at least ${least}` : '';
      throw new InvalidArgumentError(`Expected a number${bound}.`);
    }
    return value;
  };

/** Parser for the repeatable regex=type; the type is what follows the last '='. */
export function parseTensorType(
  text: string,
  previous: { pattern: string; type: string }[] = [],
): { pattern: string; type: string }[] {
  const cut = text.lastIndexOf('=');
  const [pattern, type] = [text.slice(0, cut), text.slice(cut + 1)];
  if (cut <= 0 || type === '') throw new InvalidArgumentError("Expected regex=type, as in 'ffn_down=Q6_K'.");
  try {
    new RegExp(pattern);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
  return [...previous, { pattern, type }];
}

/** Parser for a repeatable option: its values in order. */
export const collect = (text: string, previous: string[] = []): string[] => [...previous, text];

/** Parser for layer numbers with commas between: each once, ascending. */
export function parseLayers(text: string): number[] {
  const layers = text.split(',').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : Number.NaN));
  if (!layers.every(Number.isSafeInteger))
    throw new InvalidArgumentError("Expected layer numbers, as in '3,5,7'.");
  return [...new Set(layers)].sort((a, b) => a - b);
}

/** Parser for the types `dequantize` writes, in any case. */
export function parseFloatType(text: string): string {
  const type = text.trim().toUpperCase();
  if (!['F32', 'F16', 'BF16'].includes(type)) throw new InvalidArgumentError('Expected F32, F16 or BF16.');
  return type;
}
