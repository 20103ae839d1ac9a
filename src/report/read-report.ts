import { QuantizeError } from '../core/errors.ts';
import type { Report } from './report.ts';

/** A file is not a report that this version can show. */
export class ReportFileError extends QuantizeError {}

/**
 * What a value has to be; a name that ends in '?' may be null or absent too. A list has elements of one shape, of which with
 * 'some' there is at least one. A count is not negative.
 */
type Shape =
  | 'count'
  | 'number'
  | 'number?'
  | 'string'
  | 'string?'
  | 'boolean'
  | readonly [Shape, 'some'?]
  | Fields
  | Optional;
type Fields = { readonly [name: string]: Shape };
/** Null, absent, or of this shape. */
class Optional {
  readonly shape: Shape;

  constructor(shape: Shape) {
    this.shape = shape;
  }
}
const optional = (shape: Shape) => new Optional(shape);

const activationsFrom = {
  corpus: { corpus: 'string', tokens: 'count', windows: 'count', context: 'number', sha256: 'string' },
  percentile: 'number',
} as const;
const evaluationBase = {
  perplexity: 'number',
  divergence: { mean: 'number', p99: 'number' },
  topAgreement: 'number',
} as const;
const evaluation = {
  text: 'string',
  sha256: 'string',
  context: 'number',
  perplexity: 'number',
  standardError: 'number',
  base: optional(evaluationBase),
  weightBits: 'number?',
  activations: optional([
    {
      ...{ scheme: 'string', bits: 'number', perplexity: 'number', standardError: 'number' },
      base: optional(evaluationBase),
      floatInputs: optional({ matrices: 'count', of: 'count' }),
      operations: optional({
        ...{ ternaryMatrices: 'count', otherMatrices: 'count', additions: 'count', skippedZeros: 'count' },
        ...{ multiplications: 'count', multiplicationsSaved: 'count' },
      }),
    },
  ]),
  activationsFrom: optional(activationsFrom),
} as const;
const metrics = {
  mse: 'number',
  rmse: 'number',
  relativeError: 'number?',
  sqnrDb: 'number?',
  maxError: { value: 'number' },
} as const;
const distribution = {
  min: 'number',
  max: 'number',
  below: 'count',
  above: 'count',
  counts: ['count', 'some'],
} as const;
const ranges = {
  clipped: 'number',
  zeros: 'number',
  outliers: { weights: 'count', relativeError: 'number?' },
  bulk: { weights: 'count', relativeError: 'number?' },
} as const;
const ends = { least: 'number', most: 'number' } as const;

/** What pages and tables read. */
const shown: Shape = {
  model: {
    fileType: 'string',
    method: 'string',
    notRunnableReason: 'string?',
    tensors: 'count',
    quantizedTensors: 'count',
    importanceTensors: 'count',
    weights: 'count',
    bytesBefore: 'count',
    bytesAfter: 'count',
    fileBytes: 'count',
    bitsPerWeight: 'number',
    compressionRatio: 'number',
    calibration: optional({
      corpus: 'string',
      tokens: 'count',
      windows: 'count',
      context: 'number',
      sha256: 'string',
      rounding: 'string?',
      actOrder: 'boolean',
      damping: 'number',
    }),
    outputErrors: optional({ tensors: 'count', nearest: 'number', importance: 'number', result: 'number' }),
    evaluation: optional(evaluation),
    ranges: optional({ ...ranges, tensors: 'count', weights: 'count' }),
    metrics: { ...metrics, maxError: { value: 'number', tensor: 'string' } },
  },
  fallbacks: [
    { tensor: 'string', from: 'string', to: 'string', extraBitsPerWeight: 'number', extraBytes: 'count' },
  ],
  notes: ['string'],
  warnings: ['string'],
  tensors: [
    {
      name: 'string',
      type: 'string',
      quantized: 'boolean',
      weights: 'count',
      bitsPerWeight: 'number',
      bytesAfter: 'count',
      ranges: optional({
        ...ranges,
        rule: 'string',
        granularity: 'string',
        symmetry: 'string?',
        center: 'boolean',
        low: ends,
        high: ends,
      }),
      calibration: optional({
        tokens: 'count',
        damping: 'number',
        escalations: 'count',
        condition: 'number?',
        deadChannels: 'count',
        outputError: { nearest: 'number?', importance: 'number?', result: 'number' },
        rounding: 'string',
      }),
      metrics,
      histogram: optional({
        binWidth: 'number',
        first: 'number',
        counted: 'count',
        before: distribution,
        after: distribution,
        group: { start: 'number', weights: 'count', values: ['number'] },
      }),
    },
  ],
  activations: optional([
    { tensor: 'string', absmax: 'number', percentile: 'number', mse: 'number', entropy: 'number' },
  ]),
  activationsFrom: optional(activationsFrom),
  hashes: {
    inputs: [{ name: 'string', bytes: 'count', headerSha256: 'string?', sha256: 'string?' }],
    planSha256: 'string',
    outputs: [{ bytes: 'count', headerSha256: 'string', sha256: 'string?' }],
  },
  run: {
    startedAt: 'string',
    seconds: {
      read: 'number',
      plan: 'number',
      calibrate: 'number',
      quantize: 'number',
      write: 'number',
      total: 'number',
    },
    threads: 'number',
    kernels: 'string',
    input: 'string',
    host: {
      platform: 'string',
      arch: 'string',
      processor: 'string',
      cpus: 'number',
      node: 'string',
      version: 'string',
    },
    peakRssBytes: 'count',
    command: optional(['string']),
  },
};

