import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { TensorCalibration } from '../core/calibration.ts';
import type { ErrorSums } from '../core/error-sums.ts';
import { type EncodedSums, SUMS_PER_TILE, type TensorProgress } from '../core/output.ts';
import { type RangeSums, rangeFields } from '../core/ranges.ts';
import type { Holder } from './lock.ts';
import type { ResumeKey } from './resume-key.ts';

/** What a run in progress says about itself and its output file, in `<output>.partial.json`. */
export interface Journal {
  readonly format: 'gguf-quantize/journal';
  readonly version: 1;
  /** The process that holds the lock; null once it let go. */
  readonly holder: Holder | null;
  readonly fileBytes: number;
  /** Every chunk is written; what remains is to give the file its name. */
  readonly whole: boolean;
  readonly key: ResumeKey;
  /** For each tensor of the file up to the last that was begun. */
  readonly tensors: readonly SavedProgress[];
}

/**
 * Chunks added up, their checksum, the fields of ErrorSums in order, those of its ranges too, the chunks that wait, and what
 * calibration found of a tensor that it coded.
 */
type SavedProgress = readonly [
  chunks: number,
  checksum: number,
  sums: readonly number[],
  range: readonly number[],
  waiting: readonly SavedChunk[],
  calibration: TensorCalibration | null,
];

type SavedChunk = readonly [
  chunk: number,
  checksum: number,
  maxError: number,
  maxErrorAt: number,
  sums: readonly number[],
  rangeSums: readonly number[],
];

const sumFields = ['count', 'sumX2', 'sumQ2', 'sumXQ', 'sumE2', 'maxError', 'maxErrorAt'] as const;

/** Progress as JSON can hold it: every float64 comes back as the same number. */
export function saveProgress(progress: readonly TensorProgress[]): SavedProgress[] {
  let end = progress.length;
  while (end > 0 && progress[end - 1].chunks === 0 && progress[end - 1].waiting.size === 0) end--;
  return progress
    .slice(0, end)
    .map(({ chunks, checksum, sums, waiting, calibration }) => [
      chunks,
      checksum,
      sumFields.map((field) => sums[field]),
      sums.range === null ? [] : rangeFields.map((field) => sums.range![field]),
      [...waiting].map(([chunk, done]) => [
        chunk,
        done.checksum,
        done.maxError,
        done.maxErrorAt,
        [...done.sums],
        [...done.rangeSums],
      ]),
      calibration,
    ]);
}

/** Takes over what was saved; false, and nothing is changed, when it is not what `saveProgress` makes. */
export function restoreProgress(saved: unknown, progress: readonly TensorProgress[]): boolean {
  if (!Array.isArray(saved) || saved.length > progress.length || !saved.every(isSaved)) return false;
  saved.forEach(([chunks, checksum, sums, range, waiting, calibration]: SavedProgress, i) => {
    const tensor = progress[i];
    Object.assign(tensor, { chunks, checksum, calibration });
    const named = (fields: readonly string[], values: readonly number[]) =>
      Object.fromEntries(fields.map((field, at) => [field, values[at]]));
    tensor.sums = {
      ...named(sumFields, sums),
      range: range.length === 0 ? null : (named(rangeFields, range) as unknown as RangeSums),
    } as ErrorSums;
    for (const [chunk, own, maxError, maxErrorAt, values, rangeValues] of waiting) {
      const done: EncodedSums = {
        checksum: own,
        sums: Float64Array.from(values),
        rangeSums: Float64Array.from(rangeValues),
        maxError,
        maxErrorAt,
      };
      tensor.waiting.set(chunk, done);
    }
  });
  return true;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const areNumbers = (values: unknown): values is number[] =>
  Array.isArray(values) && values.every((value) => Number.isFinite(value));

function isSaved(saved: unknown): saved is SavedProgress {
  if (!Array.isArray(saved) || saved.length !== 6) return false;
  const [chunks, checksum, sums, range, waiting, calibration] = saved;
  return (
    isCount(chunks) &&
    isCount(checksum) &&
    areNumbers(sums) &&
    sums.length === sumFields.length &&
    areNumbers(range) &&
    [0, rangeFields.length].includes(range.length) &&
    Array.isArray(waiting) &&
    waiting.every(isSavedChunk) &&
    typeof calibration === 'object'
  );
}

function isSavedChunk(saved: unknown): boolean {
  if (!Array.isArray(saved) || saved.length !== 6) return false;
  const [chunk, checksum, maxError, maxErrorAt, sums, rangeSums] = saved;
  return (
    [chunk, checksum, maxErrorAt].every(isCount) &&
    Number.isFinite(maxError) &&
    areNumbers(sums) &&
    sums.length % SUMS_PER_TILE === 0 &&
    areNumbers(rangeSums) &&
    rangeSums.length % rangeFields.length === 0
  );
}

/** A journal as far as it can be read; null when there is none, or what is there is something else. */
export function readJournal(path: string): Journal | null {
  try {
    const journal = JSON.parse(readFileSync(path, 'utf8')) as Partial<Journal>;
    const complete = journal.key?.inputs !== undefined && journal.key.options !== undefined;
    return journal.format === 'gguf-quantize/journal' && journal.version === 1 && complete
      ? (journal as Journal)
      : null;
  } catch {
    return null;
  }
}

/** What a file is called while it is written, and the journal beside it. */
export const partialPath = (output: string): string => `${output}.partial`;
export const journalPath = (output: string): string => `${output}.partial.json`;

/**
 * Whether an output was whole and got its name before the run that made it could clear away its journal, as when it
 * was killed between the renames of several files.
 */
export function isWhole(output: string): boolean {
  const journal = readJournal(journalPath(output));
  return (
    journal?.whole === true &&
    !existsSync(partialPath(output)) &&
    statSync(output, { throwIfNoEntry: false })?.size === journal.fileBytes
  );
}

/** Replaces the journal in one step. */
export function writeJournal(path: string, journal: Journal): void {
  const next = `${path}.next`;
  try {
    writeFileSync(next, `${JSON.stringify(journal)}\n`);
    renameSync(next, path);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}
