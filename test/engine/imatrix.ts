import koffi from 'koffi';
import { libraries } from './libraries.ts';
import { Llama } from './llama.ts';

/**
 * What llama-imatrix computes, by the real engine: sums of squares of the inputs of every weight that is multiplied.
 * Unlike it by default, `output.weight` is counted, and the tied `token_embd.weight` where it is the output.
 */

/** `struct ggml_tensor` of ggml.h on 64 bits: byte offsets. `test/engine/imatrix.test.ts` would not survive others. */
const TENSOR = { type: 0, ne: 16, nb: 48, op: 80, src: 152, data: 248, name: 256, size: 336 } as const;
const NAME_BYTES = 64;
const F32 = 0;

/** Fewer rows than this are no batch of text to llama-imatrix, which does not count them. */
const MIN_ROWS = 16;

/** What is read of a tensor. Extents and strides (bytes) as in ggml, innermost first. */
interface Tensor {
  readonly type: number;
  readonly op: number;
  readonly ne: readonly number[];
  readonly nb: readonly number[];
  readonly data: bigint;
  readonly name: string;
  /** Addresses of the operands. */
  readonly src: readonly bigint[];
}

function tensorAt(address: bigint): Tensor {
  const memory = new DataView(koffi.view(address, TENSOR.size));
  const word = (offset: number) => memory.getBigUint64(offset, true);
  const four = (offset: number) => [0, 1, 2, 3].map((i) => Number(word(offset + 8 * i)));
  const name = new Uint8Array(memory.buffer, TENSOR.name, NAME_BYTES);
  return {
    type: memory.getInt32(TENSOR.type, true),
    op: memory.getInt32(TENSOR.op, true),
    ne: four(TENSOR.ne),
    nb: four(TENSOR.nb),
    data: word(TENSOR.data),
    name: new TextDecoder().decode(name.subarray(0, name.indexOf(0))),
    src: [0, 1, 2].map((i) => word(TENSOR.src + 8 * i)),
  };
}

const operationAt = (address: bigint) => new Int32Array(koffi.view(address + BigInt(TENSOR.op), 4))[0];

/** Number of a `ggml_op` by its name. */
function operation(name: string): number {
  const nameOf = libraries().base.func('const char *ggml_op_name(int op)');
  for (let op = 0; op < 200; op++) if (nameOf(op) === name) return op;
  throw new Error(`ggml has no operation ${name}`);
}

interface Sums {
  readonly sums: Float32Array;
  readonly counts: number[];
}

/** The entries of one collection, and the callback that fills them. */
class Collector {
  readonly entries = new Map<string, Sums>();
  readonly #multiply = operation('MUL_MAT');
  readonly #multiplyById = operation('MUL_MAT_ID');

