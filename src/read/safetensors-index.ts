import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type ErrorDetails, listed, QuantizeError } from '../core/errors.ts';
import { FileTooLargeError, withSource } from './byte-source.ts';
import { Cursor } from './cursor.ts';
import { compareCodePoints } from './order.ts';
import { MAX_HEADER_SIZE, readSafetensors, type SafetensorsFile } from './safetensors.ts';
import { parseStrictJson, showJson } from './strict-json.ts';

/** The index has no `weight_map`, an empty one, or one whose values are not file names. */
export class IndexFormatError extends QuantizeError {}

/** The index names a file outside its own directory. */
export class IndexPathError extends QuantizeError {}

/** Files that hold a part of the checkpoint are not there. */
export class MissingShardError extends QuantizeError {}

/** The index puts a tensor in a shard that does not hold it. */
export class TensorNotInShardError extends QuantizeError {}

/** A shard holds a tensor that the index does not mention. */
export class TensorNotInIndexError extends QuantizeError {}

/** Two files hold a tensor of the same name. */
export class TensorInTwoFilesError extends QuantizeError {}

/** What `model.safetensors.index.json` says: the file of each tensor. */
export interface SafetensorsIndex {
  readonly path: string;
  /** File name, relative to the index, by tensor name. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** The file names, each once, sorted. */
  readonly shards: readonly string[];
}

/** Reads an index and checks its own form; the files it names are not looked at. */
export function readIndex(path: string): SafetensorsIndex {
  const locate = ([field, name]: readonly string[]): ErrorDetails =>
    field === 'weight_map' ? { file: path, tensor: name } : { file: path };
  const index = withSource(path, (source) => {
    if (source.size > MAX_HEADER_SIZE) {
      throw new FileTooLargeError('the index is too large', {
        file: path,
        expected: `at most ${MAX_HEADER_SIZE} bytes`,
        got: `${source.size} bytes`,
      });
    }
    return parseStrictJson(new Cursor(source, 0, source.size), locate);
  });
  const map = index instanceof Map ? index.get('weight_map') : undefined;
  if (!(map instanceof Map) || map.size === 0) {
    throw new IndexFormatError('the index does not say which file holds which tensor', {
      file: path,
      expected: 'an object "weight_map" from tensor names to file names',
      got: index instanceof Map && map instanceof Map ? 'an empty one' : showJson(map),
      advice: 'download the index again',
    });
  }
  const weightMap = new Map<string, string>();
  for (const [name, shard] of map) {
    if (typeof shard !== 'string' || shard === '') {
      throw new IndexFormatError('the index does not give a file name for a tensor', {
        file: path,
        tensor: name,
        expected: 'a file name',
        got: showJson(shard),
      });
    }
    if (leavesDirectory(shard)) {
      throw new IndexPathError('the index names a file outside its own directory', {
        file: path,
        tensor: name,
        expected: 'the name of a file beside the index',
        got: JSON.stringify(shard),
        advice: 'do not trust this checkpoint',
      });
    }
    weightMap.set(name, shard);
  }
  return { path, weightMap, shards: [...new Set(weightMap.values())].sort(compareCodePoints) };
}

/** Whether a name could lead anywhere but to a file in or below the directory it is relative to. */
const leavesDirectory = (name: string): boolean =>
  /^[/\\]|^[A-Za-z]:|\0/.test(name) || name.split(/[/\\]/).includes('..');

/** Reads the shards of an index; every tensor must be in the file that the index names for it, and vice versa. */
export function readIndexed(index: SafetensorsIndex): SafetensorsFile[] {
  const directory = dirname(index.path);
  const missing = index.shards.filter((shard) => !existsSync(join(directory, shard)));
  if (missing.length > 0) throw missingShards(directory, missing, index.path);
  const files = index.shards.map((shard) => readSafetensors(join(directory, shard)));
  checkDistinct(files);

  index.shards.forEach((shard, i) => {
    const held = new Set<string>();
    for (const { name } of files[i].tensors) {
      held.add(name);
      if (!index.weightMap.has(name)) {
        throw new TensorNotInIndexError('a shard holds a tensor that the index does not mention', {
          file: files[i].path,
          tensor: name,
          expected: `only tensors listed in ${basename(index.path)}`,
          advice: 'index and shards are of different versions: download them again',
        });
      }
    }
    for (const [name, home] of index.weightMap) {
      if (home !== shard || held.has(name)) continue;
      throw new TensorNotInShardError('a tensor is not in the shard that the index names for it', {
        file: files[i].path,
        tensor: name,
        expected: `the tensor, as ${basename(index.path)} says`,
        advice: 'index and shards are of different versions: download them again',
      });
    }
  });
  return files;
}

/** Refuses a tensor that several files hold: whichever was taken, the other would be ignored in silence. */
export function checkDistinct(files: readonly SafetensorsFile[]): void {
  const homes = new Map<string, string>();
  for (const file of files) {
    for (const { name } of file.tensors) {
      const other = homes.get(name);
      if (other !== undefined) {
        throw new TensorInTwoFilesError('two files hold a tensor of the same name', {
          file: file.path,
          tensor: name,
          got: `the same name in ${other}`,
          advice: 'pass the file you mean, or remove the one that does not belong to the model',
        });
      }
      homes.set(name, file.path);
    }
  }
}

export function missingShards(
  directory: string,
  missing: readonly string[],
  namedBy: string,
): MissingShardError {
  const shown = listed(missing, 10);
  return new MissingShardError('files of the checkpoint are missing', {
    file: join(directory, missing[0]),
    expected: `all files that ${namedBy} implies`,
    got: `no ${shown}`,
    advice: 'download the missing files into the same directory',
  });
}
