import koffi from 'koffi';
import { libraries } from './libraries.ts';
import { draw, logNormalizer, rowDivergence, topTwo } from './predictions.ts';

/** A model in the real engine: tokenizer, logits, greedy text, perplexity. */

koffi.struct('llama_model_params', {
  devices: 'void *',
  tensor_buft_overrides: 'void *',
  n_gpu_layers: 'int32_t',
  split_mode: 'int',
  load_mode: 'int',
  lazy_mode: 'int',
  main_gpu: 'int32_t',
  tensor_split: 'void *',
  progress_callback: 'void *',
  progress_callback_user_data: 'void *',
  kv_overrides: 'void *',
  vocab_only: 'bool',
  check_tensors: 'bool',
  use_extra_bufts: 'bool',
  no_host: 'bool',
  no_alloc: 'bool',
  load_mtp: 'bool',
});

koffi.struct('llama_context_params', {
  n_ctx: 'uint32_t',
  n_batch: 'uint32_t',
  n_ubatch: 'uint32_t',
  n_seq_max: 'uint32_t',
  n_rs_seq: 'uint32_t',
  n_outputs_max: 'uint32_t',
  n_outputs_max_per_seq: 'uint32_t',
  n_threads: 'int32_t',
  n_threads_batch: 'int32_t',
  ctx_type: 'int',
  rope_scaling_type: 'int',
  pooling_type: 'int',
  attention_type: 'int',
  flash_attn_type: 'int',
  rope_freq_base: 'float',
  rope_freq_scale: 'float',
  yarn_ext_factor: 'float',
  yarn_attn_factor: 'float',
  yarn_beta_fast: 'float',
  yarn_beta_slow: 'float',
  yarn_orig_ctx: 'uint32_t',
  defrag_thold: 'float',
  cb_eval: 'void *',
  cb_eval_user_data: 'void *',
  type_k: 'int',
  type_v: 'int',
  abort_callback: 'void *',
  abort_callback_data: 'void *',
  embeddings: 'bool',
  offload_kqv: 'bool',
  no_perf: 'bool',
  op_offload: 'bool',
  swa_full: 'bool',
  kv_unified: 'bool',
  samplers: 'void *',
  n_samplers: 'size_t',
  ctx_other: 'void *',
});

/** With pos and seq_id null, positions go on from those in the context, all in sequence 0. */
koffi.struct('llama_batch', {
  n_tokens: 'int32_t',
  token: 'const int32_t *',
  embd: 'void *',
  pos: 'void *',
  n_seq_id: 'void *',
  seq_id: 'void *',
  logits: 'const int8_t *',
});

function bind() {
  const { llama } = libraries();
  const f = (prototype: string) => llama.func(prototype);
  return {
    modelDefaults: f('llama_model_params llama_model_default_params()'),
    contextDefaults: f('llama_context_params llama_context_default_params()'),
    loadModel: f('void *llama_model_load_from_file(const char *path, llama_model_params params)'),
    freeModel: f('void llama_model_free(void *model)'),
    newContext: f('void *llama_init_from_model(void *model, llama_context_params params)'),
    freeContext: f('void llama_free(void *context)'),
    vocabOf: f('void *llama_model_get_vocab(void *model)'),
    vocabSize: f('int32_t llama_vocab_n_tokens(void *vocab)'),
    addsBos: f('bool llama_vocab_get_add_bos(void *vocab)'),
    bos: f('int32_t llama_vocab_bos(void *vocab)'),
    ends: f('bool llama_vocab_is_eog(void *vocab, int32_t token)'),
    trainedContext: f('int32_t llama_model_n_ctx_train(void *model)'),
    description: f('int32_t llama_model_desc(void *model, _Out_ uint8_t *text, size_t size)'),
    tokenize: f(
      'int32_t llama_tokenize(void *vocab, const uint8_t *text, int32_t length, _Out_ int32_t *tokens, int32_t room, bool addSpecial, bool parseSpecial)',
    ),
    detokenize: f(
      'int32_t llama_detokenize(void *vocab, const int32_t *tokens, int32_t count, _Out_ uint8_t *text, int32_t room, bool removeSpecial, bool unparseSpecial)',
    ),
    memory: f('void *llama_get_memory(void *context)'),
    clear: f('void llama_memory_clear(void *memory, bool data)'),
    decode: f('int32_t llama_decode(void *context, llama_batch batch)'),
    logits: f('float *llama_get_logits(void *context)'),
  };
}

