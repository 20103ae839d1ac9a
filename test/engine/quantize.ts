import koffi from 'koffi';
import { dataTypes, type TypeName, typeByGgmlId } from '../../src/core/types.ts';
import { libraries } from './libraries.ts';

/** llama-quantize itself: whole files through `llama_model_quantize`, and its choice of types alone. */

/** No type: the engine's GGML_TYPE_COUNT. */
const NONE = 43;

koffi.struct('llama_model_tensor_override', { pattern: 'const char *', type: 'int' });
koffi.struct('llama_model_imatrix_data', { name: 'const char *', data: 'float *', size: 'size_t' });
/** `llama_model_quantize_params` of llama.h. */
koffi.struct('llama_model_quantize_params', {
  nthread: 'int32_t',
  ftype: 'int',
  output_tensor_type: 'int',
  token_embedding_type: 'int',
  allow_requantize: 'bool',
  quantize_output_tensor: 'bool',
  only_copy: 'bool',
  pure: 'bool',
  keep_split: 'bool',
  dry_run: 'bool',
  imatrix: 'void *',
  kv_overrides: 'void *',
  tt_overrides: 'void *',
  prune_layers: 'void *',
  max_buf_size: 'size_t',
});

/** The engine's options, named as this project names them. */
export interface EngineOptions {
  readonly pure?: boolean | undefined;
  readonly leaveOutputTensor?: boolean | undefined;
  readonly outputTensorType?: TypeName | undefined;
  readonly tokenEmbeddingType?: TypeName | undefined;
  readonly tensorTypes?: readonly { readonly pattern: string; readonly type: TypeName }[] | undefined;
}

export interface QuantizeOptions extends EngineOptions {
  /** `llama_ftype`. */
  readonly ftype: number;
  /** 1 unless told. */
  readonly threads?: number | undefined;
  /** Importance of each column by tensor name. */
  readonly importance?: Readonly<Record<string, Float32Array>> | undefined;
  readonly allowRequantize?: boolean | undefined;
  readonly onlyCopy?: boolean | undefined;
  /** The output is then the beginning of the names of its parts. */
  readonly keepSplit?: boolean | undefined;
  readonly overrides?: readonly KeyOverride[] | undefined;
  /** Ascending. */
  readonly pruneLayers?: readonly number[] | undefined;
}

/** `llama_model_kv_override`. */
export interface KeyOverride {
  readonly key: string;
  readonly kind: 'int' | 'float' | 'bool' | 'str';
  readonly value: number | boolean | string;
}

/** What llama_model_quantize_default_params() returns: known values, so it also checks the layout above. */
export const defaultQuantizeParams = (): Record<string, unknown> =>
  libraries().llama.func('llama_model_quantize_params llama_model_quantize_default_params()')();

/** Memory the engine reads; it must be referenced until the call returns. */
interface Native {
  readonly address: unknown;
  free(): void;
}

function nativeArray(type: string, rows: readonly object[]): Native {
  const address = koffi.alloc(type, rows.length);
  koffi.encode(address, koffi.array(type, rows.length), rows);
  return { address, free: () => koffi.free(address) };
}

/** An array of `llama_model_kv_override`, ended by one without a key: tag, key[128], padding, 8 or 128 bytes of value. */
function overrideArray(overrides: readonly KeyOverride[]): Native {
  const size = 264;
  const bytes = Buffer.alloc(size * (overrides.length + 1));
  for (const [i, { key, kind, value }] of overrides.entries()) {
    const at = size * i;
    bytes.writeInt32LE(['int', 'float', 'bool', 'str'].indexOf(kind), at);
    bytes.write(key, at + 4);
    if (kind === 'int') bytes.writeBigInt64LE(BigInt(value), at + 136);
    else if (kind === 'float') bytes.writeDoubleLE(value as number, at + 136);
    else if (kind === 'bool') bytes.writeUInt8(value ? 1 : 0, at + 136);
    else bytes.write(value as string, at + 136);
  }
  return numberArray('uint8_t', [...bytes]);
}

function numberArray(type: 'uint8_t' | 'int32_t', values: readonly number[]): Native {
  const address = koffi.alloc(type, values.length);
  koffi.encode(address, koffi.array(type, values.length), values);
  return { address, free: () => koffi.free(address) };
}

function quantizeParams(options: QuantizeOptions): { params: Record<string, unknown>; free(): void } {
  const idOf = (type: TypeName | undefined) => (type === undefined ? NONE : dataTypes[type].ggmlId);
  const natives: Native[] = [];
  const list = (type: string, rows: readonly object[], end: object) => {
    if (rows.length === 0) return null;
    natives.push(nativeArray(type, [...rows, end]));
    return natives.at(-1)!.address;
  };
  const overrides = (options.tensorTypes ?? []).map(({ pattern, type }) => ({ pattern, type: idOf(type) }));
  const importance = Object.entries(options.importance ?? {}).map(([name, data]) => {
    const values = koffi.alloc('float', data.length);
    natives.push({ address: values, free: () => koffi.free(values) });
    koffi.encode(values, koffi.array('float', data.length), data);
    return { name, data: values, size: data.length };
  });
  const kept = (native: Native) => {
    natives.push(native);
    return native.address;
  };
  const { overrides: keys = [], pruneLayers = [] } = options;
  return {
    params: {
      ...defaultQuantizeParams(),
      allow_requantize: options.allowRequantize ?? false,
      only_copy: options.onlyCopy ?? false,
      keep_split: options.keepSplit ?? false,
      kv_overrides: keys.length > 0 ? kept(overrideArray(keys)) : null,
      prune_layers: pruneLayers.length > 0 ? kept(numberArray('int32_t', [...pruneLayers, -1])) : null,
      nthread: options.threads ?? 1,
      ftype: options.ftype,
      output_tensor_type: idOf(options.outputTensorType),
      token_embedding_type: idOf(options.tokenEmbeddingType),
      quantize_output_tensor: !(options.leaveOutputTensor ?? false),
      pure: options.pure ?? false,
      tt_overrides: list('llama_model_tensor_override', overrides, { pattern: null, type: NONE }),
      imatrix: list('llama_model_imatrix_data', importance, { name: null, data: null, size: 0 }),
    },
    free: () => {
      for (const native of natives) native.free();
    },
  };
}