  /** `IMatrixCollector::collect_imatrix` */
  observe(address: bigint, ask: boolean): boolean {
    const op = operationAt(address);
    if (op !== this.#multiply && op !== this.#multiplyById) return false;
    const [weightAddress, inputAddress, idsAddress] = tensorAt(address).src;
    const weight = tensorAt(weightAddress);
    if (!/^(blk\.|output\.weight$|token_embd\.weight$)/.test(weight.name)) return false;
    const input = tensorAt(inputAddress);
    if (op === this.#multiply && (input.ne[1] < MIN_ROWS || input.type !== F32)) return false;
    if (!ask) {
      if (input.nb[0] !== 4)
        throw new Error(`inputs of ${weight.name} have a stride of ${input.nb[0]} bytes`);
      if (op === this.#multiply) this.#collect(weight, input);
      else this.#collectById(weight, input, tensorAt(idsAddress));
    }
    return true;
  }

  #entry(name: string, width: number, matrices: number, counts: number): Sums {
    let entry = this.entries.get(name);
    if (entry === undefined) {
      entry = { sums: new Float32Array(width * matrices), counts: Array.from({ length: counts }, () => 0) };
      this.entries.set(name, entry);
    }
    if (entry.sums.length !== width * matrices) throw new Error(`${name} has inputs of two widths`);
    return entry;
  }

  /** One count for all matrices of a tensor; its rows are those of [width, rows, i2, i3]. */
  #collect(weight: Tensor, { ne, nb, data }: Tensor): void {
    const matrices = weight.ne[2] * weight.ne[3];
    const { sums, counts } = this.#entry(weight.name, ne[0], matrices, 1);
    for (let i3 = 0; i3 < ne[3]; i3++) {
      for (let i2 = 0; i2 < ne[2]; i2++) {
        const matrix = (i3 % weight.ne[3]) * weight.ne[2] + (i2 % weight.ne[2]);
        const start = data + BigInt(i2 * nb[2] + i3 * nb[3]);
        const rows = new Float32Array(koffi.view(start, (ne[1] - 1) * nb[1] + 4 * ne[0]));
        for (let row = 0; row < ne[1]; row++)
          addSquares(rows, (row * nb[1]) / 4, sums, matrix * ne[0], ne[0]);
      }
    }
    counts[0] += (ne[1] * ne[2] * ne[3]) / matrices;
  }

  /** Inputs [width, used or 1, tokens], ids [used, tokens] (not contiguous): a count for each expert. */
  #collectById(weight: Tensor, { ne, nb, data }: Tensor, ids: Tensor): void {
    const experts = weight.ne[2];
    const { sums, counts } = this.#entry(weight.name, ne[0], experts, experts);
    const [used, tokens] = ids.ne;
    const chosen = new Int32Array(koffi.view(ids.data, (tokens - 1) * ids.nb[1] + used * ids.nb[0]));
    const rows = new Float32Array(koffi.view(data, (ne[2] - 1) * nb[2] + (ne[1] - 1) * nb[1] + 4 * ne[0]));
    for (let i = 0; i < used; i++) {
      for (let token = 0; token < tokens; token++) {
        const expert = chosen[(token * ids.nb[1] + i * ids.nb[0]) / 4];
        counts[expert]++;
        addSquares(rows, ((i % ne[1]) * nb[1] + token * nb[2]) / 4, sums, expert * ne[0], ne[0]);
      }
    }
  }
}

/** sums[at + j] += x[from + j]^2 for n columns, product and sum rounded to float32. */
function addSquares(x: Float32Array, from: number, sums: Float32Array, at: number, n: number): void {
  for (let j = 0; j < n; j++) sums[at + j] += Math.fround(x[from + j] * x[from + j]);
}

export interface ImportanceOptions {
  /** Tokens in a window; 256 unless told. */
  readonly context?: number;
  /** 1 unless told. */
  readonly threads?: number;
  /** Without the rounding that the engine's defaults add (`LlamaOptions`). */
  readonly exact?: boolean;
}

export interface EngineImportance {
  /** By the name of the weight; the sums are of squares of inputs, for each expert. */
  readonly entries: ReadonlyMap<string, Sums>;
  /** Whole windows that were seen; the rest of the tokens is not used. */
  readonly windows: number;
  /** Of the forward pass with collection, loading not counted. */
  readonly seconds: number;
}

/** llama-imatrix's batches: 2048 tokens are submitted together, 512 multiplied at once. */
export const imatrixBatches = (context: number) => ({
  context,
  sequences: Math.max(1, Math.floor(2048 / context)),
  microBatch: 512,
});

/**
 * Importance of a GGUF's weights over tokens, as llama-imatrix computes it: windows of `context` tokens, each starting
 * with BOS where the tokenizer adds one.
 */
export function collectImportance(
  path: string,
  tokens: ArrayLike<number>,
  { context = 256, threads = 1, exact = false }: ImportanceOptions = {},
): EngineImportance {
  const collector = new Collector();
  let failure: unknown;
  const llama = Llama.load(path, {
    ...imatrixBatches(context),
    threads,
    exact,
    observer: (address, ask) => {
      try {
        return collector.observe(address, ask);
      } catch (error) {
        failure ??= error;
        return false;
      }
    },
  });
  const started = performance.now();
  const windows = llama.forward(tokens);
  const seconds = (performance.now() - started) / 1000;
  llama.free();
  if (failure !== undefined) throw failure;
  return { entries: collector.entries, windows, seconds };
}

/** Entries in the form of `imatrixBytes`. */
export const collectedEntries = ({ entries }: EngineImportance): (Sums & { readonly name: string })[] =>
  Array.from(entries, ([name, entry]) => ({ name, ...entry }));
