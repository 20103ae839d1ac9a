import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Checkpoint, StoredTensor } from '../core/checkpoint.ts';
import { listed, QuantizeError } from '../core/errors.ts';
import { accessError, statFile, withSource } from './byte-source.ts';
import { readGgufParts } from './gguf-split.ts';
import { compareCodePoints } from './order.ts';
import { readSafetensors, type SafetensorsFile } from './safetensors.ts';
import { checkDistinct, missingShards, readIndex, readIndexed } from './safetensors-index.ts';

/** A directory holds no weights that can be read. */
export class NoWeightsError extends QuantizeError {}

/** The weights are a PyTorch pickle, which cannot be read without running the code in it. */
export class PickleWeightsError extends QuantizeError {}

/** A directory holds several weight files and nothing says which of them are the model. */
export class AmbiguousWeightsError extends QuantizeError {}

/** One shard of several was given, and no index beside it says where the others are. */
export class ShardWithoutIndexError extends QuantizeError {}

/** The file is neither safetensors nor GGUF. */
export class UnknownFormatError extends QuantizeError {}

const INDEX = '.safetensors.index.json';
const SHARD = /^(.*)-(\d{5,})-of-(\d{5,})(\.safetensors|\.gguf)$/;
const PICKLE = /\.(bin|pt|pth|ckpt|pkl)$/;

/**
 * Opens a model by its Hugging Face directory, a `.safetensors` file, the index of a sharded checkpoint, any one of
 * its shards, or a `.gguf` file or any part of a split one. Headers are read and checked whole; tensor data is not touched.
 *
 * Tensors come in the order in which llama.cpp's converter meets them (`ModelBase.index_tensors`): files sorted by
 * name, then tensors sorted by name. A GGUF keeps its own order.
 */
export function openCheckpoint(path: string): Checkpoint {
  return statFile(path).isDirectory() ? openDirectory(path) : openFile(path);
}

/**
 * Chooses files as the converter does: the index if there is one, even beside a single model.safetensors, otherwise
 * every file named model*.safetensors. Where that finds nothing, a single safetensors file of any name is taken.
 */
function openDirectory(directory: string): Checkpoint {
  let names: string[];
  try {
    names = readdirSync(directory).sort(compareCodePoints);
  } catch (cause) {
    throw accessError(directory, cause);
  }
  const weights = names.filter((name) => name.endsWith('.safetensors'));
  const indices = names.filter((name) => name.endsWith(INDEX));
  const parts = weights.filter((name) => name.startsWith('model'));
  if (indices.includes(`model${INDEX}`)) return openIndex(directory, join(directory, `model${INDEX}`));
  if (parts.length > 0) return openParts(directory, parts);
  if (indices.length === 1) return openIndex(directory, join(directory, indices[0]));
  if (weights.length === 1) return openParts(directory, weights);
  if (weights.length > 1) {
    throw new AmbiguousWeightsError('the directory holds several safetensors files', {
      file: directory,
      expected: 'model.safetensors, model-*.safetensors or one file of another name',
      got: listed(weights, 10),
      advice: 'pass the file you mean',
    });
  }
  throw withoutSafetensors(directory, names);
}

function withoutSafetensors(directory: string, names: readonly string[]): QuantizeError {
  const ggufs = names.filter((name) => name.endsWith('.gguf'));
  const pickles = names.filter((name) => PICKLE.test(name));
  if (ggufs.length === 0 && pickles.length > 0) return pickleError(join(directory, pickles[0]));
  return new NoWeightsError('the directory holds no safetensors file', {
    file: directory,
    expected: 'model.safetensors, or model.safetensors.index.json with its shards',
    got: names.length === 0 ? 'an empty directory' : listed(names, 10),
    advice:
      ggufs.length > 0
        ? `to read a GGUF file pass the file itself: ${join(directory, ggufs[0])}`
        : 'pass the directory that the model was downloaded to',
  });
}

