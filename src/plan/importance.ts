import { listed, QuantizeError } from '../core/errors.ts';
import { type ImportanceEntry, type ImportanceMatrix, sharedFloats } from '../core/importance.ts';
import type { MappedTensor } from '../core/model.ts';
import type { EncoderName } from '../core/plan.ts';
import { dataTypes, type TypeName } from '../core/types.ts';
import type { Mixture } from './mixtures.ts';
import type { ScalarEntry } from './overrides.ts';
import { ImportanceRequiredError, needsImportance, type TypedTensor } from './policy.ts';
import { roleOf } from './tensor-roles.ts';

/** Entries have another number of values than their tensors have columns. */
export class ImportanceLengthError extends QuantizeError {}

/** Entries hold NaN or infinite values. */
export class NotFiniteImportanceError extends QuantizeError {}

/** An importance matrix, and which codings follow one. */
export interface ImportanceSource {
  readonly matrix: ImportanceMatrix;
  takes(encoder: EncoderName): boolean;
}

/** `--include-weights`, `--exclude-weights`: parts of names of tensors. */
export interface ImportanceFilter {
  readonly includeWeights?: readonly string[] | undefined;
  readonly excludeWeights?: readonly string[] | undefined;
}

/** The entries that count; never none. */
export interface SelectedImportance extends ImportanceSource {
  readonly entries: ReadonlyMap<string, ImportanceEntry>;
}

/**
 * Inputs below which an expert is named. The mean of n squares strays by about sqrt(2 / n) of its value, one eighth
 * at 128.
 */
export const FEW_INPUTS = 128;

/** Tensors or entries an error names. */
const NAMED = 10;

/**
 * The entries that the options leave, as llama-quantize takes them (`prepare_imatrix`): any part of a name matches.
 * `selected` is null where nothing is left: then there is no importance matrix, as for llama-quantize.
 */
export function selectImportance(
  source: ImportanceSource | undefined,
  { includeWeights = [], excludeWeights = [] }: ImportanceFilter,
): { selected: SelectedImportance | null; warnings: string[] } {
  if (source === undefined) return { selected: null, warnings: [] };
  const { entries: all } = source.matrix;
  const matches = (name: string, parts: readonly string[]) => parts.some((part) => name.includes(part));
  const entries = new Map(
    [...all].filter(
      ([name]) =>
        (includeWeights.length === 0 || matches(name, includeWeights)) && !matches(name, excludeWeights),
    ),
  );
  const idle = (option: string, parts: readonly string[]) =>
    parts
      .filter((part) => ![...all.keys()].some((name) => name.includes(part)))
      .map((part) => `--${option} ${part} matches no entry of the importance matrix`);
  const warnings = [...idle('include-weights', includeWeights), ...idle('exclude-weights', excludeWeights)];
  if (entries.size > 0) return { selected: { ...source, entries }, warnings };
  return { selected: null, warnings: [...warnings, 'the importance matrix is not used: no entry is left'] };
}

/** Keys of the output that name the matrix, in llama-quantize's order, texts cut as there at 127 bytes. */
export function importanceKeys({ matrix, entries }: SelectedImportance): ScalarEntry[] {
  const { path, datasets, chunks } = matrix;
  return [
    { key: 'quantize.imatrix.file', type: 'STRING', value: cut(path) },
    ...datasets
      .slice(0, 1)
      .map((text) => ({ key: 'quantize.imatrix.dataset', type: 'STRING' as const, value: cut(text) })),
    { key: 'quantize.imatrix.entries_count', type: 'UINT32', value: entries.size },
    ...(chunks > 0 ? [{ key: 'quantize.imatrix.chunks_count', type: 'UINT32' as const, value: chunks }] : []),
  ];
}

