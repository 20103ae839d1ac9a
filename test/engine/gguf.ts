import koffi from 'koffi';
import { dataTypes, type TypeName, typeByGgmlId } from '../../src/core/types.ts';
import { libraries } from './libraries.ts';

/** GGUF files by ggml's own reader and writer. */

koffi.struct('gguf_init_params', { no_alloc: 'bool', ctx: 'void *' });

export interface GgufTensor {
  readonly name: string;
  readonly type: TypeName;
}

/** Names and types of a file's tensors, in file order. */
export function readGgufTensors(path: string): GgufTensor[] {
  const { base } = libraries();
  const open = base.func('void *gguf_init_from_file(const char *path, gguf_init_params params)');
  const count = base.func('int64_t gguf_get_n_tensors(void *gguf)');
  const name = base.func('const char *gguf_get_tensor_name(void *gguf, int64_t id)');
  const type = base.func('int gguf_get_tensor_type(void *gguf, int64_t id)');
  const close = base.func('void gguf_free(void *gguf)');
  const gguf = open(path, { no_alloc: true, ctx: null });
  if (gguf === null) throw new Error(`ggml cannot read ${path}`);
  const tensors = Array.from({ length: Number(count(gguf)) }, (_, id) => ({
    name: name(gguf, id),
    type: typeByGgmlId(type(gguf, id))!.name,
  }));
  close(gguf);
  return tensors;
}

export interface ZeroTensor extends GgufTensor {
  /** GGUF order. */
  readonly shape: readonly number[];
}

/** Writes a file of zeros: a model good enough for llama-quantize. Numbers become UINT32, or FLOAT32 when below 1. */
export function writeZeroGguf(
  path: string,
  metadata: Readonly<Record<string, string | number>>,
  tensors: readonly ZeroTensor[],
): void {
  const { base, tensors: ggml } = libraries();
  const create = base.func('void *gguf_init_empty()');
  const setString = base.func('void gguf_set_val_str(void *gguf, const char *key, const char *value)');
  const setInteger = base.func('void gguf_set_val_u32(void *gguf, const char *key, uint32_t value)');
  const setFloat = base.func('void gguf_set_val_f32(void *gguf, const char *key, float value)');
  const add = base.func('void gguf_add_tensor(void *gguf, void *tensor)');
  const write = base.func('bool gguf_write_to_file(void *gguf, const char *path, bool onlyMetadata)');
  const close = base.func('void gguf_free(void *gguf)');
  const values = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
  const context = ggml.init({
    mem_size: 4 * values + 1024 * tensors.length,
    mem_buffer: null,
    no_alloc: false,
  });
  const gguf = create();
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value === 'string') setString(gguf, key, value);
    else if (Number.isInteger(value)) setInteger(gguf, key, value);
    else setFloat(gguf, key, value);
  }
  for (const { name, shape, type } of tensors) {
    const extents = BigInt64Array.from(shape, BigInt);
    const tensor = ggml.create(context, dataTypes[type].ggmlId, shape.length, extents);
    ggml.setName(tensor, name);
    add(gguf, ggml.setZero(tensor));
  }
  const written = write(gguf, path, false);
  close(gguf);
  ggml.free(context);
  if (!written) throw new Error(`ggml cannot write ${path}`);
}

/** Header of one file of a split, made by ggml as llama-gguf-split makes it from the file at `path`. */
export function splitHeader(
  path: string,
  part: { number: number; count: number; total: number; tensors: readonly ZeroTensor[] },
): Uint8Array {
  const { base, tensors: ggml } = libraries();
  const open = base.func('void *gguf_init_from_file(const char *path, gguf_init_params params)');
  const create = base.func('void *gguf_init_empty()');
  const copyAll = base.func('void gguf_set_kv(void *gguf, void *from)');
  const setU16 = base.func('void gguf_set_val_u16(void *gguf, const char *key, uint16_t value)');
  const setI32 = base.func('void gguf_set_val_i32(void *gguf, const char *key, int32_t value)');
  const add = base.func('void gguf_add_tensor(void *gguf, void *tensor)');
  const sizeOf = base.func('size_t gguf_get_meta_size(void *gguf)');
  const data = base.func('void gguf_get_meta_data(void *gguf, _Out_ uint8_t *bytes)');
  const close = base.func('void gguf_free(void *gguf)');
  const whole = open(path, { no_alloc: true, ctx: null });
  const context = ggml.init({ mem_size: 1024 * (1 + part.tensors.length), mem_buffer: null, no_alloc: true });
  const gguf = create();
  if (part.number === 0) copyAll(gguf, whole);
  setU16(gguf, 'split.no', part.number);
  setU16(gguf, 'split.count', 0);
  setI32(gguf, 'split.tensors.count', part.total);
  for (const { name, shape, type } of part.tensors) {
    const extents = BigInt64Array.from(shape, BigInt);
    const tensor = ggml.create(context, dataTypes[type].ggmlId, shape.length, extents);
    ggml.setName(tensor, name);
    add(gguf, tensor);
  }
  setU16(gguf, 'split.count', part.count);
  const header = new Uint8Array(Number(sizeOf(gguf)));
  data(gguf, header);
  close(gguf);
  close(whole);
  ggml.free(context);
  return header;
}