/** `llama_model_quantize`: reads one GGUF and writes another. Throws with the engine's log when it refuses. */
export function quantizeModel(input: string, output: string, options: QuantizeOptions): void {
  const { llama, logged } = libraries();
  const quantize = llama.func(
    'uint32_t llama_model_quantize(const char *input, const char *output, const llama_model_quantize_params *params)',
  );
  const { params, free } = quantizeParams(options);
  const { result, log } = logged(`llama_model_quantize(${input}, file type ${options.ftype})`, () =>
    quantize(input, output, params),
  );
  free();
  if (result !== 0) throw new Error(`llama_model_quantize refused ${input}:\n${log}`);
}

/** A model as far as the choice of types goes. */
export interface MockModel {
  readonly architecture: string;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly experts: number;
}

koffi.struct('llama_quant_model_desc', {
  architecture: 'const char *',
  n_embd: 'uint32_t',
  n_ff: 'uint32_t',
  n_layer: 'uint32_t',
  n_head: 'uint32_t',
  n_head_kv: 'uint32_t',
  n_expert: 'uint32_t',
  n_embd_head_k: 'uint32_t',
  n_embd_head_v: 'uint32_t',
});

export interface MockTensor {
  readonly name: string;
  /** GGUF order. */
  readonly shape: readonly number[];
  readonly type: TypeName;
}

/** The functions of llama-ext.h, which are C++: bound by their mangled names. */
function typeFunctions() {
  const { llama } = libraries();
  return {
    model: llama.func('_Z31llama_quant_model_from_metadataPK22llama_quant_model_desc', 'void *', [
      koffi.pointer('llama_quant_model_desc'),
    ]),
    freeModel: llama.func('void llama_model_free(void *model)'),
    state: llama.func('_Z16llama_quant_initPK11llama_modelPK27llama_model_quantize_params', 'void *', [
      'void *',
      'void *',
    ]),
    freeState: llama.func('_Z16llama_quant_freeP19quantize_state_impl', 'void', ['void *']),
    allows: llama.func(
      '_Z38llama_quant_tensor_allows_quantizationPK19quantize_state_implPK11ggml_tensor',
      'bool',
      ['void *', 'void *'],
    ),
    compute: llama.func(
      '_Z25llama_quant_compute_typesP19quantize_state_impl11llama_ftypePP11ggml_tensorP9ggml_typem',
      'void',
      ['void *', 'int', 'void **', koffi.out('int32_t *'), 'size_t'],
    ),
  };
}

let functions: ReturnType<typeof typeFunctions> | undefined;

/** libllama's choice of types for one model, as llama-quantize makes it. */
export class TypeOracle {
  readonly #context: unknown;
  readonly #model: unknown;
  readonly #tensors: unknown[];
  readonly #names: string[];
  readonly #f: ReturnType<typeof typeFunctions>;

  /** Tensors in the order in which llama-quantize would visit them. */
  constructor(model: MockModel, tensors: readonly MockTensor[]) {
    functions ??= typeFunctions();
    this.#f = functions;
    const ggml = libraries().tensors;
    this.#context = ggml.init({ mem_size: (tensors.length + 1) * 512, mem_buffer: null, no_alloc: true });
    this.#names = tensors.map(({ name }) => name);
    this.#tensors = tensors.map(({ name, shape, type }) => {
      const extents = BigInt64Array.from(shape, BigInt);
      const tensor = ggml.create(this.#context, dataTypes[type].ggmlId, shape.length, extents);
      ggml.setName(tensor, name);
      return tensor;
    });
    this.#model = this.#f.model({
      architecture: model.architecture,
      n_embd: 256,
      n_ff: 256,
      n_layer: model.layers,
      n_head: model.heads,
      n_head_kv: model.kvHeads,
      n_expert: model.experts,
      n_embd_head_k: 64,
      n_embd_head_v: 64,
    });
  }

  /** Name to type, for every tensor. No exception may cross: ask only what llama-quantize would not refuse. */
  types(ftype: number, options: EngineOptions = {}): Map<string, TypeName> {
    return this.#withState({ ...options, ftype }, (state) => {
      const types = new Int32Array(this.#tensors.length);
      this.#f.compute(state, ftype, this.#tensors, types, this.#tensors.length);
      return new Map(this.#names.map((name, i) => [name, typeByGgmlId(types[i])!.name]));
    });
  }

  /** Name to whether llama-quantize would quantize it. */
  allowed(options: EngineOptions = {}): Map<string, boolean> {
    return this.#withState({ ...options, ftype: 7 }, (state) => {
      return new Map(this.#names.map((name, i) => [name, this.#f.allows(state, this.#tensors[i])]));
    });
  }

  #withState<T>(options: QuantizeOptions, use: (state: unknown) => T): T {
    const { params, free } = quantizeParams(options);
    const native = nativeArray('llama_model_quantize_params', [params]);
    const state = this.#f.state(this.#model, native.address);
    const { result } = libraries().logged(`choosing types, file type ${options.ftype}`, () => use(state));
    this.#f.freeState(state);
    native.free();
    free();
    return result;
  }

  free(): void {
    this.#f.freeModel(this.#model);
    libraries().tensors.free(this.#context);
  }
}
