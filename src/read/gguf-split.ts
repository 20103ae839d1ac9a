import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { QuantizeError } from '../core/errors.ts';
import type { MetadataEntry, MetadataType } from '../core/metadata.ts';
import { type GgufFile, readGguf } from './gguf.ts';

/** A file says it is one part of several, and its name does not say which. */
export class GgufSplitNameError extends QuantizeError {}

/** Parts of a split GGUF are not beside the one that was given. */
export class GgufMissingPartError extends QuantizeError {}

/** A part is another than its name says, of another set, or the parts do not add up to the whole. */
export class GgufSplitMismatchError extends QuantizeError {}

/** A key of the `split.*` kind is missing or not of its type. */
export class GgufSplitKeyError extends QuantizeError {}

/** Two parts hold a tensor of the same name. */
export class GgufTensorInTwoPartsError extends QuantizeError {}

/** As llama.cpp names the parts (`llama_split_path`): numbers from 1, five digits. */
const PART = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/;

const MISSING_NAMED = 10;

/**
 * The whole GGUF that a file is, or is a part of, as its parts in order: one where it is not split. Any part may be
 * given. What llama.cpp's loader checks is checked (`llama_model_loader`), and that the parts agree with each other.
 */
export function readGgufParts(path: string): GgufFile[] {
  const given = readGguf(path);
  if (given.metadata.every(({ key }) => key !== 'split.count')) return [given];
  const count = splitKey(given, 'split.count', 'UINT16');
  if (count <= 1) return [given];
  const parts = partPaths(path, count).map((part, i) => {
    // The metadata of the model is in the first part; the others have only the numbers.
    const file = part === path ? given : readGguf(part, i === 0 ? {} : { maxItems: 0 });
    checkPart(file, i, count);
    return file;
  });
  checkWhole(parts);
  return parts;
}

/** Paths of all parts, each of which exists; the given one as it was given. */
function partPaths(path: string, count: number): string[] {
  const match = PART.exec(basename(path));
  const [, prefix, number, total] = match ?? [];
  if (Number(total) !== count || Number(number) < 1 || Number(number) > count) {
    throw new GgufSplitNameError('the name of a part of a split GGUF does not say which part it is', {
      file: path,
      expected: `NAME-0000N-of-${digits(count)}.gguf, as split.count ${count} asks for`,
      got: basename(path),
      advice: 'give the parts the names they had',
    });
  }
  const directory = dirname(path);
  const paths: string[] = [];
  const missing: string[] = [];
  for (let i = 0; i < count && missing.length <= MISSING_NAMED; i++) {
    const name = `${prefix}-${digits(i + 1)}-of-${digits(count)}.gguf`;
    paths.push(i + 1 === Number(number) ? path : join(directory, name));
    if (!existsSync(paths[i])) missing.push(name);
  }
  if (missing.length === 0) return paths;
  const more = missing.length > MISSING_NAMED ? ' and more' : '';
  throw new GgufMissingPartError('parts of a split GGUF are missing', {
    file: path,
    expected: `${count} parts in one directory`,
    got: `no ${missing.slice(0, MISSING_NAMED).join(', ')}${more}`,
    advice: 'download the missing parts into the same directory',
  });
}

const digits = (number: number): string => String(number).padStart(5, '0');

function checkPart(part: GgufFile, index: number, count: number): void {
  const file = part.path;
  const ownCount = splitKey(part, 'split.count', 'UINT16');
  const number = splitKey(part, 'split.no', 'UINT16');
  if (ownCount === count && number === index) return;
  throw new GgufSplitMismatchError('a part of a split GGUF is another than its name says', {
    file,
    expected: `split.no ${index} of split.count ${count}`,
    got: `split.no ${number} of split.count ${ownCount}`,
    advice: 'the parts were renamed or belong to different models: download them again',
  });
}

/** That no tensor is there twice, and that all are there. */
function checkWhole(parts: readonly GgufFile[]): void {
  const holders = new Map<string, string>();
  for (const { path, tensors } of parts) {
    for (const { name } of tensors) {
      const other = holders.get(name);
      if (other !== undefined) {
        throw new GgufTensorInTwoPartsError('two parts of a split GGUF hold the same tensor', {
          file: path,
          tensor: name,
          expected: 'every tensor in one part',
          got: `it is in ${other} too`,
          advice: 'the parts belong to different models: download them again',
        });
      }
      holders.set(name, path);
    }
  }
  for (const part of parts) {
    const total = splitKey(part, 'split.tensors.count', 'INT32');
    if (total === holders.size) continue;
    throw new GgufSplitMismatchError('the parts of a split GGUF do not add up to the whole', {
      file: part.path,
      expected: `${total} tensors in all parts, as split.tensors.count says`,
      got: `${holders.size} tensors`,
      advice: 'the parts belong to different models, or the split went wrong: get them again',
    });
  }
}

function splitKey({ path, metadata }: GgufFile, key: string, type: MetadataType): number {
  const entry: MetadataEntry | undefined = metadata.find((one) => one.key === key);
  if (entry?.type === type && typeof entry.value === 'number') return entry.value;
  throw new GgufSplitKeyError('a part of a split GGUF lacks a number, or it is not of its type', {
    file: path,
    expected: `${key} of type ${type}`,
    got: entry === undefined ? 'no such key' : entry.type,
    advice: 'make the parts anew with llama-gguf-split',
  });
}