let functions: ReturnType<typeof bind> | undefined;
const engine = () => (functions ??= bind());

/** The engine's own defaults: known values, so they also check the layouts above. */
export const defaultModelParams = (): Record<string, unknown> => engine().modelDefaults();
export const defaultContextParams = (): Record<string, unknown> => engine().contextDefaults();

/** `ggml_backend_sched_eval_callback`: addresses of `ggml_tensor`; the answer to `ask` is whether to be shown its data. */
export type NodeObserver = (node: bigint, ask: boolean) => boolean;

const nodeObserver = koffi.proto('bool llama_node_observer(void *node, bool ask, void *user)');

export interface LlamaOptions {
  /** Longest sequence it will see; 256 unless told. */
  readonly context?: number;
  /** Sequences that `forward` decodes side by side; 1 unless told. */
  readonly sequences?: number;
  /** Tokens that are multiplied at once (`n_ubatch`); `context` unless told. */
  readonly microBatch?: number;
  /** Sees every node of the graphs that are computed. What it throws is thrown by the method that computes. */
  readonly observer?: NodeObserver;
  /** 1 unless told: more spin while they wait for each other, and crawl where cores are shared. */
  readonly threads?: number;
  /** Keys and values in float32, attention step by step: no rounding but that of float32. */
  readonly exact?: boolean;
}

export interface PerplexityOptions {
  /** Tokens in a window; 256 unless told. */
  readonly context?: number;
  /** Windows from the start of the text; all whole ones unless told. */
  readonly windows?: number;
}

export interface Greedy {
  readonly ids: number[];
  /** Smallest difference between the best and the second logit on the way. */
  readonly minGap: number;
}

export class Llama {
  readonly vocabularySize: number;
  /** As the engine describes it: architecture, size class, file type. */
  readonly description: string;
  /** Whether the tokenizer puts a BOS token first. */
  readonly addsBos: boolean;
  readonly #path: string;
  readonly #context: number;
  readonly #sequences: number;
  readonly #observer: bigint | null;
  #model: unknown;
  #state: unknown;
  readonly #vocab: unknown;

