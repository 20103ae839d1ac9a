import { InvalidArgumentError } from 'commander';
import {
  type ActivationScheme,
  activationsName,
  parseActivations,
  type RangeMethod,
} from '../core/activations.ts';
import type { GemmKind } from '../core/calibration.ts';
import { SUM_RANGE } from '../core/error-sums.ts';
import { UsageError } from '../core/errors.ts';
import type { QuantizeOptions } from '../pipeline.ts';

/** Options of the main command as commander hands them over. */
export interface QuantizeFlags {
  output?: string;
  type?: string;
  method?: string;
  bits?: number;
  pure?: boolean;
  range?: string;
  granularity?: string;
  symmetric?: string;
  center?: boolean;
  leaveOutputTensor?: boolean;
  outputTensorType?: string;
  tokenEmbeddingType?: string;
  tensorType?: { pattern: string; type: string }[];
  tokenizerPre?: string;
  imatrix?: string;
  inputScales?: string;
  inputScaleRange?: RangeMethod;
  includeWeights?: string[];
  excludeWeights?: string[];
  calibration?: string[];
  calibrationField?: string;
  calibrationTokens?: number;
  context?: number;
  seed?: number;
  damp?: number;
  correction?: number;
  actOrder?: boolean;
  rounding?: 'gptq' | 'nearest';
  memory?: number;
  gemm?: GemmKind;
  /** A text, evaluated after the run. */
  eval?: string;
  /** Schemes under which it is evaluated too. */
  activations?: string[];
  stats?: string;
  allowRequantize?: boolean;
  overrideKv?: string[];
  pruneLayers?: number[];
  /** Set by `quantize dequantize`. */
  decode?: boolean;
  threads?: number;
  chunkSize?: number;
  kernels?: 'auto' | 'simd' | 'scalar';
  splitMaxSize?: number;
  splitMaxTensors?: number;
  split?: { part: number; of: number };
  keepSplit?: boolean;
  force?: boolean;
  resume?: boolean;
  dryRun?: boolean;
  /** Files; one that ends in .html is a page. */
  report?: string[];
  histograms?: boolean;
  /** The words of the command line, for the report. */
  command?: readonly string[];
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
  maxError?: number;
  minSqnr?: number;
}

/** @throws UsageError for options that contradict each other, beyond what the stages check. */
export function requireCompatible(flags: QuantizeFlags): void {
  if (flags.quiet && flags.verbose) throw new UsageError('--quiet and --verbose contradict each other');
  if (!flags.dryRun) return;
  const asked = [
    ['--report', flags.report],
    ['--histograms', flags.histograms],
    ['--max-error', flags.maxError],
    ['--min-sqnr', flags.minSqnr],
  ].find(([, value]) => value !== undefined);
  if (asked !== undefined) {
    throw new UsageError(`--dry-run quantizes nothing, so there is no error for ${asked[0]}`, {
      advice: 'the plan as JSON: --dry-run --json',
    });
  }
}

/** What the pipeline has to know of the flags; the rest is the command line's own. */
export function pipelineOptions(input: string, flags: QuantizeFlags): QuantizeOptions {
  const {
    tensorType,
    eval: evalText,
    activations,
    dryRun: _d,
    report: _r,
    command: _c,
    json: _j,
    quiet: _q,
    verbose: _v,
    maxError: _e,
    minSqnr: _s,
    ...rest
  } = flags;
  return {
    input,
    ...rest,
    ...(tensorType && { tensorTypes: tensorType }),
    ...(evalText !== undefined && { evalText }),
    ...(activations && { activations: parseSchemes(activations) }),
  };
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

/** Parser for percentages above 0. */
export function parsePercent(text: string): number {
  const value = /^(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
  if (value > 0 && value <= 100) return value;
  throw new InvalidArgumentError('Expected a number of more than 0, up to 100.');
}

/** Parser for sizes as llama-gguf-split takes them: N(M|G), powers of 1000. */
export function parseSplitSize(text: string): number {
  const [, digits, unit] = /^(\d+)([MG])$/.exec(text) ?? [];
  const bytes = Number(digits) * (unit === 'G' ? 1e9 : 1e6);
  if (!Number.isSafeInteger(bytes) || bytes === 0) {
    throw new InvalidArgumentError("Expected a size in megabytes or gigabytes, as in '500M' or '4G'.");
  }
  return bytes;
}

/** Parser for sizes of memory: N(K|M|G|T), powers of 1024; N may be a decimal number. */
export function parseMemory(text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT])(?:i?B)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(digits) * 1024 ** ('KMGT'.indexOf(unit?.toUpperCase()) + 1));
  if (!Number.isSafeInteger(bytes) || bytes === 0) {
    throw new InvalidArgumentError("Expected a size in kilobytes to terabytes, as in '500M' or '2G'.");
  }
  return bytes;
}

/** Parser for implementations of matrix products. */
export function parseGemm(text: string): GemmKind {
  if (/^(auto|wasm|wasm-relaxed|blas|blas:.+)$/s.test(text)) return text as GemmKind;
  throw new InvalidArgumentError('Expected auto, wasm, wasm-relaxed, blas or blas:PATH.');
}

/** Parser for K/N. */
export function parsePart(text: string): { part: number; of: number } {
  const [, part, of] = /^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  if (of === undefined || Number(part) < 1 || Number(part) > Number(of)) {
    throw new InvalidArgumentError("Expected K/N with K from 1 to N, as in '2/8'.");
  }
  return { part: Number(part), of: Number(of) };
}

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

/** Quantizations of activations by their names, each once; `none`, which every evaluation has, left out. */
export function parseSchemes(names: readonly string[]): ActivationScheme[] {
  const schemes = names.map(parseActivations).filter(({ kind }) => kind !== 'none');
  return [...new Map(schemes.map((scheme) => [activationsName(scheme), scheme])).values()];
}

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