function openFile(path: string): Checkpoint {
  const name = basename(path);
  if (name.endsWith('.index.json')) return openIndex(path, path);
  const { magic, looksLikeSafetensors } = withSource(path, (source) => {
    const start = source.read(0, Math.min(source.size, 9));
    return { magic: start.toString('latin1', 0, 4), looksLikeSafetensors: start[8] === 0x7b };
  });
  if (magic === 'GGUF' || name.endsWith('.gguf')) return openGguf(path);
  if (name.endsWith('.safetensors') || looksLikeSafetensors) return openSafetensors(path);
  if (PICKLE.test(name)) throw pickleError(path);
  throw new UnknownFormatError('the file is neither safetensors nor GGUF', {
    file: path,
    expected: 'a .safetensors file, its .safetensors.index.json, a .gguf file or a model directory',
    got: `a file that begins with ${JSON.stringify(magic)}`,
  });
}

/** One file, or the whole checkpoint that it is a shard of. */
function openSafetensors(path: string): Checkpoint {
  const directory = dirname(path);
  const name = basename(path);
  const shard = SHARD.exec(name);
  const prefixed = `${shard === null ? name.slice(0, -'.safetensors'.length) : shard[1]}${INDEX}`;
  for (const candidate of [prefixed, `model${INDEX}`]) {
    const indexPath = join(directory, candidate);
    if (existsSync(indexPath) && readIndex(indexPath).shards.includes(name))
      return openIndex(path, indexPath);
  }
  if (shard !== null && Number(shard[3]) > 1) {
    throw new ShardWithoutIndexError('the file is one shard of several, and no index names the others', {
      file: path,
      expected: `${prefixed} beside it, naming ${name}`,
      advice: 'download the index, or pass the directory that holds every shard',
    });
  }
  return assemble(path, directory, [readSafetensors(path)]);
}

function openIndex(path: string, indexPath: string): Checkpoint {
  return assemble(path, dirname(indexPath), readIndexed(readIndex(indexPath)));
}

/** Files without an index. Those named as shards must be complete. */
function openParts(directory: string, names: readonly string[]): Checkpoint {
  for (const name of names) {
    const shard = SHARD.exec(name);
    if (shard === null) continue;
    const [, prefix, , total, suffix] = shard;
    const missing: string[] = [];
    // A false total only ends the search sooner: the first ten names say enough.
    for (let i = 1; i <= Number(total) && missing.length <= 10; i++) {
      const sibling = `${prefix}-${String(i).padStart(total.length, '0')}-of-${total}${suffix}`;
      if (!names.includes(sibling)) missing.push(sibling);
    }
    if (missing.length > 0) throw missingShards(directory, missing, join(directory, name));
  }
  const files = names.map((name) => readSafetensors(join(directory, name)));
  checkDistinct(files);
  return assemble(directory, directory, files);
}

function assemble(path: string, directory: string, files: readonly SafetensorsFile[]): Checkpoint {
  const tensors = new Map<string, StoredTensor>();
  files.forEach((file, i) => {
    for (const { name, type, shape, offset, byteLength } of file.tensors) {
      tensors.set(name, { name, type: type.name, shape, file: i, offset, byteLength });
    }
  });
  return {
    format: 'safetensors',
    path,
    directory,
    files: files.map((file) => ({ path: file.path, size: file.size })),
    tensors,
    metadata: [],
  };
}

function openGguf(path: string): Checkpoint {
  const parts = readGgufParts(path);
  return {
    format: 'gguf',
    path,
    directory: dirname(path),
    files: parts.map((part) => ({ path: part.path, size: part.size })),
    tensors: new Map(
      parts.flatMap(({ tensors }, file) => tensors.map((tensor) => [tensor.name, { ...tensor, file }])),
    ),
    metadata: parts[0].metadata,
  };
}

function pickleError(path: string): PickleWeightsError {
  return new PickleWeightsError('the weights are a PyTorch pickle', {
    file: path,
    expected: 'safetensors',
    got: 'a format that only Python can load, by running what it contains',
    advice:
      'get the safetensors version of the model, or save it as safetensors with the safetensors package',
  });
}