  private constructor(
    path: string,
    model: unknown,
    state: unknown,
    context: number,
    sequences: number,
    observer: bigint | null,
  ) {
    const f = engine();
    this.#path = path;
    this.#model = model;
    this.#state = state;
    this.#context = context;
    this.#sequences = sequences;
    this.#observer = observer;
    this.#vocab = f.vocabOf(model);
    this.vocabularySize = f.vocabSize(this.#vocab);
    this.addsBos = f.addsBos(this.#vocab);
    const text = new Uint8Array(256);
    this.description = new TextDecoder().decode(text.subarray(0, f.description(model, text, text.length)));
  }

  /** Loads a GGUF. Throws with the engine's log when it refuses the file. */
  static load(path: string, options: LlamaOptions = {}): Llama {
    const { context = 256, sequences = 1, microBatch = context, threads = 1, exact = false } = options;
    const f = engine();
    const { logged } = libraries();
    const { result: model, log } = logged(`loading ${path}`, () =>
      f.loadModel(path, { ...f.modelDefaults(), n_gpu_layers: 0, check_tensors: true }),
    );
    if (model === null) throw new Error(`llama.cpp cannot load ${path}:\n${log}`);
    const observer = options.observer ? koffi.register(options.observer, koffi.pointer(nodeObserver)) : null;
    const params = {
      ...f.contextDefaults(),
      n_ctx: context * sequences,
      n_batch: context * sequences,
      n_ubatch: microBatch,
      n_seq_max: sequences,
      // By default one row of logits a sequence: here every token of a batch may have its own.
      n_outputs_max_per_seq: context,
      n_threads: threads,
      n_threads_batch: threads,
      cb_eval: observer,
      ...(exact && { type_k: 0, type_v: 0, flash_attn_type: 0 }),
    };
    const { result: state, log: stateLog } = logged(`making a context for ${path}`, () =>
      f.newContext(model, params),
    );
    if (state === null) {
      f.freeModel(model);
      if (observer !== null) koffi.unregister(observer);
      throw new Error(`llama.cpp cannot make a context for ${path}:\n${stateLog}`);
    }
    return new Llama(path, model, state, context, sequences, observer);
  }

  tokenize(text: string, { addSpecial = false, parseSpecial = false } = {}): Int32Array {
    const bytes = new TextEncoder().encode(text);
    const room = bytes.length + 16;
    const tokens = new Int32Array(room);
    const { result: count } = libraries().logged(`tokenizing for ${this.#path}`, () =>
      engine().tokenize(this.#vocab, bytes, bytes.length, tokens, room, addSpecial, parseSpecial),
    );
    if (count < 0) throw new Error(`llama_tokenize wants room for ${-count} tokens, not ${room}`);
    return tokens.slice(0, count);
  }

  /**
   * Text of tokens; special tokens are left out unless `special`. For byte-level BPE the engine also removes spaces
   * before punctuation, so this is not always the text that was tokenized.
   */
  detokenize(tokens: ArrayLike<number>, { special = false } = {}): string {
    const ids = Int32Array.from(tokens);
    for (let room = 16 * ids.length + 64; ; room *= 4) {
      const text = new Uint8Array(room);
      const length = engine().detokenize(this.#vocab, ids, ids.length, text, room, false, special);
      if (length >= 0) return new TextDecoder().decode(text.subarray(0, length));
    }
  }

  /**
   * Logits after each token of one sequence that starts the context: a row of `vocabularySize` for each token from
   * position `from` on.
   */
  logits(tokens: ArrayLike<number>, from = 0): Float32Array[] {
    const f = engine();
    f.clear(f.memory(this.#state), true);
    return this.#decode(tokens, from);
  }

  /** Goes on from what the context holds. */
  #decode(tokens: ArrayLike<number>, from: number): Float32Array[] {
    const f = engine();
    const n = tokens.length;
    if (n === 0 || n > this.#context)
      throw new Error(`${n} tokens at once, the context has ${this.#context}`);
    const batch = {
      n_tokens: n,
      token: Int32Array.from(tokens),
      embd: null,
      pos: null,
      n_seq_id: null,
      seq_id: null,
      logits: Int8Array.from({ length: n }, (_, i) => (i >= from ? 1 : 0)),
    };
    const { result: status, log } = libraries().logged(`decoding ${n} tokens with ${this.#path}`, () =>
      f.decode(this.#state, batch),
    );
    if (status !== 0) throw new Error(`llama_decode returned ${status} for ${this.#path}:\n${log}`);
    const rows = n - from;
    const all = new Float32Array(koffi.view(f.logits(this.#state), 4 * rows * this.vocabularySize));
    return Array.from({ length: rows }, (_, i) =>
      all.slice(i * this.vocabularySize, (i + 1) * this.vocabularySize),
    );
  }

  /**
   * Decodes whole windows of `context` tokens, each a sequence of its own whose first token is replaced by BOS where the
   * tokenizer adds one, and asks for logits everywhere, as llama-imatrix does (`compute_imatrix`). Returns their number.
   */
  forward(tokens: ArrayLike<number>): number {
    const f = engine();
    const all = Int32Array.from(tokens);
    const windows = Math.floor(all.length / this.#context);
    const sequenceIds = koffi.alloc('int32_t', this.#sequences);
    const numbers = Array.from({ length: this.#sequences }, (_, i) => i);
    koffi.encode(sequenceIds, koffi.array('int32_t', this.#sequences), numbers);
    const address = koffi.address(sequenceIds);
    for (let first = 0; first < windows; first += this.#sequences) {
      const count = Math.min(this.#sequences, windows - first);
      const length = count * this.#context;
      const token = all.slice(first * this.#context, first * this.#context + length);
      if (this.addsBos) for (let s = 0; s < count; s++) token[s * this.#context] = f.bos(this.#vocab);
      const batch = {
        n_tokens: length,
        token,
        embd: null,
        pos: Int32Array.from(token, (_, i) => i % this.#context),
        n_seq_id: new Int32Array(length).fill(1),
        seq_id: BigUint64Array.from(token, (_, i) => address + 4n * BigInt(Math.floor(i / this.#context))),
        logits: new Int8Array(length).fill(1),
      };
      f.clear(f.memory(this.#state), true);
      const { result: status, log } = libraries().logged(`decoding windows with ${this.#path}`, () =>
        f.decode(this.#state, batch),
      );
      if (status !== 0) throw new Error(`llama_decode returned ${status} for ${this.#path}:\n${log}`);
    }
    koffi.free(sequenceIds);
    return windows;
  }

  /** The n likeliest tokens one after another; the first of equals. End-of-text does not stop it. */
  greedy(prompt: ArrayLike<number>, n: number): Greedy {
    const ids: number[] = [];
    let minGap = Number.POSITIVE_INFINITY;
    let [row] = this.logits(prompt, prompt.length - 1);
    for (;;) {
      const [best, gap] = topTwo(row);
      ids.push(best);
      minGap = Math.min(minGap, gap);
      if (ids.length === n) return { ids, minGap };
      [row] = this.#decode([best], 0);
    }
  }

  /**
   * Tokens one after another, each drawn from the model's distribution with a number from `random` in [0, 1): n of them,
   * or fewer where the model ends its text. The token that ends it is left out.
   */
  sample(prompt: ArrayLike<number>, n: number, random: () => number): number[] {
    const ids: number[] = [];
    let [row] = this.logits(prompt, prompt.length - 1);
    while (ids.length < n) {
      const id = draw(row, random());
      if (engine().ends(this.#vocab, id)) break;
      ids.push(id);
      [row] = this.#decode([id], 0);
    }
    return ids;
  }

  /**
   * Perplexity as llama-perplexity computes it: windows of `context` tokens, each on its own (its first token replaced
   * by BOS where the tokenizer adds one); the mean is over the tokens that follow the first half of their window.
   */
  perplexity(tokens: ArrayLike<number>, options: PerplexityOptions = {}): number {
    let sum = 0;
    let count = 0;
    for (const { rows, next } of this.windows(tokens, options)) {
      for (const [i, row] of rows.entries()) sum += logNormalizer(row) - row[next[i]];
      count += rows.length;
    }
    return Math.exp(sum / count);
  }

  /** Rows of logits of each window's second half, and the tokens that follow them. */
  *windows(
    tokens: ArrayLike<number>,
    { context = 256, windows = Number.POSITIVE_INFINITY }: PerplexityOptions,
  ): Generator<{ rows: Float32Array[]; next: number[] }> {
    const all = Array.from(tokens);
    const count = Math.min(windows, Math.floor(all.length / context));
    if (count < 1) throw new Error(`${all.length} tokens do not fill a window of ${context}`);
    const half = Math.floor(context / 2);
    for (let w = 0; w < count; w++) {
      const window = all.slice(w * context, (w + 1) * context);
      const next = window.slice(half + 1);
      if (this.addsBos) window[0] = engine().bos(this.#vocab);
      yield { rows: this.logits(window, half).slice(0, -1), next };
    }
  }

  /** Frees the engine's memory. The object must not be used any more. */
  free(): void {
    engine().freeContext(this.#state);
    engine().freeModel(this.#model);
    if (this.#observer !== null) koffi.unregister(this.#observer);
    this.#state = this.#model = null;
  }
}

/**
 * Mean Kullback-Leibler divergence of `model` from `reference`, in nats a token, over the same windows as `perplexity`;
 * both must have one vocabulary.
 */
export function divergence(
  reference: Llama,
  model: Llama,
  tokens: ArrayLike<number>,
  options: PerplexityOptions = {},
): number {
  let sum = 0;
  let count = 0;
  const others = model.windows(tokens, options);
  for (const { rows } of reference.windows(tokens, options)) {
    const { rows: otherRows } = others.next().value!;
    for (const [i, row] of rows.entries()) sum += rowDivergence(row, otherRows[i]);
    count += rows.length;
  }
  return sum / count;
}