/**
 * A JSON report from the text of a file.
 *
 * @throws ReportFileError when it is none, is of another version, or lacks something that is shown
 */
export function parseReport(text: string, file: string): Report {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ReportFileError('the report is no JSON', { file, cause, advice: notAReport });
  }
  const { schema, version } = (value ?? {}) as Partial<Report>;
  if (schema !== 'gguf-quantize/report' || version !== 1) {
    throw new ReportFileError('not a report of this tool', {
      file,
      expected: 'schema "gguf-quantize/report", version 1',
      got: `schema ${JSON.stringify(schema)}, version ${JSON.stringify(version)}`,
      advice: notAReport,
    });
  }
  const problem = problemOf(value, shown, '');
  if (problem === null) return value as Report;
  throw new ReportFileError('the report lacks something', {
    file,
    ...problem,
    advice: 'it was changed, or made by another version of this package: make it again',
  });
}

const notAReport = 'pass files that `quantize MODEL --report FILE.json` wrote';

/** The first place where a value is not of a shape, or null. */
function problemOf(value: unknown, shape: Shape, path: string): { expected: string; got: string } | null {
  if (shape instanceof Optional) {
    return value === null || value === undefined ? null : problemOf(value, shape.shape, path);
  }
  const wrong = (expected: string) => ({ expected: `${path.slice(1)}: ${expected}`, got: kindOf(value) });
  if (shape === 'count') {
    if (typeof value !== 'number') return wrong('number');
    return value >= 0 ? null : { ...wrong('0 or more'), got: String(value) };
  }
  if (typeof shape === 'string') {
    if (shape.endsWith('?') && (value === null || value === undefined)) return null;
    const type = shape.replace('?', '');
    return kindOf(value) === type ? null : wrong(type);
  }
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return wrong('list');
    const [element, some] = shape as readonly [Shape, 'some'?];
    if (some && value.length === 0) return { ...wrong('at least one element'), got: 'none' };
    return firstOf(value.map((item, i) => () => problemOf(item, element, `${path}[${i}]`)));
  }
  if (kindOf(value) !== 'object') return wrong('object');
  const fields = value as Record<string, unknown>;
  return firstOf(
    Object.entries(shape as Fields).map(
      ([name, each]) =>
        () =>
          problemOf(fields[name], each, `${path}.${name}`),
    ),
  );
}

function firstOf<T>(checks: readonly (() => T | null)[]): T | null {
  for (const check of checks) {
    const found = check();
    if (found !== null) return found;
  }
  return null;
}

const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'list' : value === undefined ? 'nothing' : typeof value;
