import type { StoredTensor } from '../core/checkpoint.ts';
import { QuantizeError } from '../core/errors.ts';
import { type ImportanceEntry, type ImportanceMatrix, sharedFloats } from '../core/importance.ts';
import type { MetadataEntry } from '../core/metadata.ts';
import { elementsOf } from '../core/types.ts';
import { type ByteSource, withSource } from './byte-source.ts';
import { type GgufFile, readGguf } from './gguf.ts';
import { readLegacyImatrix } from './imatrix-legacy.ts';

/** A GGUF file lacks the keys that make it an importance matrix, or has them in another type. */
export class ImatrixMetadataError extends QuantizeError {}

/** The file has no entry. */
export class ImatrixEmptyError extends QuantizeError {}

/** An entry has sums but no counts, or counts but no sums. */
export class ImatrixPairError extends QuantizeError {}

/** Sums or counts are not F32. */
export class ImatrixTypeError extends QuantizeError {}

/** An entry has no sums, no counts, or sums that do not divide among the counts. */
export class ImatrixShapeError extends QuantizeError {}

/** A count is no number of inputs. */
export class ImatrixCountError extends QuantizeError {}

const SUMS = '.in_sum2';
const COUNTS = '.counts';

/**
 * Reads an importance matrix made by llama-imatrix, in llama.cpp's GGUF form or the older .dat form; which one it is
 * shows in the first bytes. The values are, to the bit, those that llama-quantize of llama.cpp v0.5.0 hands on
 * (`load_imatrix`, `common_imatrix_load`): sums divided by counts in float32, and 1 for an expert that saw nothing.
 * Every length is checked against the file's size before it is believed. Memory: the values, and one entry as stored.
 *
 * @throws the errors of this file, of the legacy reader and of the GGUF reader
 */
export function readImatrix(path: string): ImportanceMatrix {
  return withSource(path, (source) => {
    const magic = source.read(0, Math.min(4, source.size)).toString('latin1');
    return magic === 'GGUF' ? readEntries(readGguf(path), source) : readLegacyImatrix(source);
  });
}

function readEntries(file: GgufFile, source: ByteSource): ImportanceMatrix {
  const { path } = file;
  const datasets = metadata(file, 'imatrix.datasets', 'an array of strings', isStrings);
  const chunks = metadata(file, 'imatrix.chunk_count', 'a UINT32', isUint32);
  metadata(file, 'imatrix.chunk_size', 'a UINT32', isUint32);

  const tensors = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  const named = (suffix: string) =>
    file.tensors.flatMap(({ name }) => (name.endsWith(suffix) ? [name.slice(0, -suffix.length)] : []));
  const names = new Set([...named(SUMS), ...named(COUNTS)]);
  if (names.size === 0) {
    throw new ImatrixEmptyError('the importance matrix has no entries', {
      file: path,
      expected: `tensors named *${SUMS} and *${COUNTS}`,
      got: `${file.tensors.length} tensors of other names`,
    });
  }
  const entries = new Map(
    Array.from(names, (name) => {
      const [sums, counts] = [SUMS, COUNTS].map((suffix) => {
        const tensor = tensors.get(name + suffix);
        if (tensor === undefined) {
          throw new ImatrixPairError('half of an entry of the importance matrix is missing', {
            file: path,
            tensor: name,
            expected: `both ${name}${SUMS} and ${name}${COUNTS}`,
            got: `no ${name}${suffix}`,
          });
        }
        return readFloats(tensor, source);
      });
      return [name, entryOf(name, sums, counts, path)];
    }),
  );
  return { path, entries, datasets: datasets.value, chunks: chunks.value | 0 };
}

/** Sums over what each expert saw, divided by how much that was. */
function entryOf(name: string, sums: Float32Array, counts: Float32Array, file: string): ImportanceEntry {
  const width = sums.length / counts.length;
  if (sums.length === 0 || !Number.isInteger(width)) {
    throw new ImatrixShapeError('the sums of an importance entry do not divide among its counts', {
      file,
      tensor: name,
      expected: 'the same number of sums for every count',
      got: `${sums.length} sums and ${counts.length} counts`,
    });
  }
  const seen = Array.from(counts, (count) => Math.floor(count + 0.5)); // lround, of what is not negative
  const wrong = counts.findIndex((_, i) => !(seen[i] >= 0 && seen[i] <= Number.MAX_SAFE_INTEGER));
  if (wrong >= 0) {
    throw new ImatrixCountError('a count in the importance matrix is no count', {
      file,
      tensor: name,
      expected: 'a whole number of inputs, 0 or more',
      got: `${counts[wrong]} for expert ${wrong}`,
    });
  }
  const values = sharedFloats(sums.length);
  for (const [expert, count] of seen.entries()) {
    const divisor = Math.fround(count);
    for (let i = expert * width; i < (expert + 1) * width; i++) values[i] = count > 0 ? sums[i] / divisor : 1;
  }
  return { values, counts: seen };
}

function readFloats(
  { name, type, shape, offset, byteLength }: StoredTensor,
  source: ByteSource,
): Float32Array {
  if (type !== 'F32') {
    throw new ImatrixTypeError('sums or counts of the importance matrix are not float32', {
      file: source.path,
      tensor: name,
      expected: 'type F32',
      got: `type ${type}`,
    });
  }
  const floats = new Float32Array(elementsOf(shape));
  const bytes = source.read(offset, byteLength);
  for (let i = 0; i < floats.length; i++) floats[i] = bytes.readFloatLE(4 * i);
  return floats;
}

function metadata<T extends MetadataEntry>(
  { path, metadata }: GgufFile,
  key: string,
  expected: string,
  matches: (entry: MetadataEntry) => entry is T,
): T {
  const entry = metadata.find((each) => each.key === key);
  if (entry !== undefined && matches(entry)) return entry;
  throw new ImatrixMetadataError('this GGUF file is not an importance matrix', {
    file: path,
    expected: `${expected} for ${key}`,
    got: entry === undefined ? 'no such key' : `a value of type ${entry.type}`,
    advice: 'pass the file that llama-imatrix wrote',
  });
}

type Strings = Extract<MetadataEntry, { type: 'ARRAY' }> & { readonly value: readonly string[] };
type Uint32 = MetadataEntry & { readonly type: 'UINT32'; readonly value: number };

const isStrings = (entry: MetadataEntry): entry is Strings =>
  entry.type === 'ARRAY' && entry.elementType === 'STRING';
const isUint32 = (entry: MetadataEntry): entry is Uint32 => entry.type === 'UINT32';
