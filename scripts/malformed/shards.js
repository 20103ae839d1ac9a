// Sharded checkpoints whose parts do not fit, and paths that are no model at all.
import { entry, safetensors } from './bytes.js';

const FIRST = 'model-00001-of-00002.safetensors';
const SECOND = 'model-00002-of-00002.safetensors';
const INDEX = 'model.safetensors.index.json';
const holding = (...names) =>
  safetensors(
    Object.fromEntries(names.map((name, i) => [name, entry('F32', [4], 16 * i, 16 * i + 16)])),
    16 * names.length,
  );
const index = (map) => Buffer.from(JSON.stringify({ metadata: { total_size: 32 }, weight_map: map }));
const good = { a: FIRST, b: SECOND };

/** name, how it was made, error, files in a directory of that name, what to open there, tensor */
// biome-ignore format: one case a line
const rows = [
  ['index-no-map', 'index without weight_map', 'IndexFormatError', { [INDEX]: Buffer.from('{"metadata":{}}') }, INDEX],
  ['index-empty-map', 'index with an empty weight_map', 'IndexFormatError', { [INDEX]: index({}) }, INDEX],
  ['index-array', 'index is an array', 'IndexFormatError', { [INDEX]: Buffer.from('[]') }, INDEX],
  ['index-map-array', 'weight_map is an array', 'IndexFormatError', { [INDEX]: Buffer.from('{"weight_map":["a"]}') }, INDEX],
  ['index-number', 'a number for a file name', 'IndexFormatError', { [INDEX]: index({ a: 1 }) }, INDEX, 'a'],
  ['index-empty-name', 'an empty file name', 'IndexFormatError', { [INDEX]: index({ a: '' }) }, INDEX, 'a'],
  ['index-cut', 'index cut short', 'JsonSyntaxError', { [INDEX]: index(good).subarray(0, 60) }, INDEX, 'a'],
  ['index-empty', 'index of no bytes', 'JsonSyntaxError', { [INDEX]: Buffer.alloc(0) }, INDEX],
  ['index-duplicate', 'a tensor twice in the index', 'JsonDuplicateKeyError', { [INDEX]: Buffer.from('{"weight_map":{"a":"x","a":"y"}}') }, INDEX, 'a'],
  ['index-deep', 'index of 100000 nested arrays', 'JsonDepthError', { [INDEX]: Buffer.from('['.repeat(100_000)) }, INDEX],
  ['index-huge', 'index of 8 GiB', 'FileTooLargeError', { [INDEX]: { bytes: Buffer.from('{'), sparse: 2 ** 33 } }, INDEX],
  ['index-parent', 'shard "../x.safetensors"', 'IndexPathError', { [INDEX]: index({ a: '../x.safetensors' }) }, INDEX, 'a'],
  ['index-parent-inside', 'shard "sub/../../x.safetensors"', 'IndexPathError', { [INDEX]: index({ a: 'sub/../../x.safetensors' }) }, INDEX, 'a'],
  ['index-parent-windows', 'shard "..\\\\x.safetensors"', 'IndexPathError', { [INDEX]: index({ a: '..\\x.safetensors' }) }, INDEX, 'a'],
  ['index-absolute', 'shard "/etc/passwd"', 'IndexPathError', { [INDEX]: index({ a: '/etc/passwd' }) }, INDEX, 'a'],
  ['index-absolute-windows', 'shard "C:\\\\x.safetensors"', 'IndexPathError', { [INDEX]: index({ a: 'C:\\x.safetensors' }) }, INDEX, 'a'],
  ['index-nul', 'NUL in a shard name', 'IndexPathError', { [INDEX]: index({ a: 'x\0.safetensors' }) }, INDEX, 'a'],
  ['index-to-directory', 'a shard is a directory', 'NotARegularFileError', { [INDEX]: index({ a: FIRST }), [FIRST]: { directory: true } }, INDEX],
  ['index-to-itself', 'the index is its own shard', 'SafetensorsHeaderTooLargeError', { [INDEX]: index({ a: INDEX }) }, INDEX],
  ['shard-missing', 'second shard missing', 'MissingShardError', { [INDEX]: index(good), [FIRST]: holding('a') }, ''],
  ['shard-missing-by-shard', 'second shard missing, first one opened', 'MissingShardError', { [INDEX]: index(good), [FIRST]: holding('a') }, FIRST],
  ['shard-missing-beside-whole', 'shards missing beside model.safetensors', 'MissingShardError', { [INDEX]: index(good), 'model.safetensors': holding('a', 'b') }, ''],
  ['shard-without-index', 'one shard, no index', 'ShardWithoutIndexError', { [FIRST]: holding('a'), [SECOND]: holding('b') }, FIRST],
  ['shard-not-in-index', 'index of other shards', 'ShardWithoutIndexError', { [INDEX]: index({ a: 'other.safetensors' }), [FIRST]: holding('a') }, FIRST],
  ['shards-incomplete', 'directory with the second of two shards, no index', 'MissingShardError', { [SECOND]: holding('b') }, ''],
  ['shards-false-total', 'shard 1 of 99999999999999', 'MissingShardError', { 'model-00001-of-99999999999999.safetensors': holding('a') }, ''],
  ['tensor-not-in-shard', 'index names a tensor that no shard holds', 'TensorNotInShardError', { [INDEX]: index({ ...good, c: SECOND }), [FIRST]: holding('a'), [SECOND]: holding('b') }, '', 'c'],
  ['tensor-in-wrong-shard', 'index has two tensors exchanged', 'TensorNotInShardError', { [INDEX]: index({ a: SECOND, b: FIRST }), [FIRST]: holding('a'), [SECOND]: holding('b') }, '', 'b'],
  ['tensor-not-in-index', 'a shard holds one tensor more', 'TensorNotInIndexError', { [INDEX]: index(good), [FIRST]: holding('a'), [SECOND]: holding('b', 'c') }, '', 'c'],
  ['tensor-in-two-shards', 'both shards hold one tensor', 'TensorInTwoFilesError', { [INDEX]: index(good), [FIRST]: holding('a'), [SECOND]: holding('a', 'b') }, '', 'a'],
  ['tensor-in-two-files', 'two variants in a directory without index', 'TensorInTwoFilesError', { 'model.safetensors': holding('a'), 'model.fp16.safetensors': holding('a') }, '', 'a'],
  ['shard-damaged', 'second shard has a trailing byte', 'SafetensorsTrailingBytesError', { [INDEX]: index(good), [FIRST]: holding('a'), [SECOND]: Buffer.concat([holding('b'), Buffer.alloc(1)]) }, ''],
  ['directory.safetensors', 'a directory named as a file', 'NoWeightsError', { '': { directory: true } }, ''],
  ['weights-directory', 'model.safetensors is a directory', 'NotARegularFileError', { 'model.safetensors': { directory: true } }, ''],
  ['several-files', 'two files, neither of them the model', 'AmbiguousWeightsError', { 'a.safetensors': holding('a'), 'b.safetensors': holding('b') }, ''],
  ['pickle-directory', 'only pytorch_model.bin', 'PickleWeightsError', { 'pytorch_model.bin': Buffer.from('PK\x03\x04'), 'config.json': Buffer.from('{}') }, ''],
  ['pickle-file', 'pytorch_model.bin itself', 'PickleWeightsError', { 'pytorch_model.bin': Buffer.from('PK\x03\x04\0\0\0\0\0\0') }, 'pytorch_model.bin'],
  ['gguf-directory', 'only a GGUF file', 'NoWeightsError', { 'm.gguf': Buffer.from('GGUF') }, ''],
  ['other-json', 'config.json as the model', 'UnknownFormatError', { 'config.json': Buffer.from('{"architectures":[]}') }, 'config.json'],
  ['short-unknown', 'three bytes of no format', 'UnknownFormatError', { 'x.dat': Buffer.from('abc') }, 'x.dat'],
  ['pipe', 'a named pipe that nobody writes to', 'NotARegularFileError', { 'model.safetensors': { pipe: true } }, 'model.safetensors'],
  ['pipe-in-directory', 'model.safetensors is a named pipe', 'NotARegularFileError', { 'model.safetensors': { pipe: true } }, ''],
  ['pipe-index', 'the index is a named pipe', 'NotARegularFileError', { [INDEX]: { pipe: true } }, ''],
  ['link-loop', 'a symbolic link to itself', 'FileAccessError', { 'model.safetensors': { link: 'model.safetensors' } }, 'model.safetensors'],
  ['link-loop-in-directory', 'two links to each other', 'FileAccessError', { 'model.safetensors': { link: 'b' }, b: { link: 'model.safetensors' } }, ''],
  ['link-broken', 'a link to a file that is gone', 'FileMissingError', { 'model.safetensors': { link: 'gone' } }, ''],
  ['missing', 'nothing at the path', 'FileMissingError', { '': { directory: true } }, 'model.safetensors'],
  ['below-file', 'a path below a file', 'FileMissingError', { 'a.safetensors': holding('a') }, 'a.safetensors/b'],
];

export const shardCases = rows.map(([name, how, error, files, open, tensor]) => ({
  path: open === '' ? name : `${name}/${open}`,
  how,
  error,
  ...(tensor === undefined ? {} : { tensor }),
  files: Object.fromEntries(Object.entries(files).map(([file, content]) => [`${name}/${file}`, content])),
}));