/** At most 127 bytes of UTF-8, no character split (llama-quantize would split one). */
function cut(text: string): string {
  const bytes = Buffer.from(text);
  let end = Math.min(bytes.length, 127);
  while ((bytes[end] & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

export interface AssignedImportance {
  /** What the kernels get, by tensor name: finite, not negative, in no block all zero. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** One sentence for each tensor and cause, with what is done. */
  readonly warnings: readonly string[];
}

/**
 * Gives each tensor that follows importance its own, checked. A matrix names tensors as they were before layers were
 * pruned: `unpruned` are those. What llama-quantize refuses is refused here, before the
 * run, for all tensors at once: entries of a wrong length (token embeddings aside, which are then coded without) and
 * tensors of a type that needs importance without an entry. Beyond that: NaN and infinities are an error, negative
 * values count as 0, and a block without importance gets 1 in every column.
 */
export function assignImportance(
  tensors: readonly TypedTensor[],
  unpruned: readonly MappedTensor[],
  { matrix, entries, takes }: SelectedImportance,
  mixture: Mixture,
  encoderFor: (type: TypeName) => EncoderName,
): AssignedImportance {
  const values = new Map<string, Float32Array>();
  const warnings: string[] = [];
  const misfits: string[] = [];
  const notFinite: string[] = [];
  const lacking: string[] = [];

  for (const { tensor, type } of tensors.filter(({ tensor, type }) => type !== tensor.keep)) {
    const { name, shape, unprunedName = name } = tensor;
    const [rowLength, , experts = 1] = shape;
    const entry = entries.get(unprunedName);
    const fits = entry?.values.length === rowLength * experts;
    if (entry !== undefined && !fits) {
      const lengths = `${entry.values.length} values for ${columns(rowLength, experts)}`;
      if (roleOf(name) !== 'token_embd') misfits.push(`${name}: ${lengths}`);
      else warnings.push(`${name}: the importance matrix has ${lengths}; it is coded without importance`);
    }
    if (!fits && needsImportance(name, type, mixture)) lacking.push(`${name} (${type})`);
    if (!takes(encoderFor(type))) continue;
    if (entry === undefined && !matrix.entries.has(unprunedName)) {
      warnings.push(`${name}: the importance matrix has no entry; it is coded without importance`);
    }
    if (entry === undefined || !fits) continue;

    const bad = entry.values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) notFinite.push(`${name}: ${entry.values[bad]} at ${place(bad, rowLength, experts)}`);
    const prepared = prepare(entry.values, rowLength, dataTypes[type].blockSize);
    values.set(name, prepared.values);
    const notes = [...prepared.notes, ...seenTooLittle(entry)];
    warnings.push(...notes.map((note) => `${name}: ${note}`));
  }

  refuse(misfits, lacking, notFinite, matrix, mixture);
  const known = new Set(unpruned.map(({ name }) => name));
  const strangers = [...entries.keys()].filter((name) => !known.has(name));
  if (strangers.length > 0) {
    warnings.push(
      'no tensor of this model has the name of these entries of the importance matrix: ' +
        listed(strangers, 3),
    );
  }
  if (values.size === 0) {
    warnings.push(`the importance matrix changes no tensor of this ${mixture.name} file`);
  }
  return { values, warnings };
}

function refuse(
  misfits: readonly string[],
  lacking: readonly string[],
  notFinite: readonly string[],
  { path: file }: ImportanceMatrix,
  mixture: Mixture,
): void {
  const listed = (lines: readonly string[]) =>
    lines
      .slice(0, NAMED)
      .map((line) => `\n  ${line}`)
      .join('') + (lines.length > NAMED ? `\n  and ${lines.length - NAMED} more` : '');
  const exclude = 'or code such a tensor without importance: --exclude-weights and its name';
  if (misfits.length > 0) {
    throw new ImportanceLengthError(
      `the importance matrix does not fit ${count(misfits.length, 'tensor')}:${listed(misfits)}`,
      { file, advice: `pass the matrix of this very model, ${exclude}` },
    );
  }
  if (lacking.length > 0) {
    throw new ImportanceRequiredError(
      `${mixture.name} needs importance that the matrix does not have for ${count(lacking.length, 'tensor')}:` +
        listed(lacking),
      {
        file,
        advice:
          'make the matrix from more text (quantize imatrix --tokens), or give these tensors a larger type by --tensor-type',
      },
    );
  }
  if (notFinite.length > 0) {
    throw new NotFiniteImportanceError(
      `the importance matrix is not finite for ${count(notFinite.length, 'tensor')}:${listed(notFinite)}`,
      { file, advice: `make the matrix again: the model that made it overflowed, ${exclude}` },
    );
  }
}

/** Importance as the kernels get it, and a note for each thing that was changed. Copies only what it changes. */
function prepare(
  given: Float32Array,
  rowLength: number,
  blockSize: number,
): { values: Float32Array; notes: string[] } {
  const experts = given.length / rowLength;
  const negative = given.findIndex((value) => value < 0);
  const zeroBlocks: number[] = []; // first columns
  for (let start = 0; start < given.length; start += blockSize) {
    if (!given.subarray(start, start + blockSize).some((value) => value > 0)) zeroBlocks.push(start);
  }
  if (negative < 0 && zeroBlocks.length === 0) return { values: given, notes: [] };

  const values = sharedFloats(given.length);
  values.set(given.map((value) => Math.max(0, value)));
  for (const start of zeroBlocks) values.fill(1, start, start + blockSize);

  const notes: string[] = [];
  if (negative >= 0) {
    const many = given.reduce((sum, value) => sum + Number(value < 0), 0);
    notes.push(
      `${count(many, 'negative importance')} (${given[negative]} at ${place(negative, rowLength, experts)}), ` +
        'taken as 0',
    );
  }
  if (zeroBlocks.length === given.length / blockSize) {
    notes.push('its importance is 0 in every column; all columns count the same');
  } else if (zeroBlocks.length > 0) {
    notes.push(
      `its importance is 0 in ${zeroBlocks.length} of ${given.length / blockSize} blocks of ${blockSize} columns ` +
        `(the first at ${place(zeroBlocks[0], rowLength, experts)}); the columns of such a block count the same`,
    );
  }
  return { values, notes };
}

/** A note where the counts say that the values rest on little or nothing. */
function seenTooLittle({ counts }: ImportanceEntry): string[] {
  if (counts === null) return [];
  if (counts.length === 1) {
    return counts[0] > 0 ? [] : ['the importance matrix saw no input of it; all columns count the same'];
  }
  const few = [...counts.entries()].filter(([, seen]) => seen < FEW_INPUTS);
  if (few.length === 0) return [];
  const names = few.map(([expert, seen]) => `${expert} (${seen})`).join(', ');
  const unseen = few.some(([, seen]) => seen === 0) ? '; where it is 0, all columns count the same' : '';
  return [
    `fewer than ${FEW_INPUTS} tokens reached ${few.length === 1 ? 'expert' : 'experts'} ${names}${unseen}`,
  ];
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

const columns = (rowLength: number, experts: number): string =>
  experts === 1 ? `${rowLength} columns` : `${experts} experts of ${rowLength} columns`;

const place = (index: number, rowLength: number, experts: number): string =>
  `column ${index % rowLength}${experts === 1 ? '' : ` of expert ${Math.floor(index / rowLength)}`}`;
