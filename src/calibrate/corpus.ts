import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { QuantizeError, UsageError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import { uniform } from '../core/random.ts';
import { documents, type Part } from './documents.ts';
import { listTextFiles, type TextFile, TextReader } from './text-files.ts';
import type { Tokenizer } from './tokenizer.ts';

/** The calibration text does not fill one window. */
export class CalibrationTooShortError extends QuantizeError {}

export interface CorpusOptions {
  /** Files (text, or .jsonl) and directories of such; the bundled text where there are none. */
  readonly sources: readonly string[];
  /** Field of a JSON line that holds its text or messages; null: "text", or else "messages". */
  readonly field: string | null;
  /** Most tokens, in whole windows; null: all there are. */
  readonly tokens: number | null;
  /** Tokens in a window; null: 512. Never more than the model was trained on. */
  readonly context: number | null;
  readonly seed: number;
  /** What the option for `tokens` is called, for errors; --calibration-tokens unless told. */
  readonly tokensOption?: string;
}

export interface Corpus {
  /** Token ids, `context` in each: a sequence of its own, which begins with BOS where the model adds one. */
  readonly windows: readonly Int32Array[];
  readonly context: number;
  /** In all windows together. */
  readonly tokens: number;
  /** What the report calls it. */
  readonly name: string;
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** How many bytes of the files were turned into tokens, at least as many as the windows hold. */
  readonly bytesRead: number;
  /** Of the ids as 32-bit integers, little-endian. */
  readonly sha256: string;
  readonly warnings: readonly string[];
}

const DEFAULT_CONTEXT = 512;
/** Bytes read for each token that is wanted, three or four times what English takes, before a text is sampled. */
const BYTES_PER_TOKEN = 16;
const MIN_BUDGET = 2 ** 20;
/** Least bytes in a sample, and how many for each token of a window: each fills several windows. */
const MIN_SLICE = 2 ** 14;
const SLICE_PER_TOKEN = 32;
/** Share of the wanted tokens below which the user should know. */
const MUCH = 0.75;
/** A longer text is several documents. */
const MAX_DOCUMENT = 2 ** 22;

/**
 * Reads the text that calibration sees: tokens of all documents one after another, cut into windows of `context`
 * tokens whose first is replaced by BOS where the model adds one (as llama-imatrix and llama-perplexity do); what is
 * left over at the end is dropped.
 *
 * Where there are more windows than wanted, the text is divided into as many equal runs of windows as are wanted, and
 * of each run one is drawn. Files of more than 16 bytes for each wanted token (of 1 MiB, if that is more) are not read whole: they are divided, end
 * to end, into equal strata, and from each a slice of 16 KiB (of 32 bytes a token of the window, if that is more) is
 * read at a drawn place, from where a line or word begins. If that is too little text, four times as much is read.
 * Equal options, files and tokenizers give equal windows.
 *
 * @param metadata of the model, which says how long a context it was trained on
 */
export function readCorpus(
  metadata: readonly MetadataEntry[],
  tokenizer: Tokenizer,
  options: CorpusOptions,
): Corpus {
  const warnings: string[] = [];
  const context = contextOf(metadata, options.context, warnings);
  const wanted = options.tokens === null ? Number.POSITIVE_INFINITY : Math.floor(options.tokens / context);
  if (!(wanted >= 1)) {
    throw new UsageError('fewer calibration tokens than one window holds', {
      expected: `at least ${context} tokens, or windows of fewer`,
      got: `${options.tokens} tokens`,
      advice: `raise ${options.tokensOption ?? '--calibration-tokens'} or lower --context`,
    });
  }
  const isBundled = options.sources.length === 0;
  const files = listTextFiles(isBundled ? [bundledText()] : options.sources);
  const { ids, bytesRead } = readTokens(files, wanted * context, context, tokenizer, options);
  const found = Math.floor(ids.length / context);
  if (found < 1) {
    throw new CalibrationTooShortError('the calibration text does not fill one window', {
      file: files.map(({ path }) => path).join(', '),
      expected: `at least ${context} tokens`,
      got: `${ids.length} tokens`,
      advice: 'give more text, or shorter windows by --context',
    });
  }
  // A little less, as the bundled text gives to large vocabularies, is in the report and no cause for worry.
  if (options.tokens !== null && found < MUCH * wanted) {
    warnings.push(
      `the calibration text gives ${found * context} tokens, not the ${options.tokens} asked for: all are used`,
    );
  }
  const windows = chosen(found, Math.min(found, wanted), options.seed).map((at) => {
    const window = ids.slice(at * context, (at + 1) * context);
    if (tokenizer.addsBos && tokenizer.bos !== null) window[0] = tokenizer.bos;
    return window;
  });
  warnUnknown(windows, tokenizer, warnings);
  const hash = createHash('sha256');
  for (const window of windows)
    hash.update(new Uint8Array(window.buffer, window.byteOffset, window.byteLength));
  return {
    windows,
    context,
    tokens: windows.length * context,
    name: isBundled ? 'bundled: public-domain English prose' : options.sources.join(', '),
    files: files.map(({ path, bytes }) => ({ path, bytes })),
    bytesRead,
    sha256: hash.digest('hex'),
    warnings,
  };
}

const bundledText = (): string => createRequire(import.meta.url).resolve('#calibration.txt');

function contextOf(metadata: readonly MetadataEntry[], asked: number | null, warnings: string[]): number {
  const values = new Map(metadata.map(({ key, value }) => [key, value]));
  const stored = Number(values.get(`${String(values.get('general.architecture'))}.context_length`));
  const trained = stored >= 1 ? stored : Number.POSITIVE_INFINITY;
  const context = asked ?? DEFAULT_CONTEXT;
  if (!Number.isSafeInteger(context) || context < 2) {
    throw new UsageError('not a length for windows of text', {
      expected: 'a whole number of tokens, at least 2',
      got: String(context),
      advice: 'correct --context',
    });
  }
  if (asked !== null && asked > trained) {
    warnings.push(`the model was trained on ${trained} tokens at most: windows hold so many, not ${asked}`);
  }
  return Math.min(context, trained);
}

/** Tokens of all documents, read whole or sampled: enough for `wanted`, unless there are no more. */
function readTokens(
  files: readonly TextFile[],
  wanted: number,
  context: number,
  tokenizer: Tokenizer,
  { field, seed }: CorpusOptions,
): { ids: Int32Array; bytesRead: number } {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  for (let budget = Math.max(MIN_BUDGET, wanted * BYTES_PER_TOKEN); ; budget *= 4) {
    const ranges = total <= budget ? wholeRanges(files) : sampledRanges(files, total, budget, context, seed);
    const ids = tokensOf(ranges, tokenizer, field);
    if (ids.length >= wanted || total <= budget) {
      return { ids, bytesRead: ranges.reduce((sum, { start, end }) => sum + end - start, 0) };
    }
  }
}

interface Range {
  readonly file: TextFile;
  readonly start: number;
  readonly end: number;
}

const wholeRanges = (files: readonly TextFile[]): Range[] =>
  files.flatMap((file) => {
    // Lines are documents by themselves.
    const step = file.isJsonLines ? file.bytes : MAX_DOCUMENT;
    return Array.from({ length: Math.ceil(file.bytes / step) }, (_, i) => ({
      file,
      start: i * step,
      end: Math.min((i + 1) * step, file.bytes),
    }));
  });

function sampledRanges(
  files: readonly TextFile[],
  total: number,
  budget: number,
  context: number,
  seed: number,
): Range[] {
  const slice = Math.min(Math.max(MIN_SLICE, context * SLICE_PER_TOKEN), budget);
  const count = Math.max(1, Math.floor(budget / slice));
  const next = uniform(seed);
  const ranges: Range[] = [];
  let [index, before] = [0, 0];
  for (let i = 0; i < count; i++) {
    const stratum = total / count;
    const place = Math.floor(i * stratum + next() * (stratum - slice));
    while (place >= before + files[index].bytes) before += files[index++].bytes;
    const file = files[index];
    const start = place - before;
    ranges.push({ file, start, end: Math.min(start + slice, file.bytes) });
  }
  return ranges;
}

function tokensOf(ranges: readonly Range[], tokenizer: Tokenizer, field: string | null): Int32Array {
  let ids = new Int32Array(2 ** 16);
  let length = 0;
  for (const part of openParts(ranges)) {
    for (const document of documents(part, tokenizer, field)) {
      if (length + document.length > ids.length) {
        const larger = new Int32Array(2 * (length + document.length));
        larger.set(ids.subarray(0, length));
        ids = larger;
      }
      ids.set(document, length);
      length += document.length;
    }
  }
  return ids.subarray(0, length);
}

/** One file open at a time. */
function* openParts(ranges: readonly Range[]): Generator<Part> {
  let reader: TextReader | undefined;
  try {
    for (const { file, start, end } of ranges) {
      if (reader?.file !== file) {
        reader?.close();
        reader = undefined;
        reader = new TextReader(file);
      }
      yield { reader, start, end };
    }
  } finally {
    reader?.close();
  }
}

/** `count` of the numbers below `total`, one drawn from each of as many equal runs, in order. */
function chosen(total: number, count: number, seed: number): number[] {
  const next = uniform(seed);
  return Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * total) / count);
    const end = Math.floor(((i + 1) * total) / count);
    return start + Math.floor(next() * (end - start));
  });
}

function warnUnknown(windows: readonly Int32Array[], { unknown }: Tokenizer, warnings: string[]): void {
  if (unknown === null) return;
  let count = 0;
  let total = 0;
  for (const window of windows) {
    total += window.length;
    for (const id of window) if (id === unknown) count++;
  }
  if (count === 0) return;
  const share = ((100 * count) / total).toPrecision(2);
  warnings.push(
    `${count} calibration tokens (${share} %) stand for characters that the model does not know: use text it can read`,
  );
}
