import { UsageError } from '../core/errors.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import { bytesOf, elementsOf } from '../core/types.ts';
import {
  alignUp,
  DEFAULT_ALIGNMENT,
  type FileLayout,
  type LaidOut,
  type Layout,
  layOutFile,
  type TensorInfo,
} from './gguf.ts';

/** Into which files the output is cut, and which of them the run makes. At most one way of cutting is given. */
export interface SplitOptions {
  /** Most bytes of tensor data in a file, each tensor padded to 32. */
  readonly splitMaxSize?: number;
  readonly splitMaxTensors?: number;
  /** Only file `part` (from 1) of `of` files of about one size. */
  readonly split?: { readonly part: number; readonly of: number };
  /** Tensors stay in the parts of a split GGUF that they come from. */
  readonly keepSplit?: boolean;
}

/** There are fewer tensors than files to put them in, or more files than the format can number. */
export class SplitCountError extends UsageError {}

/** split.no and split.count are 16-bit numbers. */
const MAX_FILES = 65_535;

/** `llama_split_path`: the name of file `number` (from 0) of `count`. */
function splitPath(output: string, number: number, count: number): string {
  const digits = (n: number) => String(n).padStart(5, '0');
  return `${output.replace(/\.gguf$/, '')}-${digits(number + 1)}-of-${digits(count)}.gguf`;
}

/** Names of the files of a layout, for an output named `output`. */
export const fileNames = (output: string, { files, split }: Layout): string[] =>
  split === null ? [output] : files.map((_, i) => splitPath(output, split.first + i, split.count));

const isSplit = ({ splitMaxSize, splitMaxTensors, split, keepSplit }: SplitOptions): boolean =>
  splitMaxSize !== undefined || splitMaxTensors !== undefined || split !== undefined || keepSplit === true;

/**
 * Lays out the files that the options ask for: one, every file of a split, or one file of it. Like llama-gguf-split,
 * the first file of a split holds all metadata, and each file says its number, the count of files and that of all
 * tensors (in another order where llama-quantize keeps a split).
 *
 * @param parts of each tensor the part it comes from, ascending: for `keepSplit`
 * @throws UsageError, SplitCountError
 */
export function layOut(
  metadata: readonly MetadataEntry[],
  tensors: readonly TensorInfo[],
  options: SplitOptions = {},
  parts: readonly number[] = [],
): Layout {
  if (!isSplit(options)) return oneFile(layOutFile(metadata, tensors), tensors.length);
  const cuts = options.keepSplit ? keep(parts, options) : cut(tensors.map(paddedBytes), options);
  if (cuts.length > MAX_FILES) {
    throw new SplitCountError('the model would be split into too many files', {
      expected: `at most ${MAX_FILES}`,
      got: String(cuts.length),
      advice: 'allow more in each file',
    });
  }
  const own = metadata.filter(({ key }) => !key.startsWith('split.'));
  const layOutPart = (number: number): FileLayout => {
    const [first, end] = cuts[number];
    const no: MetadataEntry = { key: 'split.no', type: 'UINT16', value: number };
    const total: MetadataEntry = { key: 'split.tensors.count', type: 'INT32', value: tensors.length };
    const count: MetadataEntry = { key: 'split.count', type: 'UINT16', value: cuts.length };
    const numbers = !options.keepSplit ? [no, total, count] : cuts.length > 1 ? [no, count, total] : [];
    const entries = [...(number === 0 ? own : []), ...numbers];
    return { ...layOutFile(entries, tensors.slice(first, end)), first, end };
  };
  const { split } = options;
  const numbers = split ? [split.part - 1] : [...cuts.keys()];
  const files = numbers.map(layOutPart);
  return {
    files,
    fileBytes: files.reduce((sum, { fileBytes }) => sum + fileBytes, 0),
    split: { count: cuts.length, first: numbers[0] },
  };
}

/** The layout of an output that is one file of `tensors` tensors. */
export const oneFile = (file: LaidOut, tensors: number): Layout => ({
  files: [{ ...file, first: 0, end: tensors }],
  fileBytes: file.fileBytes,
  split: null,
});

