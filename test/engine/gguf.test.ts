import { join } from 'node:path';
import fc from 'fast-check';
import koffi from 'koffi';
import { describe, expect, it } from 'vitest';
import { QuantizeError } from '../../src/core/errors.ts';
import { dataTypes } from '../../src/core/types.ts';
import { type GgufFile, readGguf } from '../../src/read/gguf.ts';
import { ggufFile, ggufFiles, laidOut } from '../support/gguf-arbitrary.ts';
import { put, temporaryDirectory } from '../support/temporary.ts';
import { engineDirectory } from './ggml.ts';

interface Header {
  version: number;
  dataOffset: number;
  keys: string[];
  /** Name, type number, absolute offset, bytes. */
  tensors: [string, number, number, number][];
}

/** The header as ggml itself reads it; null if ggml refuses the file. */
function loadReader(): (path: string) => Header | null {
  const library = koffi.load(join(engineDirectory!, 'libggml-base.so'));
  koffi.struct('gguf_init_params', { no_alloc: 'bool', ctx: 'void *' });
  const open = library.func('void *gguf_init_from_file(const char *path, gguf_init_params params)');
  const close = library.func('void gguf_free(void *file)');
  const version = library.func('uint32_t gguf_get_version(void *file)');
  const dataOffset = library.func('size_t gguf_get_data_offset(void *file)');
  const keyCount = library.func('int64_t gguf_get_n_kv(void *file)');
  const key = library.func('const char *gguf_get_key(void *file, int64_t i)');
  const tensorCount = library.func('int64_t gguf_get_n_tensors(void *file)');
  const name = library.func('const char *gguf_get_tensor_name(void *file, int64_t i)');
  const type = library.func('int gguf_get_tensor_type(void *file, int64_t i)');
  const offset = library.func('size_t gguf_get_tensor_offset(void *file, int64_t i)');
  const size = library.func('size_t gguf_get_tensor_size(void *file, int64_t i)');
  const range = (n: number) => Array.from({ length: n }, (_, i) => i);
  return (path) => {
    const file = open(path, { no_alloc: true, ctx: null });
    if (file === null) return null;
    const start = Number(dataOffset(file));
    const header: Header = {
      version: version(file),
      dataOffset: start,
      keys: range(Number(keyCount(file))).map((i) => key(file, i)),
      tensors: range(Number(tensorCount(file))).map((i) => [
        name(file, i),
        type(file, i),
        start + Number(offset(file, i)),
        Number(size(file, i)),
      ]),
    };
    close(file);
    return header;
  };
}

/** Text as a C string shows it. */
const cString = (text: string): string => text.split('\0')[0];

function asHeader(file: GgufFile): Header {
  return {
    version: file.version,
    // ggml pads the header only if tensors follow.
    dataOffset: file.dataOffset,
    keys: file.metadata.map(({ key }) => cString(key)),
    tensors: file.tensors.map((t) => [cString(t.name), dataTypes[t.type].ggmlId!, t.offset, t.byteLength]),
  };
}

describe.skipIf(engineDirectory === null)('GGUF headers as ggml reads them', () => {
  const readEngine = engineDirectory === null ? () => null : loadReader();
  const directory = temporaryDirectory();
  const withTensors = ggufFiles.filter(
    ({ written }) => written.length > 0 && written.every(({ name }) => !name.includes('\0')),
  );

  it('valid files', () => {
    fc.assert(
      fc.property(withTensors, (given) => {
        const path = put(directory, 'model.gguf', ggufFile(given));
        expect(asHeader(readGguf(path))).toEqual(readEngine(path));
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('files as the writer lays them out', () => {
    fc.assert(
      fc.property(withTensors, (given) => {
        const path = put(directory, 'model.gguf', laidOut(given));
        expect(readEngine(path)).toEqual(asHeader(readGguf(path)));
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it('files with a wrong byte: whatever is accepted, ggml accepts and understands alike', () => {
    let accepted = 0;
    fc.assert(
      fc.property(
        withTensors,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(255),
        (given, place, byte) => {
          const bytes = ggufFile(given);
          const { dataOffset } = readGguf(put(directory, 'model.gguf', bytes));
          bytes[Math.floor(place * (dataOffset - 1))] = byte;
          const path = put(directory, 'model.gguf', bytes);
          let file: GgufFile;
          try {
            file = readGguf(path);
          } catch (error) {
            if (!(error instanceof QuantizeError)) throw error;
            return;
          }
          if (file.tensors.length === 0 || file.tensors.some(({ name }) => name.includes('\0'))) return;
          expect(asHeader(file)).toEqual(readEngine(path));
          accepted++;
        },
      ),
      { seed: 2, numRuns: 800 },
    );
    expect(accepted).toBeGreaterThan(30);
  });
});
