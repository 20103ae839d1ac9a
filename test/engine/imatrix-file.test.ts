import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import { describe, expect, it } from 'vitest';
import type { CollectedImportance } from '../../src/core/calibration.ts';
import { type ImatrixFacts, imatrixFile } from '../../src/write/imatrix.ts';
import { gaussian } from '../support/random.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';
import { libraries } from './libraries.ts';

const directory = temporaryDirectory();

/** A file by the calls that llama-imatrix makes (`IMatrixCollector::save_imatrix`), entries sorted by name. */
function theirs(
  entries: readonly CollectedImportance[],
  { datasets, chunks, chunkSize }: ImatrixFacts,
): Buffer {
  const { base, tensors: ggml } = libraries();
  const bind = (declaration: string) => base.func(declaration);
  const setString = bind('void gguf_set_val_str(void *gguf, const char *key, const char *value)');
  const setStrings = bind('void gguf_set_arr_str(void *gguf, const char *key, const char **data, size_t n)');
  const setNumber = bind('void gguf_set_val_u32(void *gguf, const char *key, uint32_t value)');
  const add = bind('void gguf_add_tensor(void *gguf, void *tensor)');
  const write = bind('bool gguf_write_to_file(void *gguf, const char *path, bool onlyMetadata)');
  const data = bind('void *ggml_get_data(void *tensor)');
  const gguf = bind('void *gguf_init_empty()')();
  const context = ggml.init({ mem_size: 1 << 24, mem_buffer: null, no_alloc: false });
  setString(gguf, 'general.type', 'imatrix');
  setStrings(gguf, 'imatrix.datasets', [...datasets], datasets.length);
  setNumber(gguf, 'imatrix.chunk_count', chunks);
  setNumber(gguf, 'imatrix.chunk_size', chunkSize);
  const store = (name: string, values: ArrayLike<number>, extents: [number, number]) => {
    const tensor = ggml.create(context, 0, 2, BigInt64Array.from(extents, BigInt));
    ggml.setName(tensor, name);
    koffi.encode(data(tensor), koffi.array('float', values.length), Array.from(values));
    add(gguf, tensor);
  };
  for (const { name, sums, counts } of entries) {
    store(`${name}.in_sum2`, sums, [sums.length / counts.length, counts.length]);
    store(`${name}.counts`, counts, [1, counts.length]);
  }
  const path = join(directory, 'theirs.gguf');
  if (!write(gguf, path, false)) throw new Error('ggml cannot write');
  bind('void gguf_free(void *gguf)')(gguf);
  ggml.free(context);
  return readFileSync(path);
}

describe.skipIf(engineDirectory === null)('the importance matrix', () => {
  it('has the bytes of the real ggml', () => {
    const next = gaussian(11);
    const entry = (name: string, columns: number, counts: number[]): CollectedImportance => ({
      name,
      sums: Float32Array.from({ length: columns * counts.length }, () => next() ** 2),
      counts,
    });
    const entries = [
      entry('blk.0.attn_q.weight', 256, [4096]),
      entry('blk.0.ffn_up_exps.weight', 96, [17, 0, 4079]),
      entry('blk.10.ffn_down.weight', 33, [4096]),
      entry('output.weight', 256, [4096]),
    ];
    const facts = { datasets: ['kalibrierung ä.txt', 'b'], chunks: 16, chunkSize: 256 };
    expect(theirs(entries, facts).equals(imatrixFile(entries.toReversed(), facts))).toBe(true);
  });
});