/** @throws UsageError when the output is to be split, for a format in which nobody would find the parts. */
export function requireNoSplit(options: SplitOptions): void {
  if (isSplit(options))
    throw new UsageError('only GGUF files are split', { advice: 'name the output .gguf' });
}

const paddedBytes = ({ type, shape }: TensorInfo): number =>
  alignUp(bytesOf(type, elementsOf(shape)), DEFAULT_ALIGNMENT);

/** Tensors of each file as [first, end), from the padded sizes of all. */
export function cut(sizes: readonly number[], options: SplitOptions): [number, number][] {
  const {
    splitMaxSize = Number.POSITIVE_INFINITY,
    splitMaxTensors = Number.POSITIVE_INFINITY,
    split,
  } = options;
  if (split === undefined) {
    for (const [name, value] of Object.entries({ splitMaxSize, splitMaxTensors })) {
      if (!(value >= 1))
        throw new UsageError(`${name} is out of range`, { expected: 'at least 1', got: `${value}` });
    }
    return fill(sizes, splitMaxSize, splitMaxTensors);
  }
  if (options.splitMaxSize !== undefined || options.splitMaxTensors !== undefined) {
    throw new UsageError('--split K/N and --split-max-size or --split-max-tensors contradict each other', {
      advice: 'use one of them: N files of about one size, or as many as it takes',
    });
  }
  const { part, of } = split;
  if (!Number.isInteger(of) || !Number.isInteger(part) || part < 1 || part > of) {
    throw new UsageError('the part to make is out of range', {
      expected: 'K/N, K from 1 to N',
      got: `${part}/${of}`,
    });
  }
  if (of > sizes.length) {
    throw new SplitCountError('there are more files to make than tensors', {
      expected: `at most ${sizes.length} files, one for each tensor`,
      got: String(of),
    });
  }
  return balance(sizes, of);
}

/** The files that tensors come from, empty ones too. */
function keep(parts: readonly number[], options: SplitOptions): [number, number][] {
  if (isSplit({ ...options, keepSplit: false })) {
    throw new UsageError('--keep-split and other ways to split contradict each other');
  }
  const ends = Array.from(
    { length: Math.max(0, ...parts) + 1 },
    (_, file) => parts.filter((part) => part <= file).length,
  );
  return ends.map((end, i) => [i === 0 ? 0 : ends[i - 1], end]);
}

/** Tensors in order, a new file whenever the next would exceed a limit; a tensor above the limit is alone. */
function fill(sizes: readonly number[], maxSize: number, maxTensors: number, files = 0): [number, number][] {
  const cuts: [number, number][] = [];
  let [first, bytes] = [0, 0];
  sizes.forEach((size, i) => {
    const full = bytes + size > maxSize || i - first >= maxTensors;
    const oneEach = files - cuts.length - 1 === sizes.length - i; // as many files to come as tensors
    if (i > first && (full || oneEach)) {
      cuts.push([first, i]);
      [first, bytes] = [i, 0];
    }
    bytes += size;
  });
  return [...cuts, [first, sizes.length]];
}

/**
 * `files` runs of tensors whose largest is as small as can be: what `fill` makes of the smallest limit that needs no
 * more files. Where it needs fewer, the last tensors get files of their own.
 */
function balance(sizes: readonly number[], files: number): [number, number][] {
  let low = Math.max(...sizes);
  let high = sizes.reduce((sum, size) => sum + size, 0);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (fill(sizes, middle, Number.POSITIVE_INFINITY).length <= files) high = middle;
    else low = middle + 1;
  }
  return fill(sizes, low, Number.POSITIVE_INFINITY, files);
}

/** A sentence for each file that a single tensor makes larger than asked for. */
export function splitWarnings(tensors: readonly TensorInfo[], { splitMaxSize }: SplitOptions): string[] {
  if (splitMaxSize === undefined) return [];
  return tensors
    .filter((tensor) => paddedBytes(tensor) > splitMaxSize)
    .map(({ name }) => `${name} alone is larger than --split-max-size; its file is too`);
}
